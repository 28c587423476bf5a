"""The frozen films of real people: squared, posed, stand-ins named, and compared; on a made-up person."""

import tomllib

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.bones import MODELS, made_population
from vtkmodules.vtkIOPLY import vtkPLYWriter

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import MIRROR, polydata, rigid_fit
from DualFaceReconLib.shape.shapemodel import load_shape_models
from training.cases import read_case
from training.judging import frozen, frozen_values
from training.judging.frozen import RealPerson, make_frozen_set
from training.judging.frozen_values import FROZEN, GREY, TRUTH_TOLERANCE, freeze, read_frozen, values_of, write_frozen
from training.patients.virtual import sample_patient
from training.raycast import penetration_mm

TURN = Rotation.from_euler("z", 18, degrees=True).as_matrix()  # lay askew in the scanner


def write_person(folder, patient, leave_out=()):
    folder.mkdir(parents=True)
    for bone in (*BONES, "sacrum"):
        if bone in leave_out:
            continue
        writer = vtkPLYWriter()
        vertices, triangles = patient.bones[bone]
        writer.SetInputData(polydata(vertices @ TURN.T + np.array([12.0, -230, -700]), triangles))
        writer.SetFileName(str(folder / f"{bone}.ply"))
        writer.Write()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patient = sample_patient(made_population(), 1)
    root = tmp_path_factory.mktemp("bones")
    write_person(root / "vsd_dev" / "m001", patient)
    write_person(root / "vsd_dev" / "m057", patient, leave_out=("femur_left",))
    return root


@pytest.fixture(scope="module")
def models():
    return load_shape_models(MODELS)


@pytest.fixture(scope="module", autouse=True)
def every_bone_is_fitted_once():
    """The tests have one patient's bones, and a fit of each is most of their time."""
    fitted, landmarks = {}, frozen._landmarks

    def known(bone, mesh, models):
        key = bone, mesh[0].tobytes()
        if key not in fitted:
            fitted[key] = landmarks(bone, mesh, models)
        return fitted[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "_landmarks", known)
        yield


def test_a_person_is_squared_to_the_film(folder, models):
    person = RealPerson(folder / "vsd_dev" / "m001", models)
    centres = [person.landmarks[f"hip_{side}"]["acetabular_centre"] for side in ("left", "right")]
    assert centres[0] + centres[1] == pytest.approx(np.zeros(3), abs=0.1)
    assert centres[0][0] < -60
    assert np.abs(centres[0][1:]).max() < 0.5
    middle = (person.bones["hip_left"][0].mean(axis=0), person.bones["hip_right"][0].mean(axis=0) * MIRROR)
    assert middle[0] == pytest.approx(middle[1], abs=6)


def test_postures_vary_and_nothing_is_pushed_through(folder, models):
    person = RealPerson(folder / "vsd_dev" / "m001", models)
    patients = [person.posed(np.random.default_rng(seed)) for seed in range(4)]
    again = person.posed(np.random.default_rng(2))
    assert np.array_equal(again.bones["femur_left"][0], patients[2].bones["femur_left"][0])
    knees = [p.landmarks["femur_left"]["medial_epicondyle"] for p in patients]
    assert np.ptp(knees, axis=0).max() > 5
    for patient in patients:
        assert list(patient.bones)[:4] == list(BONES)
        for side in ("left", "right"):
            femur = patient.bones[f"femur_{side}"][0]
            near = femur[femur[:, 2] > femur[:, 2].max() - 110]
            assert penetration_mm(near, patient.bones[f"hip_{side}"]).min() > min(person.gap[side], 0) - 0.5


