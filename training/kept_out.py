"""The people by whom recipes are chosen and networks judged: no training may touch them."""

import tomllib
from pathlib import Path

JUDGING = Path(__file__).parent / "recipes" / "judging.toml"


def kept_out_people(which: str) -> list[str]:
    """Those of a set of `judging.toml`, as set/person."""
    return tomllib.loads(JUDGING.read_text(encoding="utf-8"))[which]["people"]
