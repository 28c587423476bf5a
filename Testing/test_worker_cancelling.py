"""Whoever computes asks often whether its caller still wants the result, and leaves nothing half done."""

import numpy as np
import pytest
import torch
from support.bones import FILM, MODELS, film_of, on_film
from support.reconstructions import RIGHT_HIP, made_reconstruction

from DualFaceReconLib.errors import Cancelled
from DualFaceReconLib.inference import asked_before_layers
from DualFaceReconLib.results import save
from DualFaceReconLib.shape import completion
from DualFaceReconLib.shape.fitting import Fit, fit
from DualFaceReconLib.shape.shapemodel import load_shape_models


@pytest.fixture(scope="module")
def model():
    return load_shape_models(MODELS)["hip"]


class CancelledAt:
    """A caller who wants no more at the n-th time that it is asked."""

    def __init__(self, number):
        self.number, self.asked = number, 0

    def __call__(self):
        self.asked += 1
        return self.asked >= self.number


def test_a_pass_through_a_network_ends_before_its_next_layer():
    passed = []

    class Layer(torch.nn.Module):
        def forward(self, values):
            passed.append(self)
            return values

    network = torch.nn.Sequential(Layer(), torch.nn.Sequential(Layer(), Layer()))
    with pytest.raises(Cancelled), asked_before_layers(network, CancelledAt(3)):
        network(torch.zeros(1))
    assert len(passed) == 2
    network(torch.zeros(1))  # nobody asks any more
    assert len(passed) == 5


def test_a_fit_ends_in_the_middle_of_a_round(model):
    target = completion.observed_target(film_of((on_film(model.mean, (-70, 180, 30)), model.triangles)), FILM)
    cancelled = CancelledAt(2)  # the first step's end
    with pytest.raises(Cancelled):
        fit(
            model,
            target,
            Fit(rotation=np.eye(3), translation=np.array([-65.0, 175, 25]), coefficients=np.zeros(0)),
            cancelled=cancelled,
        )
    assert cancelled.asked == 2


def test_completion_waits_for_no_fit_that_nobody_wants(model, monkeypatch):
    """Fits that would go on for ever end as soon as the caller wants no more."""
    began = []

    def endless(model, target, start, settings, cancelled):
        began.append(model)
        while not cancelled():
            pass
        raise Cancelled

    monkeypatch.setattr(completion, "fit", endless)
    observed = {"hip_left": film_of((on_film(model.mean, (-70, 180, 30)), model.triangles))}
    with pytest.raises(Cancelled):
        completion.complete_all(observed, {"hip": model}, FILM, cancelled=lambda: bool(began))


def test_a_folder_stays_as_it_was_where_writing_is_cancelled(tmp_path):
    made = made_reconstruction(RIGHT_HIP, bones=("hip_right",))
    cancelled = CancelledAt(3)
    with pytest.raises(Cancelled):
        save(made, tmp_path / "result", cancelled=cancelled)
    assert cancelled.asked == 3
    assert list(tmp_path.iterdir()) == []
