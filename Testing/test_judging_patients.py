"""How several films of one person are judged: by their number, and how far their distances are off."""

from training.judging.patients import BY_SIZE, ONE, distances


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
