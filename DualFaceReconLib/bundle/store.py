"""Where bundles lie: those that ship in `Resources/Models` and `Resources/Vertebrae`, the user's own in a folder each,
`<id>-<version>`.

    folder = find("hip-large")
    for bundle in installed(): ...

A new version gets a folder of its own before the older one goes: whoever is interrupted keeps one of them whole.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from DualFaceReconLib.bundle.manifest import MANIFEST, AnyManifest, load_manifest
from DualFaceReconLib.bundle.sealed import VERSION
from DualFaceReconLib.bundle.vertebra_manifest import VertebraManifest
from DualFaceReconLib.errors import Refusal

PACKAGE = Path(__file__).parents[1]
# Beside the package in the repository and where CMake installs it; pip installs it into the package
RESOURCES = PACKAGE / "Resources" if (PACKAGE / "Resources").is_dir() else PACKAGE.parent / "Resources"
SHIPPED = RESOURCES / "Models"
SHIPPED_VERTEBRAE = RESOURCES / "Vertebrae"
ENVIRONMENT = "DUALFACE_MODELS"  # where the user's own bundles lie, when not in the usual place
LEFTOVERS = {".part", ".new", ".old", ".gone"}


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A bundle that was found, sound or not."""

    id: str
    version: str
    folder: Path
    ships: bool  # with the program, or else it is the user's own
    manifest: AnyManifest | None  # None where it cannot be read
    refusal: str = ""  # why it cannot

    @property
    def for_hips(self) -> bool:
        """Whether it is for hip films, as far as it can be read."""
        return self.folder != SHIPPED_VERTEBRAE and not isinstance(self.manifest, VertebraManifest)


def models_folder() -> Path:
    """Where the user's own bundles lie, each in `<id>-<version>`; may not be there yet."""
    if folder := os.environ.get(ENVIRONMENT):
        return Path(folder)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        else:
            base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    except RuntimeError as error:
        raise Refusal(f"There is no home folder to keep models in: set {ENVIRONMENT} to a folder.") from error
    return base / "DualFaceRecon" / "Models"


def installed() -> list[Installed]:
    """The bundles that ship, then the user's own by id; of several versions the newest, of which the user's counts."""
    shipped = [folder for folder in (SHIPPED, SHIPPED_VERTEBRAE) if (folder / MANIFEST).is_file()]
    bundles = [_installed(folder, ships=True) for folder in shipped]
    bundles += [_installed(folder, ships=False) for folder in bundle_folders(models_folder())]
    newest = {bundle.id: bundle for bundle in sorted(bundles, key=lambda b: (_order(b.version), not b.ships))}
    return sorted(newest.values(), key=lambda bundle: (not bundle.ships, bundle.id))


def find(id: str) -> Path:
    """The folder of an installed bundle."""
    bundles = {bundle.id: bundle for bundle in installed()}
    if id not in bundles:
        raise Refusal(
            f"There is no bundle {id!a} here, but {', '.join(bundles) or 'none'}: see {{bundles}}.",
            "bundle-not-here",
        )
    if refusal := bundles[id].refusal:
        raise Refusal(refusal)
    return bundles[id].folder


def bundle_folder(bundle: str | Path | None) -> Path:
    """The folder of a bundle: of the one for hips that ships, of an id, or the folder itself."""
    if bundle is None:
        if not (SHIPPED / MANIFEST).is_file():
            raise Refusal("The bundle that ships is not here: install DualFaceRecon again, or name another bundle.")
        return SHIPPED
    return _named_folder(bundle)


def vertebra_bundle_folder(bundle: str | Path | None) -> Path:
    """The folder of a bundle for vertebrae: of an id, or the folder itself.

    Without either it is the one that ships, or where none does, the first of the user's own.
    """
    if bundle is None:
        if not (SHIPPED_VERTEBRAE / MANIFEST).is_file():
            own = [other.folder for other in installed() if isinstance(other.manifest, VertebraManifest)]
            if own:
                return own[0]
            raise Refusal(
                "No bundle for vertebrae is here: name one, or make one of a network of your own with "
                "`python -m training vertebrae bundle`.",
                "no-vertebra-bundle",
            )
        return SHIPPED_VERTEBRAE
    return _named_folder(bundle)


def _named_folder(bundle: str | Path) -> Path:
    if isinstance(bundle, Path) or Path(bundle).is_dir():
        return Path(bundle)
    return find(bundle)


def remove(id: str) -> list[str]:
    """Removes every version of one of the user's bundles, and what was fetched of it so far; gives their folders."""
    models = models_folder()
    folders = bundle_folders(models, id)
    if not folders and not _leftovers(models, id):
        ships = any(bundle.id == id for bundle in installed())
        reason = "ships with DualFaceRecon and stays" if ships else "is not here"
        raise Refusal(f"Bundle {id!a} {reason}: {{bundles}} shows what can be removed.")
    try:
        for folder in folders:
            discard(folder)
        clear_leftovers(models, id)
    except OSError as error:
        raise Refusal(
            f"Bundle {id} cannot be removed from {models} ({error.strerror or error}): "
            "close what uses it and try again."
        ) from error
    return [folder.name for folder in folders]


def bundle_folders(models: Path, id: str | None = None) -> list[Path]:
    """The folders of the user's bundles, or of one in all its versions."""
    folders = [path for path in _children(models) if path.is_dir()]
    return [path for path in folders if (name := split_name(path.name)[0]) and id in (None, name)]


def clear_leftovers(models: Path, id: str) -> None:
    """Removes what an interrupted fetch or removal of a bundle left."""
    for path in _leftovers(models, id):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _leftovers(models: Path, id: str) -> list[Path]:
    """Hidden by a leading dot: `.<id>-<version>.part` and such."""
    hidden = [path for path in _children(models) if path.name.startswith(".")]
    return [path for path in hidden if path.suffix in LEFTOVERS and split_name(path.stem[1:])[0] == id]


def split_name(name: str) -> tuple[str, str]:
    """Id and version of a bundle by its folder's name; empty where it is none."""
    id, _, version = name.rpartition("-")
    return (id, version) if VERSION.fullmatch(version) and id and id[0] != "." else ("", "")


def discard(folder: Path) -> None:
    """Removes a bundle's folder, or a link to one; it vanishes whole, whatever happens meanwhile."""
    if folder.is_symlink():
        folder.unlink()
        return
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _children(models: Path) -> list[Path]:
    try:
        return sorted(models.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Refusal(
            f"The models' folder {models} cannot be read ({error.strerror or error}): "
            f"check its permissions, or set {ENVIRONMENT} to another folder."
        ) from error


def _installed(folder: Path, ships: bool) -> Installed:
    id, version = split_name(folder.name)
    try:
        manifest = load_manifest(folder)
        if not ships and (manifest.id, manifest.version) != (id, version):
            raise Refusal(
                f"Bundle {manifest.id} {manifest.version} lies in a folder named {folder.name}: "
                f"rename that to {manifest.id}-{manifest.version}."
            )
    except Refusal as refusal:
        return Installed(
            id=id or folder.name, version=version, folder=folder, ships=ships, manifest=None, refusal=refusal.text
        )
    return Installed(id=manifest.id, version=manifest.version, folder=folder, ships=ships, manifest=manifest)


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split(".")) if version else ()
