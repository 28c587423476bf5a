"""Imports what our encoders need of timm, and that where torchvision's compiled operators do not load, too.

timm imports torchvision for one class of layers, and for reading photographs. Of both packages, and of timm's hundred
files of networks, only those files are imported that have the paper's encoder, its small relatives, and what these
import; the packages themselves import the others when something is asked of them that is not there.

Where torch and torchvision were not built for each other (the CPU build of torch beside torchvision's CUDA build, or a
mismatched pair inside Slicer), torchvision's compiled library does not load, and its import dies on "operator
torchvision::nms does not exist": it describes two operators that are not there. Nothing of ours uses them, so whoever
asks for all of torchvision gets their schemas declared and the import tried again. Where torchvision works nothing is
declared, as its library would then meet its own operators and refuse to load.

Both import torch's compiler, more than a second of modules, for a question that torchvision's operators ask when they
run and for a mark on functions that are not to be compiled. A stand-in takes its place during the import; what was
asked of it is passed on to the compiler when it matters.
"""

import functools
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from DualFaceReconLib.later import Later

SCHEMAS = {  # as torchvision declares them in csrc/ops/nms.cpp and csrc/ops/quantized/cpu/qnms_kernel.cpp
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

COMPILER = "torch._dynamo"
ENCODERS = "timm.models.nfnet"
DOWNLOADER = "huggingface_hub"  # by which timm fetches weights, as ours never do


def import_timm() -> None:
    """Puts timm among the imported modules; raises ImportError where it or torchvision is not installed."""
    with _compiler_left_for_later(), _without_timm_s_warnings(), _without(DOWNLOADER):
        for package in ("torchvision", "torchvision.models", "torchvision.ops", "timm", "timm.data", "timm.models"):
            _leave_for_later(package)
        sys.modules["timm"].__version__ = importlib.import_module("timm.version").__version__
        constants = vars(importlib.import_module("timm.data.constants"))
        vars(sys.modules["timm.data"]).update({name: constants[name] for name in constants if name.isupper()})
        importlib.import_module(ENCODERS)


class _Later(Later):
    """A package that runs without timm's warnings, and whatever torchvision's compiled operators are."""

    def run(self) -> None:
        with _without_timm_s_warnings():
            try:
                Later.run(self)  # by now its class is an ordinary module's
            except RuntimeError as error:
                if "torchvision::nms" not in str(error):
                    raise
                for name, schema in SCHEMAS.items():
                    torch.library.define(f"torchvision::{name}", schema)
                Later.run(self)


def _leave_for_later(package: str) -> None:
    if package not in sys.modules:
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        module = sys.modules[package] = importlib.util.module_from_spec(spec)
        module.__class__ = _Later
        parent, _, name = package.rpartition(".")
        if parent:
            setattr(sys.modules[parent], name, module)


@contextmanager
def _without_timm_s_warnings() -> Iterator[None]:
    """timm marks TorchScript interfaces in networks of no concern here, and torch warns every caller of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit", DeprecationWarning)
        yield


@contextmanager
def _without(package: str) -> Iterator[None]:
    """As if a package were not installed, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None
    try:
        yield
    finally:
        del sys.modules[package]


@contextmanager
def _compiler_left_for_later() -> Iterator[None]:
    """Whoever imports torch's compiler meanwhile gets functions that import it when they are called."""
    if COMPILER in sys.modules or "torchvision" in sys.modules:
        yield
        return
    package, utils = ModuleType(COMPILER), ModuleType(f"{COMPILER}.utils")
    package.__path__, package.utils, package.disable = [], utils, _disable
    utils.is_compile_supported = _is_compile_supported
    sys.modules |= {COMPILER: package, utils.__name__: utils}
    try:
        yield
    finally:
        del sys.modules[COMPILER], sys.modules[utils.__name__]


def _is_compile_supported(device: str) -> bool:
    return importlib.import_module(f"{COMPILER}.utils").is_compile_supported(device)


def _disable(function: Callable[..., Any], *how: Any, **more: Any) -> Callable[..., Any]:
    @functools.wraps(function)
    def uncompiled(*arguments: Any, **named: Any) -> Any:
        return importlib.import_module(COMPILER).disable(function, *how, **more)(*arguments, **named)

    return uncompiled
