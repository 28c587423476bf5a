"""Networks in a process of their own, which loads them while another one reads the film."""

import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest
from support.processes import started_at_once
from support.programs import python

import DualFaceReconLib.networks_apart as apart
from DualFaceReconLib.bundle.store import SHIPPED
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.inference import load_networks
from DualFaceReconLib.later import left_for_later
from DualFaceReconLib.networks_apart import NetworksApart, networks_apart

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "Resources" / "Samples" / "one_hip_2.dcm"


def test_they_see_what_networks_see_here():
    film, here, stages = read_radiograph(SAMPLE), load_networks(SHIPPED, "cpu"), []
    with started_at_once():
        there = NetworksApart(None, "cpu")
    try:
        there.begin(film)
        both = there.predict(film, progress=lambda stage, share: stages.append((stage, share)))
        assert both.disagreement is not None
        assert stages == [("segmentation", 0.0)]
        there.begin(film)
        seen = there.predict(film, flipped_too=False)
        assert seen.disagreement is None
        expected = here.predict(film, flipped_too=False)
        assert np.abs(seen.probability - expected.probability).max() < 1e-3
        assert np.abs(seen.depth - expected.depth).max() < 0.02
        assert seen.fits(film)
        assert (there.device, there.manifest) == ("cpu", here.manifest)
        assert there.unsure_at_pitch(film, 2.0) == pytest.approx(here.unsure_at_pitch(film, 2.0), abs=1e-3)
        with pytest.raises(Cancelled):
            there.predict(film, cancelled=lambda: True)
    finally:
        there.end()


def test_networks_that_cannot_be_loaded_are_refused_when_they_are_asked(tmp_path):
    with started_at_once():
        there = NetworksApart(tmp_path, "cpu")
    film = read_radiograph(SAMPLE)
    there.begin(film)
    for ask in (lambda: there.device, lambda: there.predict(film), lambda: there.predict(film)):
        with pytest.raises(Refusal, match="manifest"):
            ask()
    there.end()


def test_a_process_that_ends_is_a_refusal():
    others = multiprocessing.active_children()
    with started_at_once():
        there = NetworksApart(None, "cpu")
    [process] = set(multiprocessing.active_children()) - set(others)
    process.kill()
    with pytest.raises(Refusal, match="is there memory for it"):
        there.predict(read_radiograph(SAMPLE))


def test_where_nothing_is_gained_or_no_process_can_be_started_networks_are_loaded_here(monkeypatch):
    class Refused(NetworksApart):
        def __init__(self, *_):
            raise OSError("no more processes")

    for cores, kind in ((1, NetworksApart), (2, Refused)):
        with monkeypatch.context() as patch, networks_apart(None, "cpu") as with_torch:
            assert with_torch is None
            patch.delitem(sys.modules, "torch")
            patch.setattr(apart, "usable_cores", lambda cores=cores: cores)
            patch.setattr(apart, "NetworksApart", kind)
            with networks_apart(None, "cpu") as networks:
                assert networks is None


def test_the_process_that_completes_bones_does_without_torch():
    """What a film needs of torch is asked of another process while this one reads the film."""
    program = (
        "import sys; import DualFaceReconLib.cli, DualFaceReconLib.reconstruction, DualFaceReconLib.results\n"
        "print([name for name in ('torch', 'timm', 'torchvision') if name in sys.modules])"
    )
    assert python(program).strip() == "[]"


def test_the_process_that_asks_networks_does_without_scipy_and_vtk():
    program = (
        "import sys; import DualFaceReconLib.networks_apart, DualFaceReconLib.inference\n"
        "print([name for name in ('scipy', 'vtkmodules', 'SimpleITK', 'pydicom') if name in sys.modules])"
    )
    assert python(program).strip() == "[]"


def test_functions_of_scipy_can_go_without_docstrings():
    program = (
        "from DualFaceReconLib.later import leave_docstrings_of_scipy\n"
        "leave_docstrings_of_scipy()\n"
        "from scipy.ndimage import label\n"
        "print('Parameters' in label.__doc__, label([1, 0, 1])[1])"
    )
    assert python(program).split() == ["False", "2"]


def test_a_module_that_is_left_for_later_runs_when_something_is_asked_of_it(tmp_path, monkeypatch):
    (tmp_path / "left_alone.py").write_text("import sys; sys.left_alone_ran = True; ANSWER = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "left_alone_ran", False, raising=False)
    with left_for_later({"left_alone"}):
        import left_alone
    try:
        assert not sys.left_alone_ran
        assert (left_alone.ANSWER, sys.left_alone_ran) == (42, True)
    finally:
        del sys.modules["left_alone"]
