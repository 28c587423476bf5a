"""How large vertebrae are: the published means.

Panjabi et al., Spine 16(8):888, 1991 (thoracic) and 17(3):299, 1992 (lumbar): twelve spines. Millimetres, T1 to L5.

The papers themselves were not at hand. Checked against others who give their figures: lumbar upper endplates' widths,
with their standard errors, and lumbar posterior heights are the same; of the thoracic paper's Figure 4A, read off by
others, come 24.5, 35.2 and 39.2 mm for the upper endplates of T1, T11 and T12, where here are 24.5, 34.9 and 39.0, and
42.3 for T12's lower one, where here is 42.1. Depths, other thoracic widths and thoracic heights are not checked.
"""

from __future__ import annotations

from DualFaceReconLib.levels import LEVELS

PUBLISHED_MM = {
    "upper_endplate_width_mm": (
        *(24.5, 24.9, 24.6, 24.5, 24.9, 26.2, 27.8, 29.5, 30.6, 31.9, 34.9, 39.0),
        *(41.2, 42.6, 44.1, 46.6, 47.3),
    ),
    "lower_endplate_width_mm": (
        *(27.8, 27.4, 25.9, 26.0, 27.0, 28.2, 29.1, 30.5, 33.0, 35.4, 39.1, 42.1),
        *(43.3, 45.5, 48.0, 49.5, 49.4),
    ),
    "upper_endplate_depth_mm": (
        *(18.5, 19.6, 22.7, 23.3, 24.3, 26.0, 27.4, 27.9, 29.3, 30.5, 31.9, 32.8),
        *(34.1, 34.6, 35.2, 35.5, 34.7),
    ),
    "lower_endplate_depth_mm": (
        *(19.7, 21.6, 23.3, 24.5, 25.8, 26.9, 28.5, 29.4, 31.0, 31.6, 31.8, 33.4),
        *(35.3, 34.9, 34.8, 33.9, 33.2),
    ),
    "body_height_posterior_mm": (
        *(14.1, 15.6, 15.7, 16.2, 16.2, 17.4, 18.2, 18.7, 19.3, 20.2, 21.3, 22.7),
        *(23.8, 24.3, 23.8, 24.1, 22.9),
    ),
}


def published_mm(name: str, level: str) -> float:
    """A mean of the tables."""
    return PUBLISHED_MM[name][LEVELS.index(level)]
