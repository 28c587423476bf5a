"""Bundles that do not ship: fetched over https on request, on from where the connection broke, checked, unpacked.

    entry = published("hip-large")
    fetch(entry)

Nothing about the user is sent: a request names the file, how much of it is here, and this program.
"""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO

from DualFaceReconLib.bundle.archives import unpack
from DualFaceReconLib.bundle.files import verify
from DualFaceReconLib.bundle.manifest import AnyManifest
from DualFaceReconLib.bundle.registry import Entry
from DualFaceReconLib.bundle.store import (
    ENVIRONMENT,
    bundle_folders,
    clear_leftovers,
    discard,
    installed,
    models_folder,
)
from DualFaceReconLib.disk.folders import put_in_place
from DualFaceReconLib.errors import Refusal

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30  # without a byte, then the connection counts as broken
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}  # where a lab may serve its own without a certificate


def fetch(entry: Entry, progress: Callable[[int, int], None] = lambda done, total: None) -> AnyManifest:
    """Brings a bundle among the user's own, in place of other versions; nothing is loaded where it is here and sound.

    `progress` is told how many bytes of how many are here. What came is kept when the connection breaks or `progress`
    raises: the next call goes on from there.
    """
    models = models_folder()
    name = f"{entry.id}-{entry.version}"
    for bundle in installed():
        if (bundle.id, bundle.version) == (entry.id, entry.version) and (manifest := _verified(bundle.folder)):
            return manifest
    part, new = models / f".{name}.part", models / f".{name}.new"
    try:
        models.mkdir(parents=True, exist_ok=True)
        _download(entry, part, progress)
        manifest = unpack(entry, part, new)
        put_in_place(new, models / name)
    except OSError as error:
        with suppress(OSError):  # nor must it fill the disk
            part.unlink()
        raise Refusal(
            f"Bundle {entry.id} cannot be kept in {models} ({error.strerror or error}): "
            f"make room there, or set {ENVIRONMENT} to a folder that you may write to."
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    with suppress(OSError):  # Windows keeps a folder that somebody uses; `installed` prefers the newest
        for folder in bundle_folders(models, entry.id):
            if folder.name != name:
                discard(folder)
        clear_leftovers(models, entry.id)
    return manifest


def _verified(folder: Path) -> AnyManifest | None:
    try:
        return verify(folder)
    except Refusal:
        return None


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, as pages of releases make them, but never from https to less."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        try:
            _check_url(newurl, {"https"} if req.type == "https" else {"https", "http"})
        except Refusal:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_url(url: str, schemes: Collection[str] = ("https", "http")) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        safe = parts.scheme in schemes and (parts.scheme == "https" or parts.hostname in LOCAL_HOSTS)
        safe = safe and bool(parts.hostname) and parts.username is None and parts.password is None
    except ValueError:
        safe = False
    if not safe:
        raise Refusal("Bundles are fetched over https alone, without names and passwords: mend the registry's address.")


def _download(entry: Entry, part: Path, progress: Callable[[int, int], None]) -> None:
    """The archive, whole and with its sha256, as `part`; what is there already is not loaded again."""
    received = part.stat().st_size if part.exists() else 0
    if received > entry.bytes:
        received = 0
    if shutil.disk_usage(part.parent).free < 2 * entry.bytes - received:  # the archive and what comes out of it
        raise Refusal(
            f"Bundle {entry.id} needs {2 * entry.bytes - received >> 20} MB free in {part.parent}: make room there, "
            f"or set {ENVIRONMENT} to another folder."
        )
    if received < entry.bytes:
        received = _receive(entry, part, received, progress)
    if received < entry.bytes:
        raise Refusal(
            f"The connection broke after {received} of {entry.bytes} bytes of bundle {entry.id}: "
            "run the same command again, it goes on from there."
        )
    with part.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256:
            return
    part.unlink()
    raise Refusal(
        f"What came as bundle {entry.id} is not what was published, its sha256 differs, and was thrown away: "
        "try again, and report it if that does not help."
    )


def _receive(entry: Entry, part: Path, received: int, progress: Callable[[int, int], None]) -> int:
    """Loads from byte `received` on, or from the first where the server cannot; how many bytes are here then."""
    with _open(entry, part, received) as response:
        if response.status != 206:
            received = 0  # the server sends the whole
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {received}-"):
            part.unlink()
            raise Refusal(f"The server sent another piece of bundle {entry.id} than asked for: try again.")
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and received + int(length) != entry.bytes:
            part.unlink(missing_ok=True)
            raise _wrong_length(entry)
        with part.open("ab" if received else "wb") as file:
            for chunk in _chunks(response):
                received += len(chunk)
                if received > entry.bytes:
                    break
                file.write(chunk)
                progress(received, entry.bytes)
    if received > entry.bytes:
        part.unlink()
        raise _wrong_length(entry)
    return received


def _open(entry: Entry, part: Path, received: int) -> HTTPResponse:
    _check_url(entry.url)
    headers = {"User-Agent": "DualFaceRecon", "Accept-Encoding": "identity"}
    if received:
        headers["Range"] = f"bytes={received}-"
    opener = urllib.request.build_opener(SafeRedirects)
    host = urllib.parse.urlsplit(entry.url).hostname
    try:
        return opener.open(urllib.request.Request(entry.url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # asked for more than there is
            part.unlink()
            raise _wrong_length(entry) from error
        raise Refusal(f"{host} does not give bundle {entry.id} (HTTP {error.code}): try again later.") from error
    except (OSError, HTTPException, ValueError) as error:
        raise Refusal(f"{host} cannot be reached for bundle {entry.id}: check the connection and try again.") from error


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """What comes until the end, or until the connection breaks."""
    try:
        while chunk := response.read(CHUNK_BYTES):
            yield chunk
    except (OSError, HTTPException):
        return


def _wrong_length(entry: Entry) -> Refusal:
    return Refusal(
        f"The server's file is not bundle {entry.id}, which has {entry.bytes} bytes: try again later, "
        "and report it if that does not help."
    )
