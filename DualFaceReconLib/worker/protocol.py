"""What is said between the worker and whoever drives it: one JSON object a line, in ASCII, either way.

    {"id": 3, "request": "open", "path": "film.dcm", "overrides": {"sdd_mm": 1150}}
    {"id": 3, "event": "progress", "stage": "film", "words": "Reading the film", "share": 0.0}
    {"id": 3, "event": "done", "film": "5e21f0aa", "size_px": [1024, 1024], ...}

What comes back repeats the request's id, which is any JSON value. Every line is answered by one last event: `done` with
values; `refused` with a `code`, a `text` of one sentence and `values`; `cancelled`; or `failed` with a `text` and the
tail of the log. A line that is no request is refused; its id is null where none can be read. Before all, unasked, comes
`ready`. The worker ends where its stdin ends, also in the midst of computing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

PROTOCOL = 1
LONGEST_LINE_BYTES = 1 << 22  # requests hold paths and numbers
TOO_LONG = b"\0"  # stands for a line that was longer


@dataclass(frozen=True)
class Ping:
    """Answered at once, also while something is computed."""


@dataclass(frozen=True)
class Hello:
    """-> `versions` by name, `device` ("cpu") and `device_words` ("CPU: no CUDA found")."""


@dataclass(frozen=True)
class Load:
    """Makes a bundle ready, which otherwise the first reconstruction does.

    -> `bundle` (id, version, sha256), `bones`, `device`, `device_words`.
    """

    bundle: str | None = None  # an id or a folder; None: the one that ships
    device: str | None = None  # "cuda", "mps" or "cpu"; None: the best one here


@dataclass(frozen=True)
class Open:
    """Reads a film: a file, or bare pixels (rows, cols) with bone bright in a .npy file.

    -> `film` (to be named in `reconstruct`), `pixel_hash`, `file_format`, `size_px`, `geometry` (as `geometry.json` has
    it, with provenance), `values` (what is known, for people, with provenance), `warnings`, `preview` (`path` of a
    PNG and `size_px` of the film in it) and `pixels` (path of a .npy file, (rows, cols) float32 as displayed). The
    last KEPT_FILMS films stay open.
    """

    path: str
    geometry: dict | None = None  # of the pixels as displayed; what the file says, and `overrides`, do not count then
    overrides: dict = field(default_factory=dict)  # as `film.acquisition.Overrides`
    marker: dict | None = None  # a ball in the picture, as `film.markers.Marker`


@dataclass(frozen=True)
class Reconstruct:
    """Bones of a film that is open. Asked again with another mask, only what follows from it is computed.

    So it is for the same file opened with other overrides: networks are asked again only where their prediction does
    not fit. -> `folder` (of the result, for `load_reconstruction`), `warnings`, `verdicts` (by bone, as
    reconstruction.json has them), `timings_s`, `networks` ("asked", or "kept" where an earlier prediction was used),
    `bundle`, `device`.

    With `others`, of one patient, bones have one shape in all films. `folder` then is that of all, and the answer's
    `folder` the film's own in it; `others` has the same of each of them, and `pixel_hash` and `geometry` as `open` has
    them.
    """

    film: str
    others: tuple[dict, ...] = ()  # more films of this patient, each as `open` takes it
    different_ids: bool = False  # they are of one patient, though their files name different ones
    mask: str | None = None  # .nrrd or .npy, (bones, rows, cols) of 0 and 1, in the bundle's order of bones
    completion: bool = True
    whole_femurs: bool = False
    together: bool = True
    flipped_too: bool = True
    folder: str | None = None  # for the result; None: one in the worker's own folder, which goes with it
    overwrite: bool = False


@dataclass(frozen=True)
class OpenPair:
    """Reads an AP film and a lateral one of a spine, for `makevertebra`.

    -> `pair` (to be named there), `geometry` of both, `pixels` (paths of .npy files, (rows, cols) float32 as
    displayed), `source_angles_degrees`, `angle_degrees` between them with `angle_provenance`, `lateral_faces`,
    `in_millimetres`, `warnings`. The last pair stays open. One that is not in millimetres, as nothing says how large
    its pixels are, becomes a vertebra by corners alone.
    """

    ap: str
    lateral: str
    overrides_ap: dict = field(default_factory=dict)  # as `film.acquisition.Overrides`
    overrides_lateral: dict = field(default_factory=dict)
    angle_degrees: float | None = None
    lateral_faces: str | None = None  # "left" or "right"
    same_patient: bool = False


@dataclass(frozen=True)
class MakeVertebra:
    """The vertebra of a pair that is open, clicked at [row, col] of both films: its centre, its body's corners or both.

    -> `folder` (of the result, for `load_vertebra`), `gap_mm` between the clicks' rays, `warnings`, `measured` (how
    good the bundle is known to be), `bundle`, `device`, `timings_s`.
    """

    pair: str
    level: str
    centre_ap: tuple[float, float] | None = None
    centre_lateral: tuple[float, float] | None = None
    corners_ap: tuple[tuple[float, float], ...] | None = None
    corners_lateral: tuple[tuple[float, float], ...] | None = None
    bundle: str | None = None  # an id or a folder; None: the one that ships
    device: str | None = None
    folder: str | None = None  # for the result; None: one in the worker's own folder, which goes with it
    overwrite: bool = False


@dataclass(frozen=True)
class Fetch:
    """Brings a bundle that does not ship among the user's own; -> `bundle` (id, version, sha256).

    What came is kept where the connection breaks or the request is cancelled: asked again, it goes on from there.
    """

    bundle: str  # an id of the registry


@dataclass(frozen=True)
class Save:
    """Copies a result to another folder, whole or not at all; -> `folder`."""

    result: str  # folder of a reconstruction
    folder: str
    overwrite: bool = False
    scene: bool = False  # with scene.mrb for 3D Slicer


@dataclass(frozen=True)
class Cancel:
    """Stops a request, or all that are not answered; they are answered with `cancelled`. -> `cancelled`, their ids."""

    target: Any = None  # its id; None: all


@dataclass(frozen=True)
class Shutdown:
    """Stops everything and ends the process."""


Request = Ping | Hello | Load | Open | Reconstruct | OpenPair | MakeVertebra | Fetch | Save | Cancel | Shutdown
REQUESTS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Request)}


class NoRequest(Exception):
    """A line that cannot be understood; `id` is its own where that can be read."""

    def __init__(self, text: str, id: Any = None) -> None:
        super().__init__(text)
        self.id = id


def line(message: Mapping[str, Any]) -> bytes:
    """A message as it goes over the pipe."""
    return json.dumps(message, allow_nan=False).encode("ascii") + b"\n"


def request_line(id: Any, request: Request) -> bytes:
    """A request as it goes over the pipe."""
    return line({"id": id, "request": name_of(request), **asdict(request)})


def name_of(request: Request) -> str:
    """What a request is called in a line."""
    return type(request).__name__.lower()


def read_request(text: bytes) -> tuple[Any, Request]:
    """A line's id and request; raises NoRequest."""
    if text == TOO_LONG:
        raise NoRequest(f"The line is longer than {LONGEST_LINE_BYTES} bytes: hand large things over as files.")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoRequest("The line is no JSON object in UTF-8.") from error
    if not isinstance(message, dict):
        raise NoRequest("The line is no JSON object.")
    id = message.pop("id", None)
    name = message.pop("request", None)
    kind = REQUESTS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise NoRequest(f"There is no such request: it is one of {', '.join(REQUESTS)}.", id)
    return id, checked(kind, message, f"The request {name}", id)


