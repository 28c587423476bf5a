"""The `dualface` command: here are the arguments, in `actions.py` is what they do."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from DualFaceReconLib import __version__, actions, vertebra_actions
from DualFaceReconLib.actions import EXIT_REFUSED, EXIT_STOPPED
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.parallel.work import scheduler_address

FORMATS = "DICOM, NRRD, MHA, NIfTI, PNG, JPEG or TIFF"


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
        actions.print_refusal(refusal)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dualface",
        description="3D bone surfaces from one hip radiograph, or a vertebra from two films. Research use only.",
    )
    parser.add_argument("--version", action="version", version=f"dualface {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_inspect(commands)
    _add_reconstruct(commands)
    _add_vertebra(commands)
    _add_batch(commands)
    _add_summary(commands)
    _add_models(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], int], epilog: str | None = None
) -> argparse.ArgumentParser:
    """A command that runs a function, and is explained by its docstring."""
    command = commands.add_parser(name, help=run.__doc__, description=run.__doc__, epilog=epilog)
    command.set_defaults(run=run)
    return command


def _add_inspect(commands: argparse._SubParsersAction) -> None:
    command = _command(commands, "inspect", actions.inspect)
    command.add_argument("file", type=Path, metavar="FILE", help=FORMATS)
    add_film_arguments(command)
    command.add_argument("--picture", type=Path, metavar="PNG", help="also draw the film with scale bars, to a file")
    command.add_argument("--json", action="store_true", help="print JSON for programs")
    command.add_argument("--show-identity", action="store_true", help="also print the patient's name, id, birth date")


def _add_reconstruct(commands: argparse._SubParsersAction) -> None:
    command = _command(commands, "reconstruct", actions.reconstruct)
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help=FORMATS)
    command.add_argument(
        "-o",
        "--out",
        type=_folder,
        required=True,
        metavar="DIR",
        help="for the result; of several films a folder in it each",
    )
    patient = command.add_argument_group("about several films")
    patient.add_argument(
        "--one-patient",
        action="store_true",
        help="the films are of one patient: bones have one shape in all of them; patient.json says what each film "
        "added",
    )
    patient.add_argument(
        "--different-ids", action="store_true", help="of one patient, though the files name different ones"
    )
    add_film_arguments(command, marked=True)
    add_engine_arguments(command)
    command.add_argument("--overwrite", action="store_true", help="replace a reconstruction that is there")
    command.add_argument("--scene", action="store_true", help="also write scene.mrb for 3D Slicer (needs slicer-core)")


def _add_vertebra(commands: argparse._SubParsersAction) -> None:
    epilog = (
        "Rows and columns are of the films as displayed (`inspect` draws them). The centre of a vertebra is in the "
        "midline and halfway up the body on the AP film, at the body's back wall and halfway up on the lateral. "
        "Options with two values take that of the AP film and that of the lateral; one counts for both."
    )
    command = _command(commands, "vertebra", vertebra_actions.vertebra, epilog)
    command.add_argument("ap", type=Path, metavar="AP", help=f"a film from in front or behind: {FORMATS}")
    command.add_argument("lateral", type=Path, metavar="LATERAL", help="a film from the side, of the same patient")
    command.add_argument(
        "-o",
        "--out",
        type=_folder,
        required=True,
        metavar="DIR",
        help="for the result; with --points a folder in it each",
    )
    which = command.add_argument_group("about the vertebra")
    which.add_argument("--level", metavar="LEVEL", help="T1 to T12, L1 to L5")
    for name, film in (("ap", "AP"), ("lateral", "lateral")):
        which.add_argument(
            f"--centre-{name}", type=float, nargs=2, metavar=("ROW", "COL"), help=f"its centre on the {film} film"
        )
    which.add_argument(
        "--corners",
        type=float,
        nargs=16,
        metavar="N",
        help="the body's four corners on the AP film and then on the lateral, row and column of each: instead of "
        "centres, or beside them; without any scale the shape then comes without millimetres",
    )
    which.add_argument("--points", type=Path, metavar="JSON", help="vertebrae of these films, as the README shows")
    films = command.add_argument_group("about the films (each wins over the files)")
    films.add_argument("--angle", type=float, metavar="DEGREES", help="between both (default: the headers', or 90)")
    films.add_argument(
        "--lateral-faces", choices=("left", "right"), help="where the patient looks in the lateral picture"
    )
    films.add_argument("--same-patient", action="store_true", help="the films are of one patient, whatever their ids")
    films.add_argument("--pixel-pitch", type=_pitch, nargs="+", metavar="MM", help="at the detector, as `reconstruct`")
    films.add_argument("--sdd", type=float, nargs="+", metavar="MM", help="distance from source to detector")
    films.add_argument(
        "--object-distance", type=float, nargs="+", metavar="MM", help="from the detector to the axis through the spine"
    )
    films.add_argument("--view", choices=("AP", "PA"), help="of the first film; AP: its source is before the patient")
    films.add_argument("--invert", choices=("ap", "lateral", "both"), help="bone is dark in the file")
    result = command.add_argument_group("about the result")
    result.add_argument("--bundle", metavar="ID|DIR", help="another bundle than the one that ships")
    result.add_argument("--device", choices=("cuda", "mps", "cpu"), help="default: the best one here")
    result.add_argument("--overwrite", action="store_true", help="replace a vertebra that is there")
    result.add_argument("--scene", action="store_true", help="also write scene.mrb for 3D Slicer (needs slicer-core)")


def _add_batch(commands: argparse._SubParsersAction) -> None:
    epilog = (
        "Exit codes: 0 all films are done; 2 nothing could begin; 3 some films were refused or failed, "
        "summary.csv says why; 130 stopped. Paths, which may name patients, stand in map.csv alone."
    )
    command = _command(commands, "batch", actions.batch, epilog)
    command.add_argument("folder", type=Path, metavar="DIR", help="the films, in this folder and the folders in it")
    command.add_argument("-o", "--out", type=_folder, required=True, metavar="DIR", help="for the results")
    command.add_argument(
        "--table",
        type=Path,
        metavar="CSV",
        help="what is said of single films; columns: file, pixel_pitch_mm, sdd_mm, object_distance_mm, view, "
        "swap_sides, invert, marker_row, marker_col, marker_diameter_px, marker_diameter_mm, field_top, field_bottom, "
        "field_left, field_right, length_first_row, length_first_col, length_last_row, length_last_col, length_mm, "
        "length_at",
    )
    command.add_argument("--dry-run", action="store_true", help="read all films, say what would be done, write nothing")
    command.add_argument(
        "--keep-names",
        action="store_true",
        help="name folders and lines after the files, which may name patients, and not by number and pixel hash",
    )
    add_film_arguments(command)
    add_engine_arguments(command)
    many = command.add_argument_group("about doing many")
    many.add_argument(
        "--jobs", type=_count, metavar="N", help="films at a time, a process and a core each (default: the cores)"
    )
    many.add_argument(
        "--timeout", type=_seconds, default=300.0, metavar="S", help="after which a film is given up (default: 300 s)"
    )
    many.add_argument(
        "--scheduler",
        type=scheduler_address,
        metavar="ADDRESS",
        help='of a Dask cluster that does the films, tcp://HOST:PORT; "local": one of --jobs workers on this machine',
    )
    many.add_argument("--retry", action="store_true", help="try films again that ended their process twice")


def _add_summary(commands: argparse._SubParsersAction) -> None:
    command = _command(commands, "summary", actions.summary)
    command.add_argument("results", type=Path, metavar="RESULTS", help="the output of a batch")
    command.add_argument("-o", "--out", type=_folder, required=True, metavar="DIR", help="for the page, summary.html")


def add_engine_arguments(command: argparse.ArgumentParser) -> None:
    """With what and how far bones are reconstructed."""
    engine = command.add_argument_group("about the result")
    engine.add_argument("--bundle", metavar="ID|DIR", help="another bundle than the one that ships")
    engine.add_argument("--device", choices=("cuda", "mps", "cpu"), help="default: the best one here")
    engine.add_argument("--no-completion", dest="completion", action="store_false", help="only what was seen")
    engine.add_argument("--whole-femurs", action="store_true", help="keep the shaft and the knee that were not seen")
    engine.add_argument(
        "--separately",
        dest="together",
        action="store_false",
        help="complete each bone alone, and not all at once, as those of one person",
    )


def _add_models(commands: argparse._SubParsersAction) -> None:
    about = "The bundles of networks and shape models: list, verify, fetch, remove."
    models = commands.add_parser("models", help=about, description=about).add_subparsers(
        required=True, metavar="ACTION"
    )
    listing = _command(models, "list", actions.models_list)
    listing.add_argument("--json", action="store_true", help="print JSON for programs")
    _command(models, "verify", actions.models_verify).add_argument("id", metavar="BUNDLE", nargs="?")
    fetching = _command(models, "fetch", actions.models_fetch)
    fetching.add_argument("id", metavar="BUNDLE")
    _command(models, "remove", actions.models_remove).add_argument("id", metavar="BUNDLE")
    for command in (listing, fetching):
        command.add_argument("--registry", type=Path, metavar="JSON", help="where bundles of your own are published")


def add_film_arguments(command: argparse.ArgumentParser, marked: bool = False) -> None:
    """How a film was taken, where the file is silent or wrong."""
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
    film.add_argument(
        "--length",
        type=float,
        nargs=5,
        metavar=("ROW", "COL", "ROW", "COL", "MM"),
        help="a scale bar or a ruler in the picture: its two ends, and how long it is",
    )
    film.add_argument(
        "--length-at",
        choices=("detector", "bones"),
        help="a burnt-in bar lies at the detector and tells the pitch, a ruler beside the patient at the bones",
    )
    film.add_argument(
        "--field",
        type=int,
        nargs=4,
        metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="the exposed field: its first and last row, its first and last column, as `inspect` draws it",
    )


def _folder(words: str) -> Path:
    if not words:
        raise argparse.ArgumentTypeError("no folder is named: name one for the result")
    return Path(words)


def _count(words: str) -> int:
    if not words.isdigit() or int(words) == 0:
        raise argparse.ArgumentTypeError(f"{words!a} is no number of films: give 1 or more")
    return int(words)


def _seconds(words: str) -> float:
    try:
        seconds = float(words)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{words!a} is no number of seconds: give one like 300")
    return seconds


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
