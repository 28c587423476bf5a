"""What the worker does: holds a bundle, the films that are open and what the networks said of them."""

from __future__ import annotations

import platform
import secrets
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import SimpleITK as sitk

from DualFaceReconLib import __version__
from DualFaceReconLib.bundle.registry import published
from DualFaceReconLib.disk.folders import write_folder
from DualFaceReconLib.document import verdict_as_dict
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.film.image_files import read_image
from DualFaceReconLib.film.lengths import Length
from DualFaceReconLib.film.markers import Marker, with_marker
from DualFaceReconLib.film.patients import refuse_different_patients
from DualFaceReconLib.film.radiograph import Radiograph, file_kind, radiograph_of, read_radiograph
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.patient import naming_film, refuse_no_films_of_a_patient
from DualFaceReconLib.patient_results import refuse_to_lose_patient, save_patient
from DualFaceReconLib.pictures import drawing, inspection
from DualFaceReconLib.pictures.film import film_picture, mark_sides
from DualFaceReconLib.results import WRITTEN, load_reconstruction, refuse_to_lose, save
from DualFaceReconLib.worker.protocol import (
    PROTOCOL,
    Fetch,
    Hello,
    Load,
    MakeVertebra,
    NoRequest,
    Open,
    OpenPair,
    Reconstruct,
    Save,
    checked,
)
from DualFaceReconLib.worker.vertebrae import VertebraWork

if TYPE_CHECKING:
    from DualFaceReconLib.prediction import Prediction
    from DualFaceReconLib.reconstruction import Reconstructor

KEPT_FILMS = 2
PREVIEW_PX = 1000  # the film's longer side
LOOK_S = 0.05  # how often a stage that cannot be stopped is left, where nobody wants it any more
SAVING = 0.9  # of a reconstruction's share, where the folder is written
STAGES = {
    "bundle": "Loading networks and shape models",
    "film": "Reading the film",
    "networks": "Networks look at the film",
    "surfaces": "Building what was seen of the bones",
    "completion": "Completing the bones",
    "saving": "Writing the result",
    "fetching": "Fetching the bundle",
    "films": "Laying the films back into space",
    "network": "The network looks at both films",
    "surface": "Building the vertebra's surface",
}
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "dynamic-network-architectures",
    "numpy",
    "scipy",
    "vtk",
    "SimpleITK",
    "pydicom",
)

Result = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """Whom to tell how far a request is, and whether it is still wanted."""

    cancelled: Callable[[], bool]
    tell: Callable[[str, str, float], None]  # stage, words, share of the whole

    def progress(self, stage: str, share: float) -> None:
        self.tell(stage, STAGES[stage], share)

    def wait_for(self, work: Future[T]) -> T:
        """What comes of work in another thread; it goes on unseen where nobody wants to wait."""
        while not wait([work], timeout=LOOK_S).done:
            if self.cancelled():
                raise Cancelled
        return work.result()


@dataclass
class OpenFilm:
    """A film that is open, and what networks said of it, by whether its mirror image was asked, too."""

    path: Path
    radiograph: Radiograph
    predictions: dict[bool, Prediction]


