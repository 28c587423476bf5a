"""The `dualface` command, also as python -m DualFaceReconLib."""

from __future__ import annotations

import gc
import os
import sys

from DualFaceReconLib.later import left_for_later

MADE_BEFORE_COLLECTING = 50_000  # objects
# What pydicom imports where it is installed, to decode pixels, which another process does, and to fetch examples
NOT_ASKED = ("gdcm", "requests", "tqdm")
# What SciPy and pydicom import, and commands hardly ever use: a tenth of the time to import all
UNUSED = {
    *("numpy.f2py", "numpy.testing", "numpy.polynomial", "pydicom.examples"),
    *("urllib.request", "PIL.ExifTags", "PIL.ImageCms"),
}


def main() -> int:
    """The command of `cli.py`, in a process that is set up for it."""
    # Bones are completed side by side, a thread each. Where NumPy's BLAS shares out its small products among threads
    # of its own, these wait for one another and all takes half as long again. It asks once, when it is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Looking for unused circles among what libraries bring, hundreds of times, takes a tenth of the time to load them.
    gc.set_threshold(MADE_BEFORE_COLLECTING)
    for package in NOT_ASKED:
        sys.modules.setdefault(package, None)
    with left_for_later(UNUSED):
        from DualFaceReconLib.cli import main as command

        done = command()
    gc.freeze()  # or all of it would be looked through again while the process ends
    return done


if __name__ == "__main__":
    sys.exit(main())
