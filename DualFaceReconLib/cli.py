"""The `dualface` command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DualFaceReconLib import __version__
from DualFaceReconLib.errors import Refusal

if TYPE_CHECKING:
    from DualFaceReconLib.film.radiograph import Radiograph

EXIT_REFUSED = 2
EXIT_INCOMPLETE = 3  # of a batch: some films were refused or failed
EXIT_STOPPED = 130  # as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when it is done, 2 when the input is refused, 3 when a batch is done but for some films."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter must not stop us
    options = _parser().parse_args(arguments)
    try:
        done = options.run(options)
        sys.stdout.flush()
        return done
    except Refusal as refusal:
        print(f"dualface: {refusal}", file=sys.stderr)
        return EXIT_REFUSED
    except BrokenPipeError:  # the reader of our output, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # of our output or temporary files; a film that cannot be read raises Refusal
        print(f"dualface: The result cannot be printed or kept ({error.strerror or error}).", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try again at exit
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("dualface: Stopped; nothing was left half-written.", file=sys.stderr)
        return EXIT_STOPPED
    except MemoryError:
        print("dualface: There is not enough memory for this picture: scale it down.", file=sys.stderr)
        return EXIT_REFUSED


def _open_streams() -> None:
    """Streams that read and write nothing where the caller closed its own, as pythonw does."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their descriptors
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  (until the process ends)


def inspect(options: argparse.Namespace) -> int:
    """What a film says about how it was taken."""
    # imported here, so that --help and a wrong option answer at once
    from DualFaceReconLib.film.dicom_header import identity
    from DualFaceReconLib.film.dicom_pixels import read_dataset
    from DualFaceReconLib.pictures import drawing, inspection

    radiograph = _radiograph(options.file, options)
    patient = (
        identity(read_dataset(options.file, False))
        if options.show_identity and radiograph.file_format == "DICOM"
        else {}
    )
    if picture := options.picture:
        if picture.exists() and picture.samefile(options.file):
            raise Refusal("The picture would replace the film itself: choose another place with --picture.")
        drawing.save_png(inspection.picture(radiograph), picture)
    if options.json:
        where = {"picture": str(picture)} if picture else {}
        print(json.dumps({**inspection.as_dict(radiograph), "identity": patient, **where}, indent=2))
        return 0
    for key, value in patient.items():
        print(f"{key}: {value}")
    print(inspection.as_text(radiograph))
    if picture:
        print(f"Picture: {picture}")
    return 0


def reconstruct(options: argparse.Namespace) -> int:
    """Bones of a radiograph: meshes, depth maps, a picture and a report, in a folder."""
    from DualFaceReconLib.disk.folders import called, refuse_unwritable
    from DualFaceReconLib.reconstruction import Reconstructor
    from DualFaceReconLib.results import TOLD, refuse_to_lose, save

    if options.scene:
        import DualFaceReconLib.scene  # noqa: F401  (refused before anything is computed where there is no Slicer)
    if several := len(options.files) > 1:
        refuse_unwritable(options.out / TOLD)
        if (options.out / TOLD).is_file():
            raise Refusal(f"{called(options.out)} is a reconstruction itself: choose another folder for several films.")
    else:
        refuse_to_lose(options.out, overwrite=True)  # before anybody is asked
    overwrite = options.overwrite or (not several and _agrees_to_replace(options.out))
    if not several:
        refuse_to_lose(options.out, overwrite)
    films = _films_with_targets(options, overwrite)
    reconstructor = Reconstructor(options.bundle, options.device)
    print(f"{reconstructor}. Research use only.")
    for file, radiograph, folder in films:
        with _named(file, options):
            with _progress() as progress:
                found = reconstructor.run(
                    radiograph, completion=options.completion, whole_femurs=options.whole_femurs, progress=progress
                )
            save(found, folder, overwrite=overwrite, scene=options.scene)
        print(found)
        for warning in found.warnings:
            print(f"WARNING  {warning.text}")
        print(f"Result: {folder}  (look at picture.png)")
    return 0


