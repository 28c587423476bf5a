"""From a radiograph to bones and to their folder, with what exact networks would say of four known bones."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.bones import MODELS
from support.bundles import manifest
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersCore import vtkFeatureEdges
from vtkmodules.vtkIOGeometry import vtkSTLReader

from DualFaceReconLib import results
from DualFaceReconLib.bonemaps import BONES, kind_and_side
from DualFaceReconLib.certainty import USUAL_MIRRORED_MM
from DualFaceReconLib.disk.folders import locked, write_folder
from DualFaceReconLib.disk.meshfiles import write_vtp
from DualFaceReconLib.disk.volumefiles import read_volume, write_film
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.acquisition import Known
from DualFaceReconLib.film.markers import Marker, with_marker
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.film.subject import ASSUMED_SDD
from DualFaceReconLib.framing import NORMALISATION, frame_of
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.inference import Networks
from DualFaceReconLib.meshes import arrays, clip_to_planes, mirrored, volume_mm3
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.prediction import Disagreement, Prediction, seen_on
from DualFaceReconLib.reconstruction import Reconstructor
from DualFaceReconLib.results import load_reconstruction, save
from DualFaceReconLib.shape.body_prior import BodyPrior
from DualFaceReconLib.shape.shapemodel import load_shape_model, load_shape_models
from DualFaceReconLib.shape.trimming import long_axis, without_unseen_shaft
from DualFaceReconLib.shape.visibility import entry_and_exit_depths

HEADER = Provenance("header", "made up")
SPREAD = Provenance("assumed", "made up", 35.0)
GEOMETRY = ProjectionGeometry(
    1100,
    (0.8, 0.8),
    (440, 520),
    object_distance_mm=185,
    provenance={"object_distance_mm": SPREAD, "pixel_pitch_mm": HEADER},
)


class ExactReconstructor(Reconstructor):
    """Says of every film what is true of four bones; counts how often it was asked."""

    def __init__(self, skeleton):
        made_up = manifest(input_px=(256, 256), mm_per_pixel=1.5, normalisation=NORMALISATION)
        self.networks = Networks(
            manifest=made_up, depth=torch.nn.Identity(), segmentation=torch.nn.Identity(), device="cpu"
        )
        self.models, self.prior = load_shape_models(MODELS), BodyPrior()
        self.skeleton, self.asked = skeleton, 0

    def unsure_at_pitch(self, radiograph, factor):
        return 1.0

    def predict(self, radiograph, **_):
        self.asked += 1
        frame = frame_of(radiograph.geometry, 256, 1.5)
        faces = np.array([entry_and_exit_depths(*self.skeleton[bone], frame.framed) for bone in BONES])
        mask = faces[:, 0] > 0
        near = faces.copy()
        for bone in range(len(BONES)):  # as networks do, depths go on smoothly where the bone has ended
            near[bone, :, ~mask[bone]] = faces[bone][:, mask[bone]].mean() if mask[bone].any() else 800
        near = near - 700
        if radiograph.geometry.view == "PA":  # they speak as if it were AP
            near = -near[:, ::-1]
        return Prediction(
            frame=frame,
            bones=BONES,
            probability=mask.astype(np.float32),
            depth=near.astype(np.float32),
            pixel_hash=radiograph.pixel_hash,
        )


def skeleton_of(coefficient=0.8, away=185):
    """Left and right bones of the shipped shape models before the detector, heads in their sockets."""
    models = load_shape_models(MODELS)
    hip, femur = (models[kind].shape([coefficient, -coefficient]) for kind in ("hip", "femur"))
    hip = hip + np.array([-hip[:, 0].max() - 2.5, away, 30])
    femur = femur + (
        models["hip"].landmark_points(hip)["acetabular_centre"]
        - models["femur"].landmark_points(femur)["femoral_head_centre"]
    )
    left = {"hip": (hip, models["hip"].triangles), "femur": (femur, models["femur"].triangles)}
    return {
        bone: left[kind] if side == "left" else mirrored(left[kind])
        for bone in BONES
        for kind, side in [kind_and_side(bone)]
    }


def film_of(geometry, **described):
    rows, cols = np.indices(geometry.size_px)
    return Radiograph((rows * 0.1 + np.sin(cols / 7)).astype(np.float32), geometry, **described)


@pytest.fixture(scope="module")
def skeleton():
    return skeleton_of()


@pytest.fixture(scope="module")
def reconstructor(skeleton):
    return ExactReconstructor(skeleton)


@pytest.fixture(scope="module")
def made(reconstructor):
    return reconstructor.run(film_of(GEOMETRY))


def on_film(mesh, geometry=GEOMETRY):
    return clip_to_planes(*mesh, *geometry.frustum_planes())


def true_distance(skeleton):
    """Detector to the mean of all valid depths."""
    faces = np.array([entry_and_exit_depths(*skeleton[bone], GEOMETRY) for bone in BONES])
    return GEOMETRY.sdd_mm - faces[faces > 0].mean()


# ---- The pipeline


def test_bones_come_out_where_they_are(reconstructor, skeleton):
    """With the true distance, to a millimetre and a half of the surface that the film shows."""
    geometry = GEOMETRY.at_object_distance(true_distance(skeleton), HEADER)
    reconstruction = reconstructor.run(film_of(geometry))
    assert set(reconstruction.bones) == set(BONES)
    for name, bone in reconstruction.bones.items():
        distances = compare_surfaces(on_film(arrays(bone.completed)), on_film(skeleton[name]), 1500)
        assert distances.assd_mm < 1.5
    assert set(reconstruction.timings_s) == {"networks", "surfaces", "completion"}
    assert not reconstruction.warnings


@pytest.mark.usefixtures("pictures_undrawn")
def test_an_array_and_a_geometry_without_a_distance_go_all_the_way(reconstructor, tmp_path):
    """As a user at a console has them: the distance is assumed, warned of, and carried into every length."""
    pixels = film_of(GEOMETRY).pixels.astype(np.float64)
    geometry = ProjectionGeometry(sdd_mm=1100, pixel_pitch_mm=(0.8, 0.8), size_px=pixels.shape)
    radiograph = Radiograph(pixels, geometry, display_window=(pixels.min(), pixels.max().astype(np.float32)))
    reconstruction = reconstructor.run(radiograph, completion=False)
    assert reconstruction.maps.mean_depth_mm() == pytest.approx(1100 - 180, abs=0.1)
    area = reconstruction.bones["hip_left"].measurements["observed_area"]
    assert area.std == pytest.approx(area.value * 2 * 35 / (1100 - 180))
    save(reconstruction, tmp_path / "out")
    loaded = load_reconstruction(tmp_path / "out")
    assert loaded.radiograph.geometry.provenance["object_distance_mm"].kind == "assumed"
    for some in (reconstruction, loaded):
        assert [warning.code for warning in some.warnings] == ["object_distance_mm-assumed"]
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Nothing says how far the bones were from the detector" in report


def test_a_pa_film_has_the_front_of_its_bones_in_front():
    skeleton, geometry = skeleton_of(away=-185), replace(GEOMETRY, view="PA", provenance={})
    faces = np.array([entry_and_exit_depths(*skeleton[bone], geometry) for bone in BONES])
    geometry = geometry.at_object_distance(float(geometry.sdd_mm - faces[faces > 0].mean()), HEADER)
    reconstruction = ExactReconstructor(skeleton).run(film_of(geometry))
    for name, bone in reconstruction.bones.items():
        meshes = on_film(arrays(bone.completed), geometry), on_film(skeleton[name], geometry)
        assert compare_surfaces(*meshes, 1500).assd_mm < 1.5


def test_a_film_of_a_patient_that_is_mostly_doubted_is_left_out_of_the_others(reconstructor, skeleton, monkeypatch):
    """A right hip, three times; the first film's networks see the bones as waves."""
    monkeypatch.setattr("DualFaceReconLib.shape.person_fit.STEPS", 3)  # enough for bones of the models themselves
    geometry = (
        GEOMETRY.at_object_distance(true_distance(skeleton), HEADER).cropped((0, 0), (440, 250)).resized((220, 125))
    )
    films = [replace(film_of(geometry), pixels=film_of(geometry).pixels + number) for number in range(3)]
    seen = [reconstructor.predict(film) for film in films]
    seen[0].depth[:] += 6 * np.sin(np.arange(seen[0].depth.shape[-2]) / 6)[:, None]
    told = []
    patient = reconstructor.run_patient(films, predictions=seen, progress=lambda stage, share: told.append(share))
    left_out = [[w.code for w in film.warnings if w.code == "film-completed-alone"] for film in patient.films]
    assert left_out == [["film-completed-alone"], [], []]
    assert all(verdict.grade != "good" for verdict in patient.films[0].verdicts.values())
    assert all(verdict.grade == "good" for film in patient.films[1:] for verdict in film.verdicts.values())
    rows = {(c.film, c.bone): c for c in patient.certainties if c.what == "surface"}
    assert set(rows) == {(film, bone) for film in (1, 2, 3) for bone in ("hip_right", "femur_right")}
    for (film, _), row in rows.items():
        assert (row.all_films_mm < row.alone_mm) == (film > 1)
        assert set(row.without_mm) == {1: set(), 2: {3}, 3: {2}}[film]
    assert told == sorted(told)


