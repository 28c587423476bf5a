"""The people by whom recipes are chosen and networks judged: no training may touch them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from DualFaceReconLib.errors import Refusal, meant
from training.anatomy.people import LLP26, RHAN40

JUDGING = Path(__file__).parents[1] / "recipes" / "judging.toml"
LEARNT_FROM = (RHAN40.name, LLP26.name)  # the sets of bones whose people are named as set/person


def kept_out_people(without: str | Sequence[str]) -> tuple[str, ...]:
    """People as set/person: those of a set of `judging.toml`, or those that are named one by one.

    Refusal of a set that is not there, and of people of bones that nothing is learnt from. Whether these bones have
    such a person, `load_population` says.
    """
    if isinstance(without, str):
        sets = _sets_of_people()
        if without not in sets:
            raise Refusal(f"{without!r} is no set of people in {JUDGING.name}: {meant(without, sets)}")
        return sets[without]
    if not without:
        raise Refusal("Nobody is kept out: name a set of people, or people as in rhan40/s02.")
    for person in without:
        bones, _, name = person.partition("/")
        if bones not in LEARNT_FROM or not name:
            raise Refusal(
                f"{person!r} is nobody who could be learnt from, of no such set of bones: {meant(bones, LEARNT_FROM)}"
            )
    return tuple(without)


@cache
def _sets_of_people() -> dict[str, tuple[str, ...]]:
    """The sets of `judging.toml` whose people could be learnt from; those of `reported` are in no such bones."""
    sets = tomllib.loads(JUDGING.read_text(encoding="utf-8"))
    people = {name: sets[entry.get("people_of", name)] for name, entry in sets.items() if "set" not in entry}
    return {name: tuple(entry["people"]) for name, entry in people.items()}