def batch(options: argparse.Namespace) -> int:
    """Every film in a folder and the folders in it, whatever happens to one of them; the same command goes on."""
    from DualFaceReconLib.batch import run as films
    from DualFaceReconLib.film.acquisition import Overrides

    choices = films.Choices(
        options.bundle, options.device, options.completion, options.whole_femurs, options.keep_names
    )
    overrides = Overrides(**_said(options))
    try:
        outcome = films.batch(
            options.folder,
            options.out,
            overrides=overrides,
            table=options.table,
            choices=choices,
            dry_run=options.dry_run,
            say=_say,
        )
    except KeyboardInterrupt:
        print("dualface: Stopped; what is done is in the output, and the same command goes on.", file=sys.stderr)
        return EXIT_STOPPED
    _say(f"Nothing was written: {outcome}" if options.dry_run else f"{outcome}: see summary.csv in the output")
    return 0 if outcome.whole else EXIT_INCOMPLETE


def models_list(options: argparse.Namespace) -> int:
    """The bundles that are here, and those that can be fetched."""
    from DualFaceReconLib.bundle.fetch import registry
    from DualFaceReconLib.bundle.store import installed, models_folder

    here, fetchable = installed(), registry(options.registry)
    if options.json:
        bundles = [
            {
                **{"id": bundle.id, "version": bundle.version, "folder": str(bundle.folder), "ships": bundle.ships},
                "refusal": bundle.refusal or None,
                "sha256": bundle.manifest and bundle.manifest.sha256,
                "manifest": bundle.manifest and dataclasses.asdict(bundle.manifest),
            }
            for bundle in here
        ]
        entries = [dataclasses.asdict(entry) for entry in fetchable]
        print(json.dumps({"folder": str(models_folder()), "installed": bundles, "fetchable": entries}, indent=2))
        return 0
    for bundle in here:
        print(f"{bundle.id} {bundle.version}  {'ships with DualFaceRecon' if bundle.ships else bundle.folder}")
        if told := bundle.manifest:
            print(f"  {', '.join(told.bones)}; {_megabytes(told.size_bytes)}; {told.licence}\n  {told.research_use}")
        else:
            print(f"  WARNING: {bundle.refusal}")
    for entry in fetchable:
        if (entry.id, entry.version) not in {(bundle.id, bundle.version) for bundle in here}:
            print(f"{entry.id} {entry.version}  can be fetched, {_megabytes(entry.bytes)}")
    if not here:
        print(f"No bundle is here; your own lie in {models_folder()}.")
    return 0


def models_verify(options: argparse.Namespace) -> int:
    """Reads bundles and compares every byte with what was sealed."""
    from DualFaceReconLib.bundle.files import verify
    from DualFaceReconLib.bundle.store import find, installed

    names = [options.id] if options.id else [bundle.id for bundle in installed()]
    if not names:
        raise Refusal("No bundle is here: `dualface models list` shows what can be fetched.")
    damaged = 0
    for name in names:
        try:
            told = verify(find(name))
            print(f"{told.id} {told.version} is sound: {len(told.files)} files, {_megabytes(told.size_bytes)}")
        except Refusal as refusal:
            damaged += 1
            print(f"dualface: {refusal}", file=sys.stderr)
    return EXIT_REFUSED if damaged else 0


def models_fetch(options: argparse.Namespace) -> int:
    """Fetches a bundle, goes on with one that was begun, and replaces an older version."""
    from DualFaceReconLib.bundle.fetch import fetch, published
    from DualFaceReconLib.bundle.store import find

    def show(done: int, total: int) -> None:
        print(f"\r{_megabytes(done)} of {_megabytes(total)}", end="\n" if done == total else "", file=sys.stderr)

    entry = published(options.id, options.registry)
    try:
        told = fetch(entry, show) if sys.stderr.isatty() else fetch(entry)
    except KeyboardInterrupt as error:
        raise Refusal("Stopped: the same command goes on from here.") from error
    print(f"{told.id} {told.version} is here and sound: {find(told.id)}")
    return 0


def models_remove(options: argparse.Namespace) -> int:
    """Removes a fetched bundle, or what came of one so far."""
    from DualFaceReconLib.bundle.store import remove

    print(f"Removed {', '.join(remove(options.id)) or f'what had come of {options.id}'}.")
    return 0


