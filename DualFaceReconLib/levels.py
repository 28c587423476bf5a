"""Levels of the spine, and the groups of them that share a template and a shape model."""

from __future__ import annotations

THORACIC = tuple(f"T{number}" for number in range(1, 13))
LUMBAR = tuple(f"L{number}" for number in range(1, 6))
LEVELS = THORACIC + LUMBAR  # from above
# Where the ribs' joints move down the body, the spinous processes are longest and steepest, and the facets still look
# back. T11 and T12 have no facet on the transverse process, or no transverse process to speak of, and are nearer to
# their thoracic neighbours in all but the lower facets.
GROUPS = {"upper_thoracic": LEVELS[:6], "lower_thoracic": LEVELS[6:12], "lumbar": LUMBAR}


def group_of(level: str) -> str:
    """The group of a level; ValueError for what is none."""
    for group, levels in GROUPS.items():
        if level in levels:
            return group
    raise ValueError(f"{level!r} is no level from T1 to L5")