class Engine:
    """A bundle and films; a method for every request, which gives what `done` says."""

    def __init__(self, folder: Path) -> None:
        """`folder` is there, empty, and somebody else's to remove."""
        self.folder = folder
        self.films: dict[str, OpenFilm] = {}  # the latest last
        self.loading: tuple[Load, Future[Reconstructor]] | None = None
        self.written = 0
        self.vertebrae = VertebraWork(folder)

    def hello(self, request: Hello, job: Job) -> Result:
        job.wait_for(_beside(_import_packages))
        from DualFaceReconLib.inference import best_device

        return {
            "protocol": PROTOCOL,
            "versions": {"DualFaceRecon": __version__, "python": platform.python_version(), **_versions()},
            "device": best_device(),
            "device_words": device_words(best_device()),
        }

    def load(self, request: Load, job: Job) -> Result:
        return _about(self._reconstructor(request, job))

    def open(self, request: Open, job: Job) -> Result:
        job.progress("film", 0.0)
        radiograph = job.wait_for(_beside(lambda: _film(request)))
        job.progress("film", 0.8)
        name = secrets.token_hex(4)  # of no other film, and of none that a worker before this one had
        drawn, drawn_geometry = film_picture(radiograph, (PREVIEW_PX, PREVIEW_PX))
        preview = self.folder / f"film-{name}.png"
        mark_sides(drawn, radiograph)
        drawing.save_png(drawn, preview)
        pixels = self._pixels_file(name)
        np.save(pixels, radiograph.pixels.astype(np.float32))
        self.films[name] = OpenFilm(Path(request.path), radiograph, self._predictions_of(radiograph))
        for oldest in list(self.films)[:-KEPT_FILMS]:
            del self.films[oldest]
            self._pixels_file(oldest).unlink(missing_ok=True)
        return {
            "film": name,
            **inspection.as_dict(radiograph),
            "size_px": radiograph.geometry.size_px,
            "geometry": radiograph.geometry.to_dict(),
            "preview": {"path": str(preview), "size_px": drawn_geometry.size_px},
            "pixels": str(pixels),
        }

    def reconstruct(self, request: Reconstruct, job: Job) -> Result:
        film = self._film(request.film)
        folder = self._new_folder() if request.folder is None else Path(request.folder)
        if request.others:
            return self._reconstruct_patient(request, film, folder, job)
        refuse_to_lose(folder, request.overwrite)  # before anything is computed
        mask = None if request.mask is None else _mask(Path(request.mask))
        reconstructor = self._reconstructor(Load() if self.loading is None else self.loading[0], job)
        kept = film.predictions.get(request.flipped_too)
        reconstruction = reconstructor.run(
            film.radiograph,
            prediction=kept,
            mask=mask,
            completion=request.completion,
            whole_femurs=request.whole_femurs,
            together=request.together,
            flipped_too=request.flipped_too,
            progress=_until_saving(job),
            cancelled=job.cancelled,
        )
        film.predictions[request.flipped_too] = reconstruction.prediction
        save(reconstruction, folder, overwrite=request.overwrite, cancelled=job.cancelled)
        return {
            "folder": str(folder),
            "networks": "kept" if reconstruction.prediction is kept else "asked",
            **_of_result(reconstruction),
            **_about(reconstructor),
        }

    def _reconstruct_patient(self, request: Reconstruct, film: OpenFilm, folder: Path, job: Job) -> Result:
        if request.mask is not None or not request.completion:
            raise Refusal("Films of one patient share the completed bones, by the networks' masks: ask for that.")
        refuse_to_lose_patient(folder, request.overwrite)
        opens = [checked(Open, dict(other), "Another film of the patient") for other in request.others]
        radiographs = [film.radiograph]
        for number, other in enumerate(opens, 2):
            job.progress("film", 0.0)
            with naming_film(number):
                radiographs.append(job.wait_for(_beside(partial(_film, other))))
        refuse_no_films_of_a_patient(radiographs)
        if not request.different_ids:
            refuse_different_patients([film.path, *(Path(other.path) for other in opens)])
        reconstructor = self._reconstructor(Load() if self.loading is None else self.loading[0], job)
        kept = [self._predictions_of(radiograph).get(request.flipped_too) for radiograph in radiographs]
        patient = reconstructor.run_patient(
            radiographs,
            predictions=kept,
            whole_femurs=request.whole_femurs,
            flipped_too=request.flipped_too,
            progress=_until_saving(job),
            cancelled=job.cancelled,
        )
        first, *others = patient.films
        film.predictions[request.flipped_too] = first.prediction
        folders = save_patient(patient, folder, overwrite=request.overwrite, cancelled=job.cancelled)
        return {
            "folder": str(folders[0]),
            "networks": "kept" if first.prediction is kept[0] else "asked",
            **_of_result(first),
            "others": [
                {
                    "folder": str(own),
                    "pixel_hash": other.radiograph.pixel_hash,
                    "geometry": radiograph.geometry.to_dict(),
                    **_of_result(other),
                }
                for own, other, radiograph in zip(folders[1:], others, radiographs[1:], strict=True)
            ],
            **_about(reconstructor),
        }

    def fetch(self, request: Fetch, job: Job) -> Result:
        def progress(received: int, total: int) -> None:
            if job.cancelled():
                raise Cancelled
            job.progress("fetching", received / total)

        job.wait_for(_beside(_import_packages))  # a bundle's files are read with them
        from DualFaceReconLib.bundle.fetch import fetch

        manifest = job.wait_for(_beside(lambda: fetch(published(request.bundle), progress)))
        return {"bundle": {"id": manifest.id, "version": manifest.version, "sha256": manifest.sha256}}

    def save(self, request: Save, job: Job) -> Result:
        result, folder = Path(request.result), Path(request.folder)
        reconstruction = load_reconstruction(result)  # refused where it is none, or damaged
        refuse_to_lose(folder, request.overwrite)
        job.progress("saving", 0.0)

        def copied(beside: Path) -> None:
            for file in sorted(result.iterdir()):
                if job.cancelled():
                    raise Cancelled
                if file.name in WRITTEN:
                    shutil.copyfile(file, beside / file.name)
            if request.scene:
                from DualFaceReconLib.scene import save_scene

                save_scene(reconstruction, beside / "scene.mrb")

        write_folder(folder, copied)
        return {"folder": str(folder)}

    def openpair(self, request: OpenPair, job: Job) -> Result:
        job.progress("film", 0.0)
        return job.wait_for(_beside(lambda: self.vertebrae.open(request)))

    def makevertebra(self, request: MakeVertebra, job: Job) -> Result:
        job.progress("bundle", 0.0)
        job.wait_for(_beside(_import_packages))
        return self.vertebrae.make(request, job.progress, job.cancelled)

    def forget_bundle(self) -> None:
        """What is loaded may be broken: the next reconstruction loads it anew."""
        self.loading = None

    def _reconstructor(self, request: Load, job: Job) -> Reconstructor:
        """The bundle's, loaded now where it is not; where nobody waits any more, it is loaded for the next time."""
        if self.loading is None or self.loading[0] != request:
            self.loading = request, _beside(lambda: _loaded(request))
            for film in self.films.values():  # another bundle says something else
                film.predictions.clear()
        if not self.loading[1].done():
            job.progress("bundle", 0.0)
        try:
            return job.wait_for(self.loading[1])
        except Cancelled:
            raise
        except BaseException:
            self.loading = None
            raise

    def _film(self, name: str) -> OpenFilm:
        if name not in self.films:
            raise Refusal("This film is not open any more: open it again.", "film-not-open")
        self.films[name] = self.films.pop(name)  # the latest
        return self.films[name]

    def _predictions_of(self, radiograph: Radiograph) -> dict[bool, Prediction]:
        """What networks said of the same film, opened before."""
        for film in reversed(self.films.values()):
            fitting = {flipped: one for flipped, one in film.predictions.items() if one.fits(radiograph)}
            if fitting:
                return fitting
        return {}

    def _pixels_file(self, name: str) -> Path:
        return self.folder / f"film-{name}.npy"

    def _new_folder(self) -> Path:
        self.written += 1
        return self.folder / f"result-{self.written}"