def _radiograph(file: Path, options: argparse.Namespace) -> Radiograph:
    """A film with what the command line says of it."""
    from DualFaceReconLib.film.markers import Marker, with_marker
    from DualFaceReconLib.film.radiograph import read_radiograph

    radiograph = read_radiograph(file, **_said(options))
    marker = getattr(options, "marker", None)
    return radiograph if marker is None else with_marker(radiograph, Marker(*marker))


def _films_with_targets(options: argparse.Namespace, overwrite: bool) -> list[tuple[Path, Radiograph, Path]]:
    """Files with their films and the folders for them, all read and checked before the first is computed."""
    from DualFaceReconLib.results import refuse_to_lose

    films: dict[Path, tuple[Path, Radiograph, Path]] = {}
    for file in options.files:
        with _named(file, options):
            radiograph = _radiograph(file, options)
            folder = options.out / radiograph.pixel_hash if len(options.files) > 1 else options.out
            refuse_to_lose(folder, overwrite)
        if folder in films:
            raise Refusal(f"{films[folder][0]} and {file} hold the same picture: leave one of them out.")
        films[folder] = file, radiograph, folder
    return list(films.values())


@contextmanager
def _named(file: Path, options: argparse.Namespace) -> Iterator[None]:
    """Says which of several films is refused."""
    try:
        yield
    except Refusal as refusal:
        if len(options.files) == 1:
            raise
        raise Refusal(f"{file.name}: {refusal}") from refusal


