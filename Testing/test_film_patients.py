"""Whether films are of one patient, as their files name whom they show."""

import numpy as np
import pytest
from support.films import dataset, save

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.patients import refuse_different_patients

ERIKA = {"PatientName": "Muster^Erika", "PatientID": "MRN-4711", "PatientBirthDate": "19500101"}
NOBODY = dict.fromkeys(ERIKA)


@pytest.fixture
def films(tmp_path):
    def films(*named):
        return [save(dataset(**{**NOBODY, **tags}), tmp_path / f"{n}.dcm") for n, tags in enumerate(named)]

    return films


@pytest.mark.parametrize(
    "other",
    [
        ERIKA,
        {**ERIKA, "PatientName": "MUSTER-MANN, Erika"},  # married since
        {"PatientID": " MRN-4711 "},
        {"PatientName": "muster^erika^^^", "PatientBirthDate": "19500101"},
    ],
)
def test_films_of_one_patient_are_taken(films, other):
    assert refuse_different_patients(films(ERIKA, other)) == []


@pytest.mark.parametrize(
    ("other", "by"),
    [
        ({**ERIKA, "PatientID": "MRN-4712"}, "patient ID"),
        ({**ERIKA, "PatientBirthDate": "19500102"}, "birth date"),
        ({"PatientName": "Muster^Erika", "PatientBirthDate": "19510101"}, "birth date"),
        ({"PatientName": "Muster^Ernst"}, "name"),
    ],
)
def test_films_of_two_patients_are_refused_without_naming_anybody(films, other, by):
    with pytest.raises(Refusal, match=rf"^Film 2 and film 3 are of different patients by their {by}:") as refused:
        refuse_different_patients(films({}, ERIKA, other))
    assert refused.value.code == "different-patients"
    assert refused.value.values == {"films": (2, 3)}
    assert not any(part in str(refused.value) for part in ("4711", "4712", "uster", "1950"))


def test_films_that_name_nobody_are_counted(films, tmp_path):
    bare = tmp_path / "bare.npy"
    np.save(bare, np.zeros((4, 4)))
    assert refuse_different_patients([*films(ERIKA, {}), bare]) == [2, 3]
