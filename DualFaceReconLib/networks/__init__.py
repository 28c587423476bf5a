"""The architectures alone: depth.py and segmentation.py for hips, ear.py for vertebrae. No training code or weights."""

from DualFaceReconLib.networks.importing import import_timm

import_timm()  # before depth.py does it, and before dynamic-network-architectures does