def test_a_femur_of_which_little_was_seen_is_found_by_its_hip(reconstructor, skeleton):
    """A film that ends at the left trochanter: by its own ends the femur would be put anywhere along its shaft."""
    geometry = GEOMETRY.at_object_distance(true_distance(skeleton), HEADER).cropped((0, 0), (440, 405))
    inside = geometry.sees(skeleton["femur_left"][0])
    assert 0.05 < inside.mean() < 0.3
    femur = reconstructor.run(film_of(geometry), whole_femurs=True).bones["femur_left"]
    meshes = on_film(arrays(femur.completed), geometry), on_film(skeleton["femur_left"], geometry)
    assert compare_surfaces(*meshes, 1500).assd_mm < 1.5
    head = np.array(femur.landmarks["femoral_head_centre"])
    model = load_shape_model(MODELS / "femur.ssm.npz")
    assert head == pytest.approx(model.landmark_points(skeleton["femur_left"][0])["femoral_head_centre"], abs=2)


def test_bones_are_looked_for_where_they_could_be_seen(reconstructor, skeleton):
    """What is hidden by the collimator is not what the bone lacks."""
    distance = true_distance(skeleton)
    exposed = Known((0, 300, 40, 480), HEADER)
    radiograph = film_of(GEOMETRY.at_object_distance(distance, HEADER), collimation_px=exposed)
    part = seen_on(reconstructor.networks.manifest, radiograph)
    assert part.size_px == (301, 441)
    assert part.project(np.array([3.0, 150.0, 20.0]))[0] == pytest.approx(
        GEOMETRY.project(np.array([3.0, 150.0, 20.0]))[0] - (0, 40)
    )
    large = film_of(GEOMETRY.cropped((-100, -90), (640, 700)))
    framed = seen_on(reconstructor.networks.manifest, large)  # 256 pixels of 1.5 mm at the nominal plane
    assert framed.size_px == pytest.approx([256 * 1.5 * 1100 / 920 / 0.8] * 2, abs=5)
    for name, bone in reconstructor.run(radiograph).bones.items():
        meshes = on_film(arrays(bone.completed), part), on_film(skeleton[name], part)
        assert compare_surfaces(*meshes, 1500).assd_mm < 1.5


