"""A film's bones without a window:

    Slicer --no-splash --no-main-window --python-script reconstruct.py film.dcm --out result

The arguments are those of `dualface reconstruct` for one film, and so are the exit codes: 0 for a result, 2 where the
film or a value is refused, 1 where the program failed. `--install` first installs the packages that networks need,
where they are missing. The result is in Slicer's scene, too, for scripts that go on with it.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

DONE, FAILED, REFUSED = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    from DualFaceReconLib.cli import add_engine_arguments, add_film_arguments

    parser = argparse.ArgumentParser(prog="reconstruct.py", description="Makes bones in 3D of a hip radiograph.")
    parser.add_argument("film", type=Path, help="a radiograph: DICOM, or a picture with --pixel-pitch")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="for the result")
    add_film_arguments(parser, marked=True)
    add_engine_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace a reconstruction that is there")
    parser.add_argument("--install", action="store_true", help="first install what networks need and is not here")
    return parser


def main(arguments: list[str]) -> int:
    """Does it; gives the exit code."""
    from DualFaceRecon import DualFaceReconLogic
    from DualFaceReconLib.actions import overrides_of
    from DualFaceReconLib.errors import Refusal, worded
    from DualFaceReconLib.pictures.wording import TERMINAL

    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:  # which inside Slicer would end nothing but the script
        return DONE if stop.code in (None, 0) else REFUSED
    try:
        if options.install:
            DualFaceReconLogic().install()
        DualFaceReconLogic().reconstruct(
            options.film,
            folder=options.out,
            overwrite=options.overwrite,
            marker=options.marker,
            bundle=options.bundle,
            device=options.device,
            completion=options.completion,
            whole_femurs=options.whole_femurs,
            together=options.together,
            **overrides_of(options),
        )
    except Refusal as refusal:
        print(f"dualface: {worded(refusal.text, TERMINAL)}", file=sys.stderr)
        return REFUSED
    except Exception:
        traceback.print_exc()
        return FAILED
    print(f"Written: {options.out}")
    return DONE


if __name__ == "__main__":
    import slicer

    slicer.util.exit(main([argument for argument in sys.argv[1:] if argument != "--"]))
