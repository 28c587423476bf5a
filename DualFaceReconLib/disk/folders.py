"""Folders that are there whole or not at all, and that one process at a time writes."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from DualFaceReconLib.disk.interrupts import CtrlC
from DualFaceReconLib.errors import Cancelled, Refusal

if os.name == "nt":
    import msvcrt
else:
    import fcntl

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # of drives in a network, where nobody can hold one


def put_in_place(new: Path, place: Path) -> None:
    """Renames a folder to a place that may be taken by an older one, which goes, or stays if this fails."""
    old = place.with_name(f".{place.name}.old")
    ctrl_c = CtrlC()
    try:
        ctrl_c.hold()
        if old.exists() and not place.exists():  # somebody was killed between the two renames
            old.rename(place)
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)  # Windows renames over no folder
        try:
            new.rename(place)
        except OSError:
            if old.exists():
                old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        ctrl_c.release()


def restore(place: Path) -> None:
    """Puts right what a process left that was ended while it wrote a folder: what was there before is there."""
    old = place.with_name(f".{place.name}.old")
    with suppress(OSError):
        if old.exists() and not place.exists():
            old.rename(place)
        place.with_name(f".{place.name}.lock").unlink(missing_ok=True)
    for left in (old, place.with_name(f".{place.name}.new")):
        shutil.rmtree(left, ignore_errors=True)


def display_name(folder: Path) -> str:
    """What a folder is called in sentences, also where its path ends in a dot or has no name."""
    whole = os.path.abspath(folder)  # noqa: PTH100  (a link keeps its own name, by which somebody knows it)
    return Path(whole).name or whole


def refuse_unwritable(folder: Path) -> None:
    """Refusal where a folder could not be made, or renamed to its place: known before hours of computing."""
    folder = Path(os.path.realpath(folder))
    above = folder.parents or (folder,)  # a root has none
    parent = next((place for place in above if os.path.exists(place)), None)  # noqa: PTH110  (Path's own may raise)
    if parent is None:  # a drive that Windows does not have
        raise Refusal(f"There is no {folder.anchor}: choose another folder for the result.")
    if not parent.is_dir():
        raise Refusal(
            f"{display_name(parent)} is a file, in which no folder can be: choose another folder for the result."
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise Refusal(f"You may not write to {display_name(parent)}: choose another folder for the result.")


def write_one_by_one(files: Iterable[None], cancelled: Callable[[], bool]) -> None:
    """Goes through what writes a file at each step; Cancelled after one of them where the caller wants no more."""
    for _ in files:
        if cancelled():
            raise Cancelled


def refuse_to_replace(folder: Path, overwrite: bool, document: str, content: str) -> None:
    """Refusal where writing a folder there would replace what nobody wants replaced.

    `document` is the file by which a folder is known to hold `content`, such as "a reconstruction".
    """
    name = display_name(folder)
    refuse_unwritable(folder)
    if folder.is_file():
        raise Refusal(f"{name} is a file: name a folder for the result.")
    if not folder.exists():
        return
    if _holds_current_folder(folder):  # renamed, it would go from under whoever stands in it
        raise Refusal(
            f"{name} is the folder that you are in, or holds it: name a new folder in it, or change to another."
        )
    try:
        empty = not any(folder.iterdir())
    except OSError as error:
        raise Refusal(f"{name} cannot be opened ({error.strerror or error}): choose another folder.") from error
    if empty:
        return
    if not (folder / document).is_file():
        raise Refusal(f"{name} holds something else than {content}: choose another folder.")
    if not overwrite:
        raise Refusal(f"{name} holds {content} already: say {{overwrite}}, or choose another folder.", "result-exists")


def _holds_current_folder(folder: Path) -> bool:
    """Whether a folder is the current one or holds it."""
    try:
        here = Path.cwd()
        return any(folder.samefile(place) for place in (here, *here.parents))
    except OSError:  # somebody removed the folder that we are in, or lets us not look
        return False


def write_folder(folder: Path, write: Callable[[Path], None], content: str = "The result") -> None:
    """Lets `write` fill a folder beside, then renames it to its place; whoever is cut off leaves no half of it there.

    An older folder goes only when the new one is whole. What an earlier process left beside is removed. Where the
    folder is a link, it stays one, and what it leads to is written. `content` is what a Refusal calls it.
    """
    folder = Path(os.path.realpath(folder))
    beside = folder.with_name(f".{folder.name}.new")
    with locked(folder.with_name(f".{folder.name}.lock")):
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            write(beside)
            put_in_place(beside, folder)
        except OSError as error:
            raise _unwritable(folder.name, error, content) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file, which the system frees however this process ends; Refusal where another process holds it."""
    ctrl_c = CtrlC()
    try:
        ctrl_c.hold()
        file = _open_locked(path)
        try:
            try:
                ctrl_c.release()
                yield
            finally:
                ctrl_c.hold()
        finally:
            _remove_lock(file, path)
    finally:
        ctrl_c.release()


def _open_locked(path: Path) -> BinaryIO:
    """The lock file, open and locked."""
    place = path.name.removesuffix(".lock").removeprefix(".") or path.parent.name
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b")
        except OSError as error:
            raise _unwritable(place, error) from error
        try:
            _lock(file)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except OSError as error:
            if error.errno in NO_LOCKS:
                return file
            file.close()
            raise Refusal(f"Another process is writing {place}: wait for it, or choose another folder.") from error
        file.close()  # whoever held it before has just removed it: that lock protects nothing


def _unwritable(name: str, error: OSError, content: str = "The result") -> Refusal:
    return Refusal(
        f"{content} cannot be written to {name} ({error.strerror or error}): make room there, or choose another folder."
    )


def _lock(file: BinaryIO) -> None:
    """OSError where another process has it."""
    if os.name == "nt":
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_lock(file: BinaryIO, path: Path) -> None:
    """Lets go of a lock file that is held."""
    if os.name == "nt":  # Windows removes no file that is open
        file.close()
    with suppress(OSError):
        path.unlink()
    file.close()
