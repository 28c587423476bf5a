"""Films on the fly: the same ones in any number of workers, new exposures of a projection, tensors that stack."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.bones import made_population
from support.processes import at_once
from torch.utils.data import DataLoader

from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM, Frame
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.prediction import Prediction, maps_of
from training.learning import data
from training.learning.data import FilmStream, framed_sample, sample
from training.patients.virtual import NoFemoraFit
from training.simulate import Series, take
from training.xray.rig import NoBoneOnFilm

SERIES = Series(seed=3, size_px=96)


@pytest.fixture(scope="module")
def population():
    return made_population()


def by_content(samples):
    return sorted(samples, key=lambda sample: sample["film"].numpy().tobytes())


def test_films_do_not_depend_on_the_number_of_workers(population):
    stream = FilmStream(population, SERIES, reuse=2, pool=2, projections=4)
    alone = by_content(stream)
    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context=at_once())
    shared = by_content(loader)
    assert len(alone) == len(shared) == 8
    for film, again in zip(alone, shared, strict=True):
        for name in film:
            assert torch.equal(film[name], again[name]), name


def test_a_projection_is_filmed_anew_and_keeps_its_truth(population):
    films = list(FilmStream(population, SERIES, reuse=3, pool=1, projections=1))
    assert len(films) == 3
    for film in films[1:]:  # the collimator's edges may lie elsewhere
        both = films[0]["mask"] & film["mask"]
        assert both.sum() > 0.7 * films[0]["mask"].sum()
        assert torch.equal(films[0]["depth"].movedim(1, 0)[:, both], film["depth"].movedim(1, 0)[:, both])
    assert not torch.equal(films[0]["film"], films[1]["film"])
    assert not torch.equal(films[1]["film"], films[2]["film"])
    first = take(population, SERIES, 0).film(SERIES)
    assert torch.equal(
        films[0]["film"], sample(first.pixels, first.maps, take(population, SERIES, 0).rig.geometry)["film"]
    )


def test_a_patient_whom_there_cannot_be_is_left_out(population, monkeypatch):
    """One whose femora fit no sockets, one whose bones miss the film: hours of learning do not end with either."""

    def impossible(population, series, number, device, person):
        if number in (1, 2):
            raise (NoFemoraFit, NoBoneOnFilm)[number - 1]("There is none.")
        return take(population, series, number, device, person)

    monkeypatch.setattr(data, "take", impossible)
    left = by_content(FilmStream(population, SERIES, reuse=2, pool=4, projections=4))
    monkeypatch.undo()
    kept = [FilmStream(population, SERIES, reuse=2, pool=1, projections=1, first=number) for number in (0, 3)]
    for film, again in zip(left, by_content([film for stream in kept for film in stream]), strict=True):
        assert torch.equal(film["film"], again["film"])


def test_samples_stack_and_back_project_to_the_bones(population):
    stream = FilmStream(population, SERIES, pool=4, projections=4)
    batch = next(iter(DataLoader(stream, batch_size=4)))
    assert batch["film"].shape == (4, 1, 96, 96)
    assert batch["mask"].shape == (4, 4, 96, 96)
    assert batch["depth"].shape == (4, 4, 2, 96, 96)
    assert batch["film"].dtype == batch["depth"].dtype == torch.float32
    assert torch.equal(batch["depth"][:, :, 0] > 0, batch["mask"])
    assert bool((batch["depth"][:, :, 1] >= batch["depth"][:, :, 0]).all())
    order = np.random.default_rng([3, 0, 6]).permutation(np.arange(4))
    for i, number in enumerate(order):
        taken = take(population, SERIES, int(number))
        values = {name: batch[name][i].tolist() for name in ("sdd_mm", "pixel_pitch_mm", "principal_point_px")}
        geometry = ProjectionGeometry(
            values["sdd_mm"],
            tuple(values["pixel_pitch_mm"]),
            (96, 96),
            tuple(values["principal_point_px"]),
            taken.rig.geometry.view,
        )
        for bone, mask, depth in zip(
            taken.projection.maps.bones, batch["mask"][i], batch["depth"][i, :, 0], strict=True
        ):
            if not mask.any():
                continue
            points = geometry.back_project(torch.argwhere(mask).double(), depth[mask].double()).numpy()
            low, high = taken.bones[bone][0].min(axis=0) - 0.1, taken.bones[bone][0].max(axis=0) + 0.1
            assert ((points > low) & (points < high)).all()


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_what_a_network_is_taught_comes_back_as_the_truth(population, view):
    """Networks speak as if every film were AP: of a PA film they learn, and say, what lies in front of the patient."""
    taken = take(population, SERIES, 0)
    film = taken.film(SERIES, 0)
    geometry = replace(taken.rig.geometry, view=view, provenance={})
    geometry = geometry.at_object_distance(geometry.sdd_mm - film.maps.mean_depth_mm(), Provenance("user", "its truth"))
    size = max(geometry.size_px)
    frame = Frame(
        geometry=geometry, size_px=size, scale=(1.0, 1.0), first_px=tuple((n - size) // 2 for n in geometry.size_px)
    )
    taught = framed_sample(frame, film.pixels, film.maps)
    prediction = Prediction(
        frame=frame,
        bones=film.maps.bones,
        probability=taught["mask"].float().numpy(),
        depth=taught["depth"].numpy(),
        pixel_hash="",
    )
    maps = maps_of(prediction, Radiograph(film.pixels, geometry))
    assert maps.mask.sum() > 0.95 * film.maps.mask.sum()
    for face, true in ((maps.front, film.maps.front), (maps.back, film.maps.back)):
        assert face[maps.mask] == pytest.approx(true[maps.mask], abs=0.5)
    deepest = film.maps.back[0].max() - geometry.sdd_mm + geometry.object_distance_mm  # behind the bones' centre
    lowest = geometry.sdd_mm - geometry.object_distance_mm - taught["depth"][0, 0][taught["mask"][0]].min()
    assert (float(lowest) == pytest.approx(float(deepest), abs=0.5)) == (view == "PA")


def test_a_stream_may_begin_anywhere_and_be_shared(population):
    series = Series(seed=3, size_px=None, mm_per_pixel=4.0)
    whole = by_content(FilmStream(population, series, pool=2, projections=4, first=2, size_px=96))
    parts = [FilmStream(population, series, pool=2, projections=4, first=2, size_px=96, share=(n, 2)) for n in (0, 1)]
    shared = by_content([film for part in parts for film in part])
    assert len(whole) == 4
    for film, again in zip(whole, shared, strict=True):
        assert torch.equal(film["film"], again["film"])
    later = by_content(FilmStream(population, series, pool=2, projections=2, first=4, size_px=96))
    assert all(any(torch.equal(film["film"], other["film"]) for other in whole) for film in later)
    for film in whole:
        nominal = film["sdd_mm"] - NOMINAL_OBJECT_DISTANCE_MM
        assert film["pixel_pitch_mm"] * nominal / film["sdd_mm"] == pytest.approx(torch.tensor([4.0, 4.0]))
