"""Imports timm where torchvision's compiled operators do not load.

timm imports torchvision for a few Python functions. Where torch and torchvision were not built for each other (the CPU
build of torch beside torchvision's CUDA build, or a mismatched pair inside Slicer), torchvision's compiled library
does not load, and its import dies on "operator torchvision::nms does not exist": it describes two operators that are
not there. Nothing of ours uses them, so their schemas are declared and the import is tried again. Where torchvision
works nothing is declared, as its library would then meet its own operators and refuse to load.
"""

import importlib
import warnings

import torch

SCHEMAS = {  # as torchvision declares them in csrc/ops/nms.cpp and csrc/ops/quantized/cpu/qnms_kernel.cpp
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def import_timm() -> None:
    """Puts timm among the imported modules; raises ImportError where it or torchvision is not installed."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name, schema in SCHEMAS.items():
            torch.library.define(f"torchvision::{name}", schema)
        importlib.import_module("torchvision")
    with warnings.catch_warnings():
        # timm marks TorchScript interfaces in networks of no concern here, and torch warns every caller of it.
        warnings.filterwarnings("ignore", r"`torch\.jit", DeprecationWarning)
        importlib.import_module("timm")