def test_on_the_table_pelvis_and_legs_turn_each_on_its_own(folder, models):
    person = RealPerson(folder / "vsd_dev" / "m001", models)
    seeds = range(4)
    patients = [person.posed_apart(np.random.default_rng(seed)) for seed in seeds]
    again = person.posed_apart(np.random.default_rng(2))
    assert np.array_equal(again.bones["femur_left"][0], patients[2].bones["femur_left"][0])
    for patient in patients:
        turned = {"hip_left": "pelvis", "sacrum": "pelvis", "femur_left": "leg_left", "femur_right": "leg_right"}
        for bone, by in turned.items():
            rotation = rigid_fit(person.bones[bone][0], patient.bones[bone][0])[0]
            degrees = Rotation.from_matrix(rotation).as_euler("xyz", degrees=True)
            assert degrees == pytest.approx(patient.metadata[f"{by}_degrees"], abs=1e-6)  # a leg's not the pelvis' too
        for side in ("left", "right"):
            centres = [
                np.linalg.norm(
                    where.landmarks[f"femur_{side}"]["femoral_head_centre"]
                    - where.landmarks[f"hip_{side}"]["acetabular_centre"]
                )
                for where in (person, patient)
            ]
            assert centres[0] == pytest.approx(centres[1], abs=1e-6)
            femur = patient.bones[f"femur_{side}"][0]
            near = femur[femur[:, 2] > femur[:, 2].max() - 110]
            assert penetration_mm(near, patient.bones[f"hip_{side}"]).min() > min(person.gap[side], 0) - 0.5
    flexion = {round(p.metadata[f"leg_{side}_degrees"][0], 9) for p in patients for side in ("left", "right")}
    assert len(flexion) == 2 * len(seeds)


def test_where_a_leg_touches_all_but_its_flexion_is_drawn_again(folder, models, monkeypatch):
    person = RealPerson(folder / "vsd_dev" / "m001", models)
    first = person.posed_apart(np.random.default_rng(5)).metadata
    answers = iter([False, False, True, True])
    monkeypatch.setattr(RealPerson, "_has_room", lambda *_: next(answers))
    again = person.posed_apart(np.random.default_rng(5)).metadata
    assert again["leg_left_degrees"][0] == first["leg_left_degrees"][0]
    assert again["leg_left_degrees"][1:] != first["leg_left_degrees"][1:]
    assert again["leg_right_degrees"][0] == first["leg_right_degrees"][0]
    monkeypatch.setattr(RealPerson, "_has_room", lambda *_: False)
    with pytest.raises(Refusal, match="legs of m001 fit the hips in no posture"):
        person.posed_apart(np.random.default_rng(5))


def test_a_missing_femur_is_the_other_one_s_mirror_in_its_socket(folder, models):
    person = RealPerson(folder / "vsd_dev" / "m057", models)
    centre = person.landmarks["femur_left"]["femoral_head_centre"]
    socket = person.landmarks["hip_left"]["acetabular_centre"]
    assert np.linalg.norm(centre - socket) < 8
    left, right = (person.bones[f"femur_{side}"][0] for side in ("left", "right"))
    assert np.ptp(left, axis=0) == pytest.approx(np.ptp(right, axis=0), abs=30)


def test_varied_and_wide_films_are_of_the_choosing_people_and_only_the_varied_are_not_plain(
    folder, tmp_path, monkeypatch
):
    recipe = tmp_path / "recipe.toml"
    films = "films = 1\nseed = 12\nsize_px = 400\n"
    recipe.write_text(
        f'[choosing]\npeople = ["made/s01"]\nplain = true\n{films}\n'
        f'[varied]\npeople_of = "choosing"\nplain = false\n{films}\n'
        f'[wide]\npeople_of = "choosing"\nposture = "wide"\nplain = true\n{films}',
        encoding="utf-8",
    )
    monkeypatch.setattr(frozen, "RECIPE", recipe)
    monkeypatch.setattr(frozen, "FROZEN", tmp_path / "frozen.csv")
    write_frozen({}, tmp_path / "frozen.csv")
    asked = []
    population = made_population()
    monkeypatch.setattr(frozen, "load_population", lambda _, __, people, say: asked.append(people) or population)
    patients = {}
    for which in ("choosing", "varied", "wide"):
        made, differences = make_frozen_set(which, folder, tmp_path, tmp_path / which, say=lambda _: None)
        assert ["1 films" in difference for difference in differences] == [True, True]  # as it was never frozen
        patients[which] = [read_case(path).metadata["patient"] for path in made]
    assert asked == [["made/s01"]] * 3
    assert all(
        "roll_degrees" in patient and "disease" in patient and "hardware" in patient for patient in patients["varied"]
    )
    for which, posture in (("choosing", "usual"), ("wide", "wide")):
        assert not any("roll_degrees" in patient or "disease" in patient for patient in patients[which])
        assert all(patient["posture"] == posture for patient in patients[which])


