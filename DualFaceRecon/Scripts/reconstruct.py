"""A film's bones without a window:

    Slicer --no-splash --no-main-window --python-script reconstruct.py film.dcm --out result

Arguments and exit codes are those of `dualface reconstruct`: 0 for a result, 2 where the film or a value is refused, 1
where the program failed. `--install` first installs the packages that networks need, where they are missing.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

DONE, FAILED, REFUSED = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="reconstruct.py", description="Makes bones in 3D of a hip radiograph.")
    parser.add_argument("film", type=Path, help="a radiograph: DICOM, or a picture with --pixel-pitch")
    parser.add_argument("--out", type=Path, required=True, help="the result's folder, which must not be there yet")
    parser.add_argument("--pixel-pitch", type=float, metavar="MM", help="at the detector")
    parser.add_argument("--sdd", type=float, metavar="MM", help="from the source to the detector")
    parser.add_argument("--object-distance", type=float, metavar="MM", help="from the detector to the bones")
    parser.add_argument("--view", choices=("AP", "PA"))
    parser.add_argument("--swap-sides", action="store_true")
    parser.add_argument("--invert", action="store_true")
    parser.add_argument("--bundle", help="an id or a folder; otherwise the one that ships")
    parser.add_argument("--device", choices=("cuda", "mps", "cpu"))
    parser.add_argument("--no-completion", action="store_true", help="only what was seen of the bones")
    parser.add_argument("--whole-femurs", action="store_true")
    parser.add_argument("--install", action="store_true", help="first installs what networks need and is not here")
    return parser


def main(arguments: list[str]) -> int:
    """Does it; gives the exit code."""
    from DualFaceRecon import DualFaceReconLogic
    from DualFaceReconLib.errors import Refusal, worded
    from DualFaceReconLib.pictures.wording import TERMINAL

    try:
        values = parser().parse_args(arguments)
    except SystemExit as stop:  # which inside Slicer would end nothing but the script
        return DONE if stop.code in (None, 0) else REFUSED
    try:
        if values.install:
            DualFaceReconLogic().install()
        DualFaceReconLogic().reconstruct(
            values.film,
            folder=values.out,
            pixel_pitch_mm=values.pixel_pitch,
            sdd_mm=values.sdd,
            object_distance_mm=values.object_distance,
            view=values.view,
            swap_sides=values.swap_sides,
            invert=values.invert,
            bundle=values.bundle,
            device=values.device,
            completion=not values.no_completion,
            whole_femurs=values.whole_femurs,
        )
    except Refusal as refusal:
        print(f"dualface: {worded(refusal.text, TERMINAL)}", file=sys.stderr)
        return REFUSED
    except Exception:
        traceback.print_exc()
        return FAILED
    print(f"Written: {values.out}")
    return DONE


if __name__ == "__main__":
    import slicer

    slicer.util.exit(main([argument for argument in sys.argv[1:] if argument != "--"]))