def test_a_reconstruction_has_measurements_and_a_repr(made):
    assert repr(made).startswith(f"Reconstruction(film {made.radiograph.pixel_hash}: hip_left, hip_right, femur_left")
    head = made.bones["femur_left"].measurements["femoral_head_diameter"]
    assert 40 < head.value < 56
    assert head.std > head.value * 35 / (1100 - 185)  # the distance's share, and the bone's own
    between = made.measurements["distance_of_hip_centres"]
    centres = [np.array(made.bones[f"hip_{side}"].landmarks["acetabular_centre"]) for side in ("left", "right")]
    assert between.value == pytest.approx(np.linalg.norm(centres[0] - centres[1]))
    hip = made.bones["hip_left"].measurements
    assert hip["envelope_volume"].value > hip["volume"].value > 100  # the envelope fills the hollows
    assert hip["volume"].std == pytest.approx(hip["volume"].value * 3 * 35 / (1100 - 185))
    assert "volume" not in made.bones["femur_left"].measurements


def test_another_distance_asks_no_network_and_moves_and_scales_all(reconstructor, made):
    asked = reconstructor.asked
    nearer = reconstructor.run(made.radiograph.at_object_distance(85), prediction=made.prediction)
    assert nearer.bones["hip_left"].measurements["volume"].std is None  # nothing is known of it, which is not 0
    assert reconstructor.asked == asked
    assert nearer.maps.mean_depth_mm() == pytest.approx(made.maps.mean_depth_mm() + 100, abs=0.1)
    ratio = (1100 - 85) / (1100 - 185)
    for way in ("distance_of_hip_centres", "distance_of_anterior_superior_iliac_spines"):
        assert nearer.measurements[way].value / made.measurements[way].value == pytest.approx(ratio, abs=0.02)
    assert nearer.radiograph.geometry.provenance["object_distance_mm"].kind == "user"


def test_a_corrected_mask_asks_no_network_and_changes_what_follows(reconstructor, made):
    asked = reconstructor.asked
    mask = made.maps.mask.copy()
    mask[BONES.index("hip_left")] = False
    mask[BONES.index("femur_right"), 300:] = False
    again = reconstructor.run(made.radiograph, prediction=made.prediction, mask=mask, completion=False)
    assert reconstructor.asked == asked
    assert set(again.bones) == {"hip_right", "femur_left", "femur_right"}
    assert [w.text for w in again.warnings if w.code == "bone-not-found"] == [
        "Not found in this picture: left hemipelvis."
    ]
    low = [reconstruction.bones["femur_right"].observed.GetBounds()[4] for reconstruction in (made, again)]
    assert low[1] > low[0] + 20


def test_a_mask_may_reach_beyond_what_the_networks_saw(reconstructor, made):
    mask = made.maps.mask.copy()
    mask[0, :, :] |= np.roll(mask[0], 3, axis=1)
    again = reconstructor.bone_maps(made.radiograph, made.prediction, mask)
    assert (again.front[0] > 0)[mask[0]].all()