def test_every_frozen_film_has_its_values():
    recipes = tomllib.loads(frozen.RECIPE.read_text(encoding="utf-8"))
    values = read_frozen(FROZEN)
    assert recipes.keys() == values.keys() == {"reported", "supine", "choosing", "wide", "varied"}
    for which, recipe in recipes.items():
        people = recipes[recipe.get("people_of", which)]["people"]
        count = recipe["films"] if "films" in recipe else len(people) * recipe["films_a_person"]
        assert len(values[which]) == count
        for film in values[which].values():
            assert {"sdd_mm", "object_distance_mm", *GREY, *(f"{bone} S spread" for bone in BONES)} <= film.keys()
            assert 800 < film["sdd_mm"] < 2100
    assert len({recipe["seed"] for recipe in recipes.values()}) == len(recipes)


def test_films_are_made_once_named_and_compared(folder, tmp_path, monkeypatch):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[reported]\nset = "vsd_dev"\npeople = ["m001", "m057"]\nfilms_a_person = 1\nseed = 1\nsize_px = 300\n'
        'unscored = { m057 = ["femur_left"] }\n'
        '[supine]\nset = "vsd_dev"\npeople_of = "reported"\napart = true\nfilms_a_person = 1\nseed = 1\n'
        "size_px = 300\nunscored = {}\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(frozen, "RECIPE", recipe)
    out, kept = tmp_path / "out", tmp_path / "frozen.csv"
    monkeypatch.setattr(frozen, "FROZEN", kept)
    write_frozen({"supine": {}, "reported": {"m001_00": {"sdd_mm": 1000.0, GREY[0]: 0.5, GREY[1]: 0.1}}}, kept)

    def again(which="reported", where=out, world="seen"):
        return make_frozen_set(which, folder, tmp_path, where, world=world, say=lambda _: None)

    folders, differences = again()
    assert [path.name for path in folders] == ["m001_00", "m057_00"]
    assert "the truth of 2 films is not the frozen one, of m001_00 (" in differences[0]
    assert "the grey values of 2 films" in differences[1]
    metadata = [read_case(path).metadata for path in folders]
    assert [entry["unscored"] for entry in metadata] == [[], ["femur_left"]]
    assert metadata[0]["person"] == "vsd_dev/m001"

    freeze("reported", folders, kept)
    before = (folders[0] / "geometry.json").stat().st_mtime_ns
    assert again()[1] == []
    assert (folders[0] / "geometry.json").stat().st_mtime_ns == before
    unseen = again(where=tmp_path / "unseen", world="unseen")
    assert unseen[1] == []  # the truth is the same
    greys = [[values_of(path)[name] for name in GREY] for path in (unseen[0][0], folders[0])]
    assert greys[0] != pytest.approx(greys[1], abs=0.01)
    supine = again("supine", tmp_path / "supine")[0]
    assert [path.name for path in supine] == ["m001_00", "m057_00"]
    assert all("pelvis_degrees" in read_case(path).metadata["patient"] for path in supine)


def test_what_rounding_moves_is_the_same_film_and_what_moves_more_is_named(tmp_path, monkeypatch):
    """Another machine's bones lie a hundred-thousandth of a millimetre elsewhere."""
    values = {"a": {"sdd_mm": 1100.0, "femur_left S": -12.3456, GREY[0]: 0.4}, "b": {"sdd_mm": 1100.0, GREY[0]: 0.4}}
    monkeypatch.setattr(frozen_values, "values_of", lambda film: values[film.name])
    films = [tmp_path / name for name in values]
    freeze("wide", films, tmp_path / "frozen.csv")
    kept = read_frozen(tmp_path / "frozen.csv")
    assert kept == {"wide": values}

    def said(**changes):
        monkeypatch.setitem(values, "a", kept["wide"]["a"] | changes)
        return frozen_values.differences("wide", films, kept)

    assert said(**{"femur_left S": -12.3456 + 0.9 * TRUTH_TOLERANCE, GREY[0]: 0.402}) == []
    moved = said(**{"femur_left S": -12.3456 + 1.1 * TRUTH_TOLERANCE})
    assert moved == ["the truth of 1 films is not the frozen one, of a (femur_left S) for one"]
    assert said(**{GREY[0]: 0.404}) == ["the grey values of 1 films are not the frozen ones, of a for one"]
    assert frozen_values.differences("wide", films, kept, grey_too=False) == []
    assert "1 of the frozen films are missing, b for one" in frozen_values.differences("wide", films[:1], kept)


def test_a_person_without_bones_is_refused(folder, models):
    with pytest.raises(Refusal, match=r"no bones in .*m999: CONTRIBUTING\.md says"):
        RealPerson(folder / "vsd_dev" / "m999", models)
