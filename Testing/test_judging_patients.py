"""How several films of one person are judged: by their number or views, and how far their distances are off."""

from training.judging.patients import BY_SIZE, ONE, distances
from training.judging.views import maps_table


def score(case, row, error_mm, std_mm, bone="hip_left"):
    return {
        **{"case": case, "person": case, "row": row, "bone": bone},
        **{"distance_error_mm": error_mm, "distance_std_mm": std_mm},
    }


def test_a_film_s_distance_counts_once_however_many_bones_it_shows():
    scores = [
        score("a", ONE, 30.0, 35.0),
        score("a", ONE, 30.0, 35.0, "femur_left"),
        score("b", ONE, -50.0, 35.0),
        score("a", BY_SIZE, 20.0, 10.0),
        {"case": "a", "person": "a", "row": "3 films", "bone": "hip_left"},  # the distance was known
    ]
    lines = distances(scores).splitlines()[2:]
    assert lines == [
        f"| {ONE} | 2 | 40.0 | 30.0 to 50.0 | -10.0 | 35 | 50 |",
        f"| {BY_SIZE} | 1 | 20.0 | 20.0 to 20.0 | +20.0 | 10 | 0 |",
    ]


def test_masks_and_depths_are_tabled_by_view_and_kind_of_bone():
    def maps(view, bone, overlap, depth):
        return {"view": view, "bone": bone, "dice": overlap, "depth_mm": depth}

    scores = [
        *(maps("ap", "hip_left", 0.9, 3.0), maps("ap", "hip_right", 0.8, 5.0)),
        *(maps("frog-leg", "femur_left", 0.0, float("nan")), maps("frog-leg", "femur_right", 0.5, 8.0)),
        {"row": "ap", "bone": "hip_left"},
    ]
    assert maps_table(scores).splitlines()[2:] == [
        "| ap | hip | 2 | 0.850 | 0.800 | 4.0 |",
        "| frog-leg | femur | 2 | 0.250 | 0.000 | 8.0 |",
    ]