def test_other_pixels_ask_the_networks_again(reconstructor, made):
    asked = reconstructor.asked
    coarse = film_of(GEOMETRY.resized((330, 390)))
    mirrored = replace(made.radiograph, pixels=made.radiograph.pixels[:, ::-1] + np.float32(0.01))
    assert made.prediction.fits(replace(made.radiograph))
    assert made.prediction.fits(made.radiograph.at_object_distance(200))
    assert not made.prediction.fits(mirrored)
    assert not made.prediction.fits(
        replace(made.radiograph, geometry=replace(GEOMETRY, principal_point_px=(10.0, 20.0)))
    )
    assert not made.prediction.fits(coarse)
    reconstructor.run(coarse, prediction=made.prediction, completion=False)
    assert reconstructor.asked == asked + 1


def test_nothing_is_seen_outside_the_exposed_field(reconstructor):
    exposed = Known((100, 300, 60, 450), HEADER)
    reconstruction = reconstructor.run(film_of(GEOMETRY, collimation_px=exposed), completion=False)
    outside = np.ones(GEOMETRY.size_px, dtype=bool)
    outside[100:301, 60:451] = False
    assert reconstruction.maps.mask.any()
    assert not reconstruction.maps.mask[:, outside].any()
    assert all(bone.completed is None for bone in reconstruction.bones.values())


@pytest.mark.parametrize(
    "spoilt",
    [lambda mask: mask[:, :100], lambda mask: mask[0], lambda mask: mask * 0.5, lambda mask: mask * 2],
    ids=["another size", "one layer", "shares", "numbers"],
)
def test_a_mask_of_something_else_is_refused(reconstructor, made, spoilt):
    with pytest.raises(Refusal, match="zeros and ones, a layer each for hip_left"):
        reconstructor.run(made.radiograph, prediction=made.prediction, mask=spoilt(made.maps.mask))


def test_a_mask_may_be_of_numbers(reconstructor, made):
    """As a result's labels.nrrd has them."""
    labels = made.maps.mask.astype(np.uint8)
    again = reconstructor.bone_maps(made.radiograph, made.prediction, labels)
    np.testing.assert_array_equal(again.mask, made.maps.mask)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(Refusal, match="'tpu' does not work on this machine"):
        Reconstructor(device="tpu")


def test_a_film_without_hips_is_refused(reconstructor, made):
    with pytest.raises(Refusal, match="No hip bone was found"):
        reconstructor.run(made.radiograph, prediction=made.prediction, mask=np.zeros_like(made.maps.mask))


def test_what_looks_like_no_hip_is_refused_and_a_doubtful_bone_is_named(reconstructor, made):
    prediction = made.prediction
    unsure = replace(prediction, probability=prediction.probability.clip(0, 0.8))
    with pytest.raises(Refusal, match="does not look like hip bones"):
        reconstructor.run(made.radiograph, prediction=unsure, completion=False)
    left = np.array([bone.endswith("left") for bone in BONES])[:, None, None]  # a hip and a femur say it all
    upside_down = replace(
        prediction, probability=(prediction.probability * left)[:, ::-1], depth=prediction.depth[:, :, ::-1]
    )
    with pytest.raises(Refusal, match="does not look like hip bones"):
        reconstructor.run(made.radiograph, prediction=upside_down)
    probability = prediction.probability.copy()
    probability[BONES.index("femur_left")] = probability[BONES.index("femur_left")].clip(0, 0.8)
    doubtful = reconstructor.run(
        made.radiograph, prediction=replace(prediction, probability=probability), completion=False
    )
    assert "left femur" in next(w.text for w in doubtful.warnings if w.code == "bone-doubtful")
    # who corrects a mask has looked
    by_hand = reconstructor.run(made.radiograph, prediction=unsure, mask=made.maps.mask, completion=False)
    assert not any(w.code == "bone-doubtful" for w in by_hand.warnings)


def test_a_bone_that_the_mirrored_film_shows_elsewhere_is_less_sure_and_warned_of(reconstructor, made):
    apart = {bone: Disagreement(depth_mm=8.0 if bone == "hip_left" else 1.0, dice=0.99) for bone in BONES}
    twice = reconstructor.run(made.radiograph, prediction=replace(made.prediction, disagreement=apart))
    [warning] = [warning.text for warning in twice.warnings if warning.code == "bone-doubtful"]
    assert "the left hemipelvis" in warning
    assert "8.0 mm elsewhere in the mirrored film" in warning
    for bone, more in (("hip_left", 8**2 - USUAL_MIRRORED_MM**2), ("hip_right", 0)):
        std, before = (array(some.bones[bone].completed, "std_mm") for some in (twice, made))
        assert std**2 - before**2 == pytest.approx(more / 4, abs=0.01)