def _said(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of films, by the readers' words."""
    return {
        "pixel_pitch_mm": options.pixel_pitch,
        "sdd_mm": options.sdd,
        "object_distance_mm": options.object_distance,
        "view": options.view,
        "swap_sides": options.swap_sides,
        "invert": options.invert,
    }


def _say(words: str) -> None:
    """A line at once; where nobody reads any more, a long run goes on all the same."""
    try:
        print(words, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _agrees_to_replace(folder: Path) -> bool:
    """Asks, where somebody is there to answer."""
    from DualFaceReconLib.results import TOLD

    if not (folder / TOLD).is_file() or not sys.stdin.isatty():
        return False
    try:
        answer = input(f"{folder} holds a reconstruction already. Replace it? [y/N] ")
    except EOFError:  # Ctrl-D
        print()
        return False
    return answer.strip().lower() in ("y", "yes")


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A line that says how far it is and how long it will still take, where somebody watches."""
    if not sys.stderr.isatty():
        yield lambda stage, share: None
        return
    begun = time.monotonic()

    def show(stage: str, share: float) -> None:
        left = (time.monotonic() - begun) * (1 - share) / share if share > 0 else None
        words = f"{share:4.0%} {stage}" + ("" if left is None else f", about {left:.0f} s left")
        print(f"\r{words:<60}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print(f"\r{'':<60}\r", end="", file=sys.stderr, flush=True)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dualface", description="3D bone surfaces from one hip radiograph. Research use only."
    )
    parser.add_argument("--version", action="version", version=f"dualface {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    inspecting = commands.add_parser("inspect", help=inspect.__doc__, description=inspect.__doc__)
    inspecting.add_argument("file", type=Path, metavar="FILE", help="DICOM, NRRD, MHA, NIfTI, PNG, JPEG or TIFF")
    _add_overrides(inspecting)
    inspecting.add_argument("--picture", type=Path, metavar="PNG", help="also draw the film with scale bars, to a file")
    inspecting.add_argument("--json", action="store_true", help="print JSON for programs")
    inspecting.add_argument(
        "--show-identity", action="store_true", help="also print the patient's name, id, birth date"
    )
    inspecting.set_defaults(run=inspect)
    _add_reconstruct(commands)
    _add_batch(commands)
    _add_models(commands)
    return parser


def _add_reconstruct(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("reconstruct", help=reconstruct.__doc__, description=reconstruct.__doc__)
    command.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="DICOM, NRRD, MHA, NIfTI, PNG, JPEG or TIFF"
    )
    command.add_argument(
        "-o",
        "--out",
        type=_folder,
        required=True,
        metavar="DIR",
        help="for the result; of several films a folder in it each",
    )
    _add_overrides(command, marked=True)
    _add_engine(command)
    command.add_argument("--overwrite", action="store_true", help="replace a reconstruction that is there")
    command.add_argument("--scene", action="store_true", help="also write scene.mrb for 3D Slicer (needs slicer-core)")
    command.set_defaults(run=reconstruct)


def _add_batch(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "batch",
        help=batch.__doc__,
        description=batch.__doc__,
        epilog="Exit codes: 0 all films are done; 2 nothing could begin; 3 some films were refused or failed, "
        "summary.csv says why; 130 stopped. Paths, which may name patients, stand in map.csv alone.",
    )
    command.add_argument("folder", type=Path, metavar="DIR", help="the films, in this folder and the folders in it")
    command.add_argument("-o", "--out", type=_folder, required=True, metavar="DIR", help="for the results")
    command.add_argument(
        "--table",
        type=Path,
        metavar="CSV",
        help="what is said of single films; columns: file, pixel_pitch_mm, sdd_mm, object_distance_mm, view, "
        "swap_sides, invert, marker_row, marker_col, marker_diameter_px, marker_diameter_mm",
    )
    command.add_argument("--dry-run", action="store_true", help="read all films, say what would be done, write nothing")
    command.add_argument(
        "--keep-names",
        action="store_true",
        help="name folders and lines after the files, which may name patients, and not by number and pixel hash",
    )
    _add_overrides(command)
    _add_engine(command)
    command.set_defaults(run=batch)


def _add_engine(command: argparse.ArgumentParser) -> None:
    """With what and how far bones are reconstructed."""
    engine = command.add_argument_group("about the result")
    engine.add_argument("--bundle", metavar="ID|DIR", help="another bundle than the one that ships")
    engine.add_argument("--device", choices=("cuda", "mps", "cpu"), help="default: the best one here")
    engine.add_argument("--no-completion", dest="completion", action="store_false", help="only what was seen")
    engine.add_argument("--whole-femurs", action="store_true", help="keep the shaft and the knee that were not seen")


def _add_models(commands: argparse._SubParsersAction) -> None:
    about = "The bundles of networks and shape models: list, verify, fetch, remove."
    actions = commands.add_parser("models", help=about, description=about).add_subparsers(
        required=True, metavar="ACTION"
    )
    for name, run in (
        ("list", models_list),
        ("verify", models_verify),
        ("fetch", models_fetch),
        ("remove", models_remove),
    ):
        action = actions.add_parser(name, help=run.__doc__, description=run.__doc__)
        action.set_defaults(run=run)
        if name != "list":
            action.add_argument("id", metavar="BUNDLE", nargs="?" if name == "verify" else None)
        if name in ("list", "fetch"):
            action.add_argument("--registry", type=Path, metavar="JSON", help="where bundles of your own are published")
        if name == "list":
            action.add_argument("--json", action="store_true", help="print JSON for programs")


def _add_overrides(command: argparse.ArgumentParser, marked: bool = False) -> None:
    """What the user may say about a film; each wins over the file."""
    film = command.add_argument_group("about the film (each wins over the file)")
    film.add_argument("--pixel-pitch", type=_pitch, metavar="MM", help="at the detector: 0.143, or ROWxCOL 0.143x0.139")
    film.add_argument("--sdd", type=float, metavar="MM", help="distance from source to detector")
    film.add_argument("--object-distance", type=float, metavar="MM", help="distance from detector to the bones' centre")
    if marked:
        film.add_argument(
            "--marker",
            type=float,
            nargs=4,
            metavar=("ROW", "COL", "DIAMETER_PX", "DIAMETER_MM"),
            help="a calibration ball or an implant's head in the picture: gives the object distance",
        )
    film.add_argument("--view", choices=("AP", "PA"), help="AP: the source is in front of the patient")
    film.add_argument("--swap-sides", action="store_true", help="the patient's left and right are exchanged")
    film.add_argument("--invert", action="store_true", help="bone is dark in the file")


def _folder(words: str) -> Path:
    if not words:
        raise argparse.ArgumentTypeError("no folder is named: name one for the result")
    return Path(words)


def _pitch(words: str) -> float | tuple[float, float]:
    try:
        numbers = [float(word) for word in words.lower().split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(
            f"{words!a} is no pixel pitch: write it with a point, not a comma, like 0.143 or 0.143x0.139"
        )
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])
