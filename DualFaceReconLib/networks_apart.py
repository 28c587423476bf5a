"""A bundle's networks in a process of their own, which loads them while this one reads the film.

    with networks_apart(bundle, device) as networks:        # at once; None where nothing is gained by it
        radiograph = read_radiograph("film.dcm")
        reconstruction = Reconstructor(bundle, device, networks).run(radiograph)

To import torch and load networks takes half of a command's time, and threads of one process import by turns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DualFaceReconLib.later import left_for_later
from DualFaceReconLib.parallel.processes import Begun, usable_cores

if TYPE_CHECKING:  # the process is to begin before anything else is imported
    from concurrent.futures import Future

    import numpy as np

    from DualFaceReconLib.bundle.manifest import Manifest
    from DualFaceReconLib.film.radiograph import Radiograph
    from DualFaceReconLib.geometry import ProjectionGeometry
    from DualFaceReconLib.inference import Networks
    from DualFaceReconLib.prediction import Prediction, Progress

UNUSED = {  # of what torch imports, by those who ask networks: a third of its time
    "torch._meta_registrations",  # how operators act on tensors without memory, for the compiler: a quarter
    *("torch.distributions", "torch.export", "torch.masked", "torch.profiler", "torch.utils.data"),
    *("torchgen.model", "unittest.mock"),
    *("torch.quantization", "torch.nn.intrinsic", "torch.nn.qat", "torch.nn.quantizable", "torch.nn.quantized"),
}


class NetworksApart:
    """Stands in for `inference.Networks` in a `Reconstructor`; what networks see is the same."""

    def __init__(self, bundle: str | Path | None, device: str | None) -> None:
        """Begins at once; what goes wrong is raised by whatever is asked of it first."""
        self._bundle = bundle
        self._process = Begun(_Loading(bundle, device))
        self._begun: tuple[Radiograph, Future[Prediction]] | None = None

    @cached_property
    def manifest(self) -> Manifest:
        from DualFaceReconLib.bundle.manifest import hip_manifest
        from DualFaceReconLib.bundle.store import bundle_folder

        return hip_manifest(bundle_folder(self._bundle))

    @property
    def device(self) -> str:
        """Known once they are loaded."""
        return self._process.words()

    def begin(self, radiograph: Radiograph) -> None:
        """Lets them look at the film that they will be asked of first, while the caller does something else."""
        from concurrent.futures import ThreadPoolExecutor

        request = "predict", _Film.of(radiograph), {"flipped_too": True}
        pool = ThreadPoolExecutor(1)  # as whoever sends pixels waits until they are taken
        self._begun = radiograph, pool.submit(self._process.do, request)
        pool.shutdown(wait=False)

    def predict(
        self,
        radiograph: Radiograph,
        *,
        flipped_too: bool = True,
        progress: Progress = lambda stage, share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Prediction:
        """As `inference.predict`; after Cancelled they can be asked no more."""
        progress("segmentation", 0.0)
        begun, self._begun = self._begun, None
        if begun is not None:
            prediction = begun[1].result()
            if begun[0] is radiograph and flipped_too:
                return prediction
        return self._process.do(("predict", _Film.of(radiograph), {"flipped_too": flipped_too}), cancelled)

    def unsure_at_pitch(self, radiograph: Radiograph, factor: float) -> float:
        """As `inference.unsure_at_pitch`."""
        return self._process.do(("unsure_at_pitch", _Film.of(radiograph), {"factor": factor}))

    def end(self) -> None:
        """Ends the process, whatever it is at."""
        self._process.end()


@contextmanager
def networks_apart(bundle: str | Path | None, device: str | None) -> Iterator[NetworksApart | None]:
    """None, and they are loaded here, on a single core, with torch imported, or where no process can be started."""
    networks = None
    if "torch" not in sys.modules and usable_cores() > 1:
        with suppress(OSError):
            networks = NetworksApart(bundle, device)
    try:
        yield networks
    finally:
        if networks is not None:
            networks.end()


@dataclass(frozen=True)
class _Film:
    """All of a radiograph that networks are asked with; to unpack it takes no libraries that read films."""

    pixels: np.ndarray
    geometry: ProjectionGeometry
    pixel_hash: str

    @classmethod
    def of(cls, radiograph: Radiograph) -> _Film:
        return cls(radiograph.pixels, radiograph.geometry, radiograph.pixel_hash)


# In the process


@dataclass(frozen=True)
class _Loading:
    """What the process does first."""

    bundle: str | Path | None
    device: str | None

    def __call__(self) -> _Loaded:
        # Threads of torch that spin while they wait for each other take the core on which one of them, or the other
        # process, would work: half of the time on busy cores. OpenMP asks once, when it is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        with left_for_later(UNUSED):
            from DualFaceReconLib.bundle.store import bundle_folder
            from DualFaceReconLib.inference import load_networks

        return _Loaded(load_networks(bundle_folder(self.bundle), self.device))


class _Loaded:
    """Networks that are asked by the names of what they are asked for."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def __str__(self) -> str:
        return self._networks.device

    def __call__(self, request: tuple[str, _Film, dict[str, Any]]) -> Any:
        name, film, how = request
        return getattr(self._networks, name)(film, **how)