def device_words(device: str) -> str:
    """Where networks compute, and where that is a CPU, why."""
    import torch

    if device.startswith("cuda"):
        return f"GPU: {torch.cuda.get_device_name(device)}"
    if device == "mps":
        return "GPU: Apple's"
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return "CPU, as was asked"
    return "CPU: no CUDA found" if torch.version.cuda else "CPU: torch is built without CUDA"


def _import_packages() -> None:
    """What networks need; Refusal where it is missing or broken, which happens inside Slicer."""
    for name, bring in (
        ("torch", lambda: import_module("torch")),
        ("timm", _import_timm),
        ("dynamic_network_architectures", lambda: import_module("dynamic_network_architectures")),
        ("safetensors", lambda: import_module("safetensors")),
    ):
        try:
            bring()
        except Exception as error:  # a broken one raises anything
            if find_spec(name) is None:
                raise Refusal(f"{name} is not installed: install it.", "package-missing", package=name) from error
            words = f"{name} is installed but does not load ({type(error).__name__}): install it again"
            with_torch = ", torch and torchvision as a pair" if name in ("torch", "timm") else ""
            raise Refusal(f"{words}{with_torch}.", "package-broken", package=name) from error


def _import_timm() -> None:
    from DualFaceReconLib.networks.importing import import_timm

    import_timm()


def _loaded(request: Load) -> Reconstructor:
    _import_packages()
    from DualFaceReconLib.reconstruction import Reconstructor

    return Reconstructor(request.bundle, request.device)


def _until_saving(job: Job) -> Callable[[str, float], None]:
    return lambda stage, share: job.progress("saving" if stage == "done" else stage, SAVING * share)


def _of_result(reconstruction: Reconstruction) -> Result:
    return {
        "warnings": [asdict(warning) for warning in reconstruction.warnings],
        "verdicts": {bone: verdict_as_dict(verdict) for bone, verdict in reconstruction.verdicts.items()},
        "timings_s": reconstruction.timings_s,
    }


def _about(reconstructor: Reconstructor) -> Result:
    manifest, device = reconstructor.networks.manifest, reconstructor.networks.device
    return {
        "bundle": {"id": manifest.id, "version": manifest.version, "sha256": manifest.sha256},
        "bones": manifest.bones,
        "device": device,
        "device_words": device_words(device),
    }


def _film(request: Open) -> Radiograph:
    """A film out of a file, with what the caller says of it."""
    path = Path(request.path)
    given = dict(request.overrides)
    length = given.pop("length", None)
    overrides: Overrides = checked(Overrides, given, "What is said of the film")
    if length is not None:
        if not isinstance(length, dict):
            raise NoRequest("The length in the film is none: give its ends, how long it is and where.")
        overrides = replace(overrides, length=checked(Length, length, "The length in the film"))
    bare = path.suffix.lower() == ".npy"
    if request.geometry is not None:
        pixels = _array(path) if bare else read_image(path, file_kind(path))[1].pixels
        radiograph = Radiograph(pixels, _geometry(request.geometry))
    elif bare:
        radiograph = radiograph_of(_array(path), overrides)
    else:
        radiograph = read_radiograph(path, **vars(overrides))
    if request.marker is None:
        return radiograph
    return with_marker(radiograph, checked(Marker, request.marker, "The marked ball"))


def _geometry(values: dict) -> ProjectionGeometry:
    try:
        return ProjectionGeometry.from_dict(values)
    except (KeyError, TypeError, ValueError) as error:
        raise NoRequest("The geometry of the film is none: give it as geometry.json has it.") from error


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Refusal("This is no array of NumPy's that can be read: write it again.") from error


def _mask(path: Path) -> np.ndarray:
    """(bones, rows, cols)."""
    if path.suffix.lower() == ".npy":
        return _array(path)
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise Refusal("The mask cannot be read: write it again, as .nrrd or .npy.") from error


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _beside(work: Callable[[], T]) -> Future[T]:
    """Work in a thread of its own, which does not keep the process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
