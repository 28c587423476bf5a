import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find support/ wherever they are started
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; threads that wait for each other only cost
    for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # NumPy and torch ask once, when they are loaded
        os.environ.setdefault(threads, "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it for what runs in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take long, the longest first: handed out in this order, they let all workers end at about the same time.
LONGEST = (
    "test_reconstruct_command.py",
    "test_worker_reconstruct.py",
    "test_completion.py",
    "test_ct.py",
    "test_anatomy.py",
    "test_reconstruction.py",
    "test_evaluate.py",
    "test_networks.py",
    "test_malformed.py",
    "test_implants.py",
    "test_train.py",
    "test_ear_learning.py",
    "test_vertebra_judging.py",
    "test_vertebra_films.py",
    "test_vertebra_anatomy.py",
    "test_vertebra_road.py",
    "test_vertebra_pair.py",
    "test_cases.py",
    "test_image_files.py",
    "test_module_run.py",
    "test_inspect.py",
    "test_together.py",
    "test_batch.py",
    "test_cluster.py",
    "test_folds.py",
    "test_claims.py",
    "test_disease.py",
    "test_scene.py",
    "test_pretrain.py",
    "test_gbcpd.py",
    "test_samples.py",
    "test_module_results.py",
    "test_finetune.py",
    "test_worker_process.py",
    "test_readme.py",
    "test_patients.py",
    "test_metrics.py",
    "test_module_panel.py",
    "test_frozen.py",
    "test_raycast.py",
    "test_boundaries.py",
    "test_bundle.py",
)


def pytest_collection_modifyitems(items):
    """Stable: the tests of a file stay in their order."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="module")
def curves_undrawn():
    """For a file of which no test looks at the curves."""
    from support.learning import curves_undrawn

    with curves_undrawn():
        yield


@pytest.fixture(scope="module")
def patients_taken_once():
    """For a file in which networks learn."""
    from support.learning import patients_taken_once

    with patients_taken_once():
        yield


@pytest.fixture
def pictures_undrawn():
    """For a test that looks at no result's picture."""
    from support.computing import pictures_undrawn

    with pictures_undrawn():
        yield


@pytest.fixture
def panel(tmp_path):
    """The module's panel in a desktop, with an engine's stand-in; skipped where there is no Qt or no slicer-core."""
    pytest.importorskip("PySide6")
    pytest.importorskip("slicer")
    from support.panels import opened_panel

    with opened_panel(tmp_path) as opened:
        yield opened


@pytest.fixture
def desktop():
    """Slicer's desktop; skipped where there is no Qt or no slicer-core."""
    pytest.importorskip("PySide6")
    pytest.importorskip("slicer")
    from host.desktop import Desktop

    with Desktop() as opened:
        yield opened
