"""Bundles as zip archives, for the way through the network: packed, and unpacked with distrust."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
import zlib
from pathlib import Path

from DualFaceReconLib.bundle.files import verify
from DualFaceReconLib.bundle.manifest import MANIFEST, MAX_MANIFEST_BYTES, AnyManifest, parse_manifest
from DualFaceReconLib.bundle.registry import Entry, parse_entry
from DualFaceReconLib.disk.files import write_file
from DualFaceReconLib.errors import Refusal


def pack(folder: Path, archive: Path, url: str) -> Entry:
    """Writes a bundle as the archive that `unpack` reads, and gives its entry for a registry."""
    manifest = verify(folder)

    def write(beside: Path) -> None:
        with zipfile.ZipFile(beside, "w") as packed:
            for name in (MANIFEST, *sorted(manifest.files)):
                packed.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())  # dated 1980: same bytes each time

    write_file(archive, write)
    content = archive.read_bytes()
    return parse_entry(
        {
            "id": manifest.id,
            "version": manifest.version,
            "url": url,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
    )


def unpack(entry: Entry, archive: Path, folder: Path) -> AnyManifest:
    """Writes the bundle that an archive holds, and verifies it; an archive that holds anything else goes."""
    try:
        try:
            with zipfile.ZipFile(archive) as packed:
                _extract(entry, packed, folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise Refusal(f"The archive of bundle {entry.id} is damaged or holds other files: report it.") from error
        return verify(folder)
    except Refusal:
        archive.unlink()
        raise


def _extract(entry: Entry, packed: zipfile.ZipFile, folder: Path) -> None:
    """Writes the files that the manifest names; an archive's own paths and links are never followed."""
    sizes = {member.filename: member.file_size for member in packed.infolist()}
    if len(sizes) != len(packed.infolist()) or not 0 < sizes.pop(MANIFEST, 0) <= MAX_MANIFEST_BYTES:
        raise zipfile.BadZipFile
    content = packed.read(MANIFEST)
    manifest = parse_manifest(content, entry.id)
    if (manifest.id, manifest.version) != (entry.id, entry.version):
        raise Refusal(f"The archive of bundle {entry.id} {entry.version} holds another: report it.")
    if sizes != {name: seal.bytes for name, seal in manifest.files.items()}:  # no bomb, no stowaway
        raise zipfile.BadZipFile
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / MANIFEST).write_bytes(content)
    for name in sizes:
        with packed.open(name) as source, (folder / name).open("wb") as file:
            shutil.copyfileobj(source, file)
