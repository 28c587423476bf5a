import os
import sys
from collections import OrderedDict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find support/ wherever they are started
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; threads that wait for each other only cost
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy asks once, when it is loaded
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def curves_undrawn():
    """Pictures of training's progress are made up but not drawn: half a second an epoch, for tests of other things."""
    from matplotlib.figure import Figure

    draw = Figure.savefig

    def drawn(self, path, **how):
        if Path(path).name in ("curves.png", "sheet.png"):
            return Path(path).touch()
        return draw(self, path, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", drawn)
        yield


TAKEN = OrderedDict()  # (population, series, number) -> the patient on the detector; the newest hundred


@pytest.fixture(scope="module")
def patients_taken_once():
    """Networks of different tests learn from films of the same patients, which are made once.

    That they are the same whenever they are made is for other tests to show.
    """
    from training.learning import data

    take = data.take

    def taken(population, series, number, device="cpu"):
        key = id(population), series, number
        if key not in TAKEN:
            TAKEN[key] = (
                population,
                take(population, series, number, device),
            )  # the population too: so its id stays its own
            while len(TAKEN) > 100:
                TAKEN.popitem(last=False)
        return TAKEN[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "take", taken)
        yield