def test_with_the_distance_every_vertex_is_less_sure_by_that(made):
    for bone in made.bones.values():
        total, own = array(bone.completed, "total_std_mm"), array(bone.completed, "std_mm")
        share = np.sqrt(total**2 - own**2) / 35  # the distance's spread
        assert 0.7 < share.min() < 0.8
        assert 0.98 < share.max() < 1.05
        assert bone.measurements["certainty_with_distance"].value > 25


def array(mesh, name):
    return vtk_to_numpy(mesh.GetPointData().GetArray(name)).astype(float)


def test_bones_that_are_right_are_good(made):
    assert {bone: verdict.grade for bone, verdict in made.verdicts.items()} == dict.fromkeys(BONES, "good")
    assert {"unsure", "misfit", "range", "beyond"} <= set(made.verdicts["hip_left"].evidence)


def test_of_half_a_mask_the_bone_is_not_good_and_says_why(reconstructor, made):
    mask = made.maps.mask.copy()
    hip = mask[BONES.index("hip_left")]
    rows = np.flatnonzero(hip.any(axis=1))
    hip[: round(rows.mean())] = False  # without its ilium, in the middle of the film
    halved = reconstructor.run(made.radiograph, prediction=made.prediction, mask=mask)
    verdict = halved.verdicts["hip_left"]
    assert verdict.grade != "good"
    assert verdict.evidence["beyond"] > made.verdicts["hip_left"].evidence["beyond"] + 10
    assert halved.verdicts["hip_right"].grade == "good"
    [warning] = [warning.text for warning in halved.warnings if warning.code == "bone-doubtful"]
    assert warning.startswith("Do not ")
    assert "the left hemipelvis: " in warning
    assert verdict.reasons[0].text in warning


def test_a_few_unsure_pixels_are_no_bone(reconstructor, made):
    probability = made.prediction.probability.copy()
    place = probability[0] > 0.5
    probability[0] = np.where(place, 0.4, 0.0)
    probability[0, 100:103, 100:103] = 0.6
    reconstruction = reconstructor.run(
        made.radiograph, prediction=replace(made.prediction, probability=probability), completion=False
    )
    assert "hip_left" not in reconstruction.bones


def test_a_bone_of_which_too_little_is_seen_is_shown_but_not_completed(reconstructor, made):
    mask = made.maps.mask.copy()
    few = np.flatnonzero(mask[0].ravel())[900:]
    mask[0].ravel()[few] = False
    for right in ("hip_right", "femur_right"):
        mask[BONES.index(right)] = False
    reconstruction = reconstructor.run(made.radiograph, prediction=made.prediction, mask=mask)
    assert reconstruction.bones["hip_left"].completed is None
    assert "too little of the bone was seen" in next(
        w.text for w in reconstruction.warnings if w.code == "bone-not-completed"
    )
    assert reconstruction.verdicts["hip_left"].grade == "not usable"
    assert not any(w.code == "bone-doubtful" for w in reconstruction.warnings)  # once is enough


@pytest.fixture(scope="module")
def whole_with_progress(reconstructor, made):
    """The same with the shafts that nobody saw, and what was said of how far it was."""
    calls = []
    whole = reconstructor.run(
        made.radiograph,
        prediction=made.prediction,
        whole_femurs=True,
        progress=lambda stage, share: calls.append((stage, share)),
    )
    return whole, calls


def test_a_femur_s_figures_are_of_as_much_of_it_as_is_kept(made, whole_with_progress):
    whole = whole_with_progress[0]
    for bone in BONES:
        share, of_whole = (some.bones[bone].measurements["share_seen"].value for some in (made, whole))
        seen, std_mm = (array(made.bones[bone].completed, name) for name in ("seen", "std_mm"))
        inferred = made.bones[bone].measurements["certainty_where_inferred"].value
        assert share == pytest.approx(100 * seen.mean())
        assert inferred == pytest.approx(np.sqrt((std_mm[seen == 0] ** 2).mean()))
        assert share > of_whole + 20 if bone.startswith("femur") else share == of_whole


def test_progress_runs_to_the_end_and_a_caller_may_stop(reconstructor, made, whole_with_progress):
    calls = whole_with_progress[1]
    shares = [share for _, share in calls]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert calls[-1] == ("done", 1.0)
    assert {stage for stage, _ in calls} == {"networks", "surfaces", "completion", "done"}
    stop = threading.Event()
    with pytest.raises(Cancelled):
        reconstructor.run(
            made.radiograph,
            prediction=made.prediction,
            progress=lambda stage, share: stop.set() if stage == "surfaces" else None,
            cancelled=stop.is_set,
        )


# ---- The femur's shaft


@pytest.fixture(scope="module")
def whole(whole_with_progress):
    return whole_with_progress[0]


