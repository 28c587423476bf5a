"""Unpacks what `python -m training pack` packed, with nothing but Python: `python unpack.py FOLDER`.

Beside this file lie contents.json and archives in parts. Every part is compared with its sha256 before anything is
unpacked; FOLDER appears whole or not at all.
"""

import hashlib
import importlib.util
import io
import json
import shutil
import sys
import tarfile
from pathlib import Path, PurePosixPath

CONTENTS = "contents.json"
NEEDED = ("torch", "torchvision", "timm", "safetensors", "numpy", "scipy", "matplotlib", "PIL", "warp")


class PackError(Exception):
    """Why a pack cannot be unpacked, as one sentence."""


class Parts(io.RawIOBase):
    """Files one after the other, read as one."""

    def __init__(self, paths: list[Path]) -> None:
        super().__init__()
        self.waiting, self.open_part = list(paths), None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        while self.open_part or self.waiting:
            self.open_part = self.open_part or self.waiting.pop(0).open("rb")
            count = self.open_part.readinto(buffer)
            if count:
                return count
            self.open_part.close()
            self.open_part = None
        return 0


def unpack(pack: Path, folder: Path) -> None:
    """Unpacks the archives of a pack into a new folder."""
    if folder.exists():
        raise PackError(f"{folder} is there already: name a new folder.")
    archives = {name: checked_parts(pack, archive) for name, archive in archives_in(pack).items()}
    beside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        for name, parts in archives.items():
            try:
                with tarfile.open(fileobj=io.BufferedReader(Parts(parts), 1 << 20), mode="r|xz") as tar:
                    for member in tar:
                        _unpack_file(tar, member, beside)
            except (tarfile.TarError, EOFError) as error:
                raise PackError(f"{name} cannot be unpacked, {error}: pack it again.") from error
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def archives_in(pack: Path) -> dict[str, dict]:
    """What a pack says of its archives, by name."""
    try:
        return json.loads((pack / CONTENTS).read_text(encoding="utf-8"))["archives"]
    except (OSError, ValueError, KeyError) as error:
        raise PackError(f"{CONTENTS} is missing or damaged: copy it again.") from error


def checked_parts(pack: Path, archive: dict) -> list[Path]:
    """The paths of an archive's parts; each is there and is what it was when it was packed."""
    for part in archive["parts"]:
        path = pack / part["file"]
        if not path.is_file():
            raise PackError(f"{path.name} is missing: copy it to where {CONTENTS} is.")
        if sha256_of(path) != part["sha256"]:
            raise PackError(f"{path.name} is damaged: copy it again.")
    return [pack / part["file"] for part in archive["parts"]]


def sha256_of(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    seal = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            seal.update(block)
    return seal.hexdigest()


def _unpack_file(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Unpacks one file of an archive, which may name no place outside the folder."""
    place = PurePosixPath(member.name)
    if not member.isfile() or place.is_absolute() or ".." in place.parts or "\\" in member.name or ":" in member.name:
        raise PackError(
            f"The archive holds {member.name!r}, which is no file within the folder: do not trust this pack."
        )
    path = folder.joinpath(*place.parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(tar.extractfile(member), file, 1 << 20)


def main(arguments: list[str]) -> int:
    """0 when done, 2 when the pack cannot be unpacked."""
    if len(arguments) != 1:
        print("unpack: name the folder to make: python unpack.py FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).absolute()
    try:
        unpack(Path(__file__).resolve().parent, folder)
    except (PackError, OSError) as error:
        print(f"unpack: {error}", file=sys.stderr)
        return 2
    sys.path.insert(0, str(folder))
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    print(f"unpacked to {folder}: train there with `python -m training train training/recipes/...`")
    if missing:
        print(f"this Python still lacks {', '.join(missing)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
