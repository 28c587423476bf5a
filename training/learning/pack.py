"""`python -m training pack --out PACK`: what training needs on a machine without a network, in files to carry there.

    pack(everybody, Path("pack"), with_warp=True)

There `python PACK/unpack.py FOLDER` makes a folder in which `python -m training train` runs as in the checkout: the
code, the recipes, the bundle that ships to start from, the people as arrays in place of the bones, and the packages
that few machines have. torch, timm and the like are expected to be there. What was packed before and is the same is not
packed anew.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from training.learning import unpack
from training.patients.population import PACKED_PEOPLE, Everybody, save_everybody

PRESET = 5  # of xz: warp's binaries come out at 28 %, and 9 gains little for twice the time
CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("DualFaceReconLib", "training", "Resources/Models")
FILES = ("LICENSE", "Resources/LICENSES.md", "Testing/bench/gpu.py")
NOTICE = "NOTICE"
LEFT_OUT = {"__pycache__", "results"}
ARCHITECTURES = "dynamic-network-architectures"  # nnU-Net's networks
WARP = "warp-lang"
WARP_LEFT_OUT = {"examples", "tests", "__pycache__"}  # nothing there is imported


def pack(
    everybody: Everybody,
    out: Path,
    with_warp: bool,
    part_mb: float = 60.0,
    say: Callable[[str], None] = print,
    also: Mapping[str, Path] | None = None,
    owed: Sequence[str] = (),
) -> list[Path]:
    """Writes a pack and gives its files; `with_warp` takes the warp-lang of this environment along.

    `also`: more files, by their place; `owed`: lines of the NOTICE for them.
    """
    if part_mb <= 0:
        raise Refusal(f"Parts of {part_mb:g} MB hold nothing: take 60.")
    out.mkdir(parents=True, exist_ok=True)
    packages = (ARCHITECTURES, *([WARP] if with_warp else []))
    with tempfile.TemporaryDirectory(dir=out, prefix=".packing-") as folder:
        beside = Path(folder)
        save_everybody(everybody, beside / PACKED_PEOPLE)
        write_text(beside / NOTICE, _notice(everybody, packages, owed))
        training = {**_checkout(), **_package(ARCHITECTURES, LEFT_OUT), **(also or {})}
        training |= {f"out/people/{PACKED_PEOPLE}": beside / PACKED_PEOPLE, NOTICE: beside / NOTICE}
        contained = {"training": training, **({"warp": _package(WARP, WARP_LEFT_OUT)} if with_warp else {})}
        archives = {name: _archive(name, files, out, beside, part_mb, say) for name, files in contained.items()}
        parts = [part["file"] for archive in archives.values() for part in archive["parts"]]
        for path in out.glob("*.tar.xz.*"):  # of what was packed before
            path.unlink()
        for name in parts:
            (beside / name).replace(out / name)
    write_text(out / unpack.CONTENTS, json.dumps({"archives": archives}, indent=1))
    shutil.copyfile(unpack.__file__, out / "unpack.py")
    return [out / name for name in (*parts, unpack.CONTENTS, "unpack.py")]


def _checkout() -> dict[str, Path]:
    """The files of this checkout that training needs, by their place in it."""
    files = {name: CHECKOUT / name for name in FILES}
    for folder in FOLDERS:
        for path in sorted((CHECKOUT / folder).rglob("*")):
            if path.is_file() and not LEFT_OUT & set(path.relative_to(CHECKOUT).parts):
                files[path.relative_to(CHECKOUT).as_posix()] = path
    return files


def _package(name: str, left_out: Iterable[str]) -> dict[str, Path]:
    """The files of an installed package, with its licences, by their place beside each other."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise Refusal(f"{name} is not installed here: `make env` installs it.") from error
    kept = [file for file in files if not set(left_out) & set(file.parts) and file.parts[0] != ".."]
    return {file.as_posix(): Path(file.locate()) for file in kept}


def _notice(everybody: Everybody, packages: Iterable[str], owed: Sequence[str]) -> str:
    """Whose work a pack holds, and under which licences."""
    lines = ["This pack holds the code of DualFaceRecon (LICENSE) and the work of others:", ""]
    sets = dict.fromkeys((*everybody.hips.sets, *everybody.femora.sets))
    for people_set in sets:
        changed = "meshes on a common template"
        lines.append(f"- bones of {people_set.name}, {changed}: {people_set.source}. {people_set.licence}.")
    lines += owed
    for name in packages:
        version = importlib.metadata.version(name)
        lines.append(f"- {name} {version}, unchanged; its licence lies in its .dist-info folder.")
    return "\n".join([*lines, "", "For research only; not for clinical use.", ""])


def _archive(
    name: str, files: Mapping[str, Path], out: Path, beside: Path, part_mb: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Packs files into NAME.tar.xz.000 and so on in `beside`; gives the parts' seals, and the seal of what they hold.

    The parts in `out` are cut anew where they hold the same.
    """
    seal = hashlib.sha256(f"{PRESET}".encode())
    for place, path in sorted(files.items()):
        seal.update(f"{place} {unpack.sha256_of(path)}".encode())
    before = _packed_before(name, seal.hexdigest(), out)
    with _PartsWriter(beside, f"{name}.tar.xz", int(part_mb * 1e6)) as parts:
        if before:
            shutil.copyfileobj(io.BufferedReader(unpack.Parts(before)), parts, 1 << 20)
        else:
            _compress(files, parts)
    whole_mb, packed_mb = sum(path.stat().st_size for path in files.values()) / 1e6, sum(parts.sizes) / 1e6
    say(f"{name}: {whole_mb:.1f} MB, packed {packed_mb:.1f} MB{', as before' if before else ''}")
    sealed = [
        {"file": path.name, "bytes": size, "sha256": unpack.sha256_of(path)}
        for path, size in zip(parts.paths, parts.sizes, strict=True)
    ]
    return {"of": seal.hexdigest(), "parts": sealed}


def _compress(files: Mapping[str, Path], to: BinaryIO) -> None:
    """Writes an archive of files, without their times and owners: the same files give the same bytes."""
    with (
        lzma.open(to, "wb", preset=PRESET) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for place, path in sorted(files.items()):
            entry = tarfile.TarInfo(place)
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(entry, file)


def _packed_before(name: str, seal: str, out: Path) -> list[Path]:
    """The parts in a pack that hold what has this seal, if they are there and whole."""
    try:
        archive = unpack.archives_in(out)[name]
        return unpack.checked_parts(out, archive) if archive["of"] == seal else []
    except (unpack.PackError, KeyError):
        return []


class _PartsWriter(io.RawIOBase):
    """A file that is cut into parts as it is written: NAME.000, NAME.001 and so on."""

    def __init__(self, folder: Path, name: str, size: int) -> None:
        super().__init__()
        self.folder, self.name, self.size = folder, name, size
        self.paths: list[Path] = []
        self.sizes: list[int] = []
        self.part: BinaryIO | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        while len(rest):
            if self.part is None or self.sizes[-1] == self.size:
                self._next()
            room = self.size - self.sizes[-1]
            self.part.write(rest[:room])
            self.sizes[-1] += len(rest[:room])
            rest = rest[room:]
        return len(memoryview(data))

    def _next(self) -> None:
        if self.part is not None:
            self.part.close()
        self.paths.append(self.folder / f"{self.name}.{len(self.paths):03d}")
        self.sizes.append(0)
        self.part = self.paths[-1].open("wb")

    def close(self) -> None:
        if self.part is not None:
            self.part.close()
        super().close()