def test_the_shaft_that_nobody_saw_is_cut_and_the_cut_is_closed(reconstructor, made, whole):
    for bone in ("femur_left", "femur_right"):
        cut, uncut = made.bones[bone].completed, whole.bones[bone].completed
        assert volume_mm3(*arrays(cut)) < 0.8 * volume_mm3(*arrays(uncut))
        edges = vtkFeatureEdges()
        edges.SetInputData(cut)
        edges.FeatureEdgesOff()
        edges.ManifoldEdgesOff()
        edges.Update()
        assert edges.GetOutput().GetNumberOfCells() == 0
        seen = vtk_to_numpy(uncut.GetPointData().GetArray("seen")) > 0
        points, up = arrays(uncut)[0], long_axis(arrays(uncut)[0])
        lowest = (arrays(cut)[0] @ up).min()
        assert np.percentile((points @ up)[seen], 1) - lowest == pytest.approx(5, abs=0.1)
        for name in ("seen", "distance_mm", "std_mm", "total_std_mm"):
            assert cut.GetPointData().GetArray(name).GetNumberOfTuples() == cut.GetNumberOfPoints()
    assert made.bones["hip_left"].completed.GetNumberOfPoints() == len(reconstructor.models["hip"].mean)


def test_a_femur_of_which_nothing_or_all_was_seen_stays(whole):
    femur = vtkPolyData()
    femur.DeepCopy(whole.bones["femur_left"].completed)
    for share in (0, 1):
        vtk_to_numpy(femur.GetPointData().GetArray("seen"))[:] = share
        assert without_unseen_shaft(femur).GetNumberOfPoints() == femur.GetNumberOfPoints()


# ---- A ball of known diameter


@pytest.mark.parametrize("place", [(0.0, 200.0, 0.0), (110.0, 140.0, -90.0), (-170.0, 260.0, 150.0)])
def test_a_ball_tells_its_depth(place):
    """From its shadow, an ellipse off the central ray: area and centroid, as somebody would mark it."""
    geometry = replace(GEOMETRY, pixel_pitch_mm=(0.1, 0.1), size_px=(4400, 5200), principal_point_px=None)
    row, col = geometry.project(np.array(place))[0]
    first = (int(row) - 300, int(col) - 300)
    near = geometry.cropped(first, (600, 600))
    rays = near.back_project(near.pixel_centres(), near.sdd_mm) - near.source
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    shadow = np.argwhere(np.linalg.norm(np.cross(rays, np.array(place) - near.source), axis=-1) < 14.0) + first
    centre, diameter = shadow.mean(axis=0), 2 * np.sqrt(len(shadow) / np.pi)
    assert geometry.depth_of_ball(centre, diameter, 28.0) == pytest.approx(1100 - place[1], rel=0.003)


def test_a_marker_moves_the_bones_and_says_so():
    assumed = film_of(GEOMETRY, warnings=())
    marked = with_marker(assumed, Marker(row=220, col=260, diameter_px=28 * 1100 / 900 / 0.8, diameter_mm=28))
    assert marked.geometry.object_distance_mm == pytest.approx(200, abs=0.5)
    came_from = marked.geometry.provenance["object_distance_mm"]
    assert (came_from.kind, came_from.spread) == ("derived", 15.0)
    assert "28 mm" in came_from.source


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        (Marker(row=-5, col=10, diameter_px=30, diameter_mm=28), "not in the picture"),
        (Marker(row=220, col=260, diameter_px=40, diameter_mm=280), "cannot be right"),
        (Marker(row=220, col=260, diameter_px=400, diameter_mm=28), "check its size"),
        (Marker(row=220, col=260, diameter_px=30, diameter_mm=28), "check its size"),
        (Marker(row=220, col=float("nan"), diameter_px=40, diameter_mm=28), "not in the picture"),
    ],
)
def test_a_marker_that_cannot_be_is_refused(marker, words):
    with pytest.raises(Refusal, match=words):
        with_marker(film_of(GEOMETRY), marker)


def test_a_ball_says_nothing_of_a_film_that_is_calibrated_at_the_patient():
    calibrated = replace(GEOMETRY, provenance={**GEOMETRY.provenance, "pixel_pitch_mm": Provenance("derived", "x")})
    with pytest.raises(Refusal, match="already calibrated"):
        with_marker(film_of(calibrated), Marker(row=220, col=260, diameter_px=42, diameter_mm=28))


def test_a_calibration_at_the_patient_holds_at_every_distance():
    calibrated = replace(GEOMETRY, provenance={**GEOMETRY.provenance, "pixel_pitch_mm": Provenance("derived", "x")})
    moved = calibrated.at_object_distance(100, HEADER)
    assert moved.pixel_size_at(1000) == pytest.approx(calibrated.pixel_size_at(915))
    assert GEOMETRY.at_object_distance(100, HEADER).pixel_pitch_mm == GEOMETRY.pixel_pitch_mm


# ---- The folder


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    place = tmp_path_factory.mktemp("with spaces") / "Ergebnis für Hüfte"
    save(made, str(place))
    return place


