"""Headless model building: imports DualFaceReconLib, is never imported by it."""
