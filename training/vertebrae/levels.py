"""Levels of the spine and their groups are the engine's: here for those who make vertebrae."""

from DualFaceReconLib.levels import GROUPS, LEVELS, LUMBAR, THORACIC, group_of

__all__ = ["GROUPS", "LEVELS", "LUMBAR", "THORACIC", "group_of"]