def test_the_folder_holds_what_the_design_says(folder):
    assert {path.name for path in folder.iterdir()} == {
        "reconstruction.json", "radiograph.nrrd", "labels.nrrd", "depth_front.nrrd", "depth_back.nrrd",
        "picture.png", "report.html",
        *(f"{bone}{end}" for bone in BONES for end in ("_observed.vtp", ".vtp", ".stl")),
    }  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # no lock, no leftovers
    document = json.loads((folder / "reconstruction.json").read_text(encoding="utf-8"))
    assert document["radiograph"]["geometry"]["provenance"]["object_distance_mm"]["spread"] == 35.0
    assert document["bundle"]["id"] == "made-up"
    assert len(document["bundle"]["sha256"]) == 64
    assert document["bones"]["hip_left"]["measurements"]["acetabular_diameter"]["unit"] == "mm"
    assert "research" in document["research_use"]


def test_a_reconstruction_comes_back_as_it_was(made, folder):
    again = load_reconstruction(folder)
    assert isinstance(again, Reconstruction)
    assert repr(again) == repr(made)
    assert again.radiograph.geometry == made.radiograph.geometry
    assert again.radiograph.provenance() == made.radiograph.provenance()
    assert np.array_equal(again.radiograph.pixels, made.radiograph.pixels)
    for name in ("mask", "front", "back"):
        assert np.array_equal(getattr(again.maps, name), getattr(made.maps, name))
    assert (again.measurements, again.warnings) == (made.measurements, made.warnings)
    for name, bone in made.bones.items():
        assert again.bones[name].measurements == bone.measurements
        assert again.bones[name].landmarks == bone.landmarks
        for loaded, was in ((again.bones[name].observed, bone.observed), (again.bones[name].completed, bone.completed)):
            assert all(np.array_equal(a, b) for a, b in zip(arrays(loaded), arrays(was), strict=True))
        assert np.array_equal(
            vtk_to_numpy(again.bones[name].completed.GetPointData().GetArray("std_mm")),
            vtk_to_numpy(bone.completed.GetPointData().GetArray("std_mm")),
        )


def test_images_stand_on_the_detector_in_the_patient_s_axes(made, folder):
    import SimpleITK as sitk

    geometry = made.radiograph.geometry
    image = sitk.ReadImage(str(folder / "depth_front.nrrd"))
    assert image.GetSize() == (520, 440, 4)
    for row, col in ((0, 0), (439, 519), (100, 300)):
        left, posterior, superior = image.TransformIndexToPhysicalPoint((col, row, 0))
        expected = geometry.back_project(np.array([row, col]), geometry.sdd_mm)
        assert (-left, -posterior, superior) == pytest.approx(tuple(expected), abs=1e-6)
    assert np.linalg.det(np.reshape(image.GetDirection(), (3, 3))) == pytest.approx(1)


def test_an_stl_says_its_axes_and_what_is_inferred(made, folder):
    header = (folder / "femur_left.stl").read_bytes()[:80].decode("ascii")
    assert header.startswith("SPACE=RAS; femur_left: ")
    assert "% inferred" in header
    assert "research" in header
    reader = vtkSTLReader()
    reader.SetFileName(str(folder / "femur_left.stl"))
    reader.Update()
    assert reader.GetOutput().GetBounds() == pytest.approx(made.bones["femur_left"].completed.GetBounds(), abs=1e-3)


@pytest.mark.usefixtures("pictures_undrawn")
def test_only_a_reconstruction_is_replaced_and_only_when_asked(made, tmp_path):
    place = tmp_path / "result"
    save(made, place)
    with pytest.raises(Refusal, match="holds a reconstruction already"):
        save(made, place)
    (place / "note.txt").write_text("old")
    save(made, place, overwrite=True)
    assert not (place / "note.txt").exists()
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "thesis.txt").write_text("years of work")
    with pytest.raises(Refusal, match="something else than a reconstruction"):
        save(made, documents, overwrite=True)
    with pytest.raises(Refusal, match="is a file"):
        save(made, documents / "thesis.txt", overwrite=True)
    assert (documents / "thesis.txt").read_text() == "years of work"


@pytest.mark.usefixtures("pictures_undrawn")
def test_the_folder_that_somebody_stands_in_is_not_renamed(made, tmp_path, monkeypatch):
    place = tmp_path / "result"
    save(made, place)
    (place / "deeper").mkdir()
    for here in (place, place / "deeper"):
        monkeypatch.chdir(here)
        for named in (place, ".", Path(here).anchor):
            with pytest.raises(Refusal, match=r"^\S+ is the folder that you are in, or holds it"):
                save(made, named, overwrite=True)
    monkeypatch.chdir(tmp_path)
    save(made, "result", overwrite=True)


