"""The architectures alone: depth.py estimates depth maps, segmentation.py finds bones. No training code, no weights."""

from DualFaceReconLib.networks.importing import import_timm

import_timm()  # before depth.py does it, and before dynamic-network-architectures does
