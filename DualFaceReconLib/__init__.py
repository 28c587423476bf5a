"""DualFaceRecon: bone surfaces from a single hip radiograph. Research use only."""

__version__ = "0.1.0"
