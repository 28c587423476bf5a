"""The `dualface` command, also as python -m DualFaceReconLib."""

from __future__ import annotations

import gc
import os
import sys

MADE_BEFORE_COLLECTING = 50_000  # objects
# What pydicom imports where it is installed, to decode pixels, which another process does, and to fetch examples
NOT_ASKED = ("gdcm", "requests")


def main() -> int:
    """The command of `cli.py`, in a process that is set up for it."""
    # Bones are completed side by side, a thread each. Where NumPy's BLAS shares out its small products among threads
    # of its own, these wait for one another and all takes half as long again. It asks once, when it is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Looking for unused circles among what libraries bring, hundreds of times, takes a tenth of the time to load them.
    gc.set_threshold(MADE_BEFORE_COLLECTING)
    for package in NOT_ASKED:
        sys.modules.setdefault(package, None)
    from DualFaceReconLib.cli import main as command

    done = command()
    gc.freeze()  # or all of it would be looked through again while the process ends
    return done


if __name__ == "__main__":
    sys.exit(main())