@pytest.mark.usefixtures("pictures_undrawn")
def test_an_older_result_stays_where_the_new_one_fails(made, tmp_path, monkeypatch):
    place = tmp_path / "result"
    save(made, place)
    before = (place / "reconstruction.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_stl", full)
    with pytest.raises(Refusal, match=r"No space left on device.*make room"):
        save(made, place, overwrite=True)
    assert (place / "reconstruction.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_mesh_that_has_no_room_is_refused_once(made, tmp_path, monkeypatch, capfd):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Refusal, match="No space left"):
        write_vtp(made.bones["hip_left"].completed, tmp_path / "hip.vtp")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_two_processes_do_not_write_one_folder(tmp_path):
    with locked(tmp_path / ".result.lock"), pytest.raises(Refusal, match="Another process is writing result"):
        write_folder(tmp_path / "result", lambda beside: None)
    write_folder(tmp_path / "result", lambda new: (new / "file").write_text("1"))
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


SPOILT = ["reconstruction.json", "radiograph.nrrd", "labels.nrrd", "depth_back.nrrd", "hip_left.vtp"]


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("how", ["gone", "empty", "cut"])
def test_a_damaged_folder_is_refused_in_words(folder, tmp_path, spoilt, how):
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    content = (place / spoilt).read_bytes()
    if how == "gone":
        (place / spoilt).unlink()
    else:
        (place / spoilt).write_bytes(b"" if how == "empty" else content[: len(content) // 2])
    with pytest.raises(Refusal, match=r"make (it|the reconstruction) again|no reconstruction"):
        load_reconstruction(place)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("radiograph"),
        lambda document: document["radiograph"]["geometry"].pop("sdd_mm"),
        lambda document: document["radiograph"]["geometry"].update(sdd_mm=-1),
        lambda document: document["radiograph"].update(orientation=None),
        lambda document: document["radiograph"].update(display_window=[1]),
        lambda document: document.update(bones=7),
        lambda document: document.update(maps=document["maps"][:2]),
        lambda document: document.update(maps=["../" + name for name in document["maps"]]),
        lambda document: document["bones"]["hip_left"].update(measurements={"volume": {"value": 1}}),
        lambda document: document["bones"]["hip_left"].update(landmarks_ras_mm={"asis": [10**400, 0, 0]}),
        lambda document: document["bundle"].update(more="1"),
        lambda document: document.update(warnings=["text"]),
    ],
)
def test_a_damaged_document_is_refused_in_words(folder, tmp_path, change):
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    document = json.loads((place / "reconstruction.json").read_text(encoding="utf-8"))
    change(document)
    (place / "reconstruction.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(Refusal, match=r"^The reconstruction in copy is damaged \(.*\): make it again\.$"):
        load_reconstruction(place)


def test_a_bug_is_not_called_damage(folder, monkeypatch):
    def broken(*_, **__):
        raise TypeError("a bug")

    monkeypatch.setattr(results, "Reconstruction", broken)
    with pytest.raises(TypeError, match="a bug"):
        load_reconstruction(folder)


def test_faces_that_an_older_folder_does_not_tell_are_those_that_are_there(folder, tmp_path):
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    document = json.loads((place / "reconstruction.json").read_text(encoding="utf-8"))
    assert document.pop("faces") == ["front", "back"]
    (place / "reconstruction.json").write_text(json.dumps(document), encoding="utf-8")
    assert load_reconstruction(place).maps.back is not None
    (place / "depth_back.nrrd").unlink()
    assert load_reconstruction(place).maps.back is None


def test_a_folder_without_a_reconstruction_is_named(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(Refusal, match=r"^empty holds no reconstruction"):
        load_reconstruction(".")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(7.0, np.uint16), (65535.0, np.uint16), (65536.0, np.float32), (-1.0, np.float32), (0.5, np.float32),
     (-0.0, np.float32), (np.nan, np.float32)],
)  # fmt: skip
def test_films_are_kept_to_the_last_bit_and_as_small_as_they_can_be(tmp_path, value, kind):
    film = np.array([[0, 1, 2], [3, 4, value]], np.float32)
    write_film(film, np.eye(4), tmp_path / "film.nrrd")
    written = read_volume(tmp_path / "film.nrrd", (1, 2, 3))
    assert written.dtype == kind
    assert written[0].astype(np.float32).tobytes() == film.tobytes()


def test_a_film_that_was_exchanged_is_refused(folder, made, tmp_path):
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    other = replace(made, radiograph=film_of(GEOMETRY.resized((440, 520)), polarity=Known("as stored", ASSUMED_SDD)))
    other.radiograph.pixels[0, 0] += 1
    results.write_volume(other.radiograph.pixels[None], np.eye(4), place / "radiograph.nrrd")
    with pytest.raises(Refusal, match="not the film that was reconstructed"):
        load_reconstruction(place)
    assert not Path(folder, ".copy.lock").exists()
