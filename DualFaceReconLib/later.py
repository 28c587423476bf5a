"""Modules that run when something is asked of them: what others import, and nobody uses, takes no time."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any


class Later(ModuleType):
    """A module that runs when something is asked of it which its submodules have not put there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__version__"):
            raise AttributeError(name)
        run = self.run
        self.__class__ = ModuleType
        run()
        return getattr(self, name)

    def run(self) -> None:
        """Runs the module's source."""
        assert self.__spec__ is not None
        SourceFileLoader.exec_module(self.__spec__.loader, self)


def leave_docstrings_of_scipy() -> None:
    """Lets SciPy's functions go without docstrings.

    It parses and rewrites hundreds of them when it is imported: a tenth of all that the command imports. A SciPy that
    does so elsewhere keeps them.
    """
    with suppress(ImportError, AttributeError):
        from scipy._lib import _docscrape

        _docscrape.NumpyDocString._parse = lambda self: None


@contextmanager
def left_for_later(modules: Collection[str]) -> Iterator[None]:
    """Of what is imported meanwhile, these modules run later."""
    finder = _Leaving(modules)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Leaving:
    """Finds modules to be left; another kind than source files runs as ever."""

    def __init__(self, modules: Collection[str]) -> None:
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname in self._modules else None
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _LeavingLoader(spec.loader.name, spec.loader.path)
        return spec


class _LeavingLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = Later
