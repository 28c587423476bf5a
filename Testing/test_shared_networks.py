"""Networks in a process of their own, asked by others for several films at a time."""

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from support.processes import started_at_once
from torch import nn

from DualFaceReconLib.batch import shared_networks
from DualFaceReconLib.batch.shared_networks import answers, networks_at
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.bundle.store import SHIPPED
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.inference import Networks, load_networks, predict

SAMPLE = Path(__file__).parent.parent / "Resources" / "Samples" / "one_hip_2.dcm"


class Doubling(nn.Module):
    """Twice what it is given, of so many films at most; it counts how often it is asked."""

    def __init__(self, most=99):
        super().__init__()
        self.most, self.passes = most, []

    def forward(self, films):
        self.passes.append(len(films))
        if len(films) > self.most:
            raise torch.OutOfMemoryError
        return 2 * films


def networks(most=99):
    return Networks(manifest=load_manifest(SHIPPED), depth=Doubling(most), segmentation=Doubling(most), device="cpu")


def requests(count):
    return [
        (("depth", "segmentation")[number % 2], np.full((2, 1, 4, 4), number, np.float32)) for number in range(count)
    ]


def test_films_that_wait_are_seen_together():
    asked = networks()
    given = answers(asked, requests(5))
    assert (asked.depth.passes, asked.segmentation.passes) == ([6], [4])
    assert [float(answer.mean()) for answer in given] == [0, 2, 4, 6, 8]
    assert {answer.shape for answer in given} == {(2, 1, 4, 4)}


class Asking:
    """A connection on which somebody asks, and hears the answer."""

    def __init__(self, request):
        self.request, self.heard = request, None

    def recv(self):
        if self.request is None:
            raise EOFError
        return self.request

    def send(self, answer):
        self.heard = answer


def test_films_that_do_not_fit_together_are_seen_one_by_one():
    coming = [Asking(request) for request in requests(4)]
    shared_networks._answer(networks(most=2), list(coming), coming)
    assert [float(asking.heard.mean()) for asking in coming] == [0, 2, 4, 6]
    (alone,) = coming = [Asking(requests(1)[0])]
    shared_networks._answer(networks(most=1), list(coming), coming)
    assert isinstance(alone.heard, torch.OutOfMemoryError)


def test_who_has_gone_is_forgotten():
    coming = [Asking(None), Asking(requests(1)[0])]
    shared_networks._answer(networks(), list(coming), coming)
    assert len(coming) == 1
    assert coming[0].heard is not None


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_several_processes_see_what_one_sees_alone():
    """Here threads ask, each by its own connection, as processes do."""
    film = read_radiograph(SAMPLE)
    alone = predict(load_networks(SHIPPED, "cpu"), film)
    with started_at_once(), shared_networks.shared_networks(SHIPPED, "cpu") as place:
        assert str(place.key) not in repr(place)
        seen = []
        threads = [threading.Thread(target=lambda: seen.append(predict(networks_at(place), film))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for prediction in seen:
            assert np.abs(prediction.probability - alone.probability).max() < 1e-3
            assert np.abs(prediction.depth - alone.depth).max() < 0.02
        asked = networks_at(place)
        assert asked.device == "cpu"
        os.kill(place.process, signal.SIGKILL)
        with pytest.raises(SystemExit, match="the same command goes on"):
            predict(asked, film)
        with pytest.raises(Refusal, match="the same command goes on"):
            networks_at(place)
    assert len(seen) == 2


def test_networks_that_cannot_be_loaded_are_refused(tmp_path):
    with (
        started_at_once(),
        pytest.raises(Refusal, match="manifest"),
        shared_networks.shared_networks(tmp_path, "cpu"),
    ):
        pass
