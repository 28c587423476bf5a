"""What tests of commands need not spend their time on: the same networks loaded, and the same film seen, again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest

from DualFaceReconLib import inference, reconstruction, results, vertebra_results
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.inference import Networks
from DualFaceReconLib.prediction import Prediction


@contextmanager
def networks_asked_once() -> Iterator[None]:
    """In this process a bundle is loaded once, and its networks look at a film once."""
    predictions: list[tuple[Networks, Prediction]] = []

    def predict(networks: Networks, radiograph: Radiograph, **how: Any) -> Prediction:
        for by, prediction in predictions:
            if by is networks and prediction.fits(radiograph):
                return prediction
        predictions.append((networks, asked(networks, radiograph, **how)))
        return predictions[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        asked = inference.predict
        patch.setattr(inference, "predict", predict)
        patch.setattr(reconstruction, "Reconstructor", cache(reconstruction.Reconstructor))
        yield


@contextmanager
def pictures_undrawn() -> Iterator[None]:
    """Results' pictures are black: drawing bones takes a second."""

    def black(_: object) -> np.ndarray:
        return np.zeros((8, 8, 3), np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results.overview, "picture", black)
        patch.setattr(vertebra_results.vertebra_picture, "picture", black)
        yield