def checked(kind: type, values: Mapping[str, Any], what: str, id: Any = None) -> Any:
    """A dataclass of JSON's values; raises NoRequest that names what is unknown, missing or of another type."""
    hints = get_type_hints(kind)
    unknown = [name for name in values if name not in hints]
    required = [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]
    missing = [name for name in required if name not in values]
    if unknown:
        raise NoRequest(f"{what} has no value named {unknown[0][:40]!a}: it may have {', '.join(hints) or 'none'}.", id)
    if missing:
        raise NoRequest(f"{what} lacks {missing[0]!a}.", id)
    for name, value in values.items():
        if not _is_of(value, hints[name]):
            raise NoRequest(f"{what} has a value of the wrong type for {name!a}.", id)
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def read_message(text: bytes) -> dict[str, Any]:
    """A line of the worker's."""
    return json.loads(text)


class Lines:
    """Bytes as they come, cut into lines."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._skipping = False

    def fed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are complete now, without their ends; TOO_LONG instead of one that is."""
        *ends, begun = data.split(b"\n")
        for end in ends:
            self._add(end)
            whole, too_long = bytes(self._begun), self._skipping
            self._begun.clear()
            self._skipping = False
            yield TOO_LONG if too_long else whole.removesuffix(b"\r")
        self._add(begun)

    def _add(self, part: bytes) -> None:
        if self._skipping or len(self._begun) + len(part) > LONGEST_LINE_BYTES:
            self._begun.clear()
            self._skipping = True
        else:
            self._begun += part


def command(python: str, folder: str | Path | None = None) -> list[str]:
    """Program and arguments that start a worker; `folder` is for what it writes, and the caller's to remove."""
    return [python, "-P", "-m", "DualFaceReconLib.worker", *([] if folder is None else [str(folder)])]


def environment(packages: str | Path | None = None, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A worker's environment; `packages` is a folder of Python packages that it alone has on its path."""
    own = [str(Path(__file__).parents[2]), *([] if packages is None else [str(packages)])]
    inherited = base.get("PYTHONPATH")
    paths = os.pathsep.join([*own, *([inherited] if inherited else [])])
    return {**base, "PYTHONPATH": paths, "PYTHONUTF8": "1"}


def _is_of(value: Any, hint: Any) -> bool:
    """Whether JSON's value may stand for a type: whole numbers do for float, lists for tuples, no bool for a number."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if Any in kinds:
        return True
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    for kind in kinds:
        if get_origin(kind) is Literal:
            if value in get_args(kind):
                return True
        elif get_origin(kind) is not tuple:
            if isinstance(value, kind):
                return True
        elif isinstance(value, list):
            parts = get_args(kind)
            own = parts[:1] * len(value) if parts[1:] == (...,) else parts
            return len(value) == len(own) and all(map(_is_of, value, own))
    return False
