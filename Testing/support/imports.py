"""Reads the import statements of a tree of sources, and says which of them break the rules of the house.

Every statement counts, wherever in a file it stands: under TYPE_CHECKING and inside functions too.
"""

from __future__ import annotations

import ast
import graphlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One module that a file imports."""

    by: str  # the importing module, dotted from the tree's root
    module: str  # the imported one; with the name taken from it, where that is a module of the tree
    name: str | None  # what is taken from it; None for `import module` and for a module of the tree
    line: int
    at_once: bool  # not inside a function: it happens when the importing module is imported

    def __str__(self) -> str:
        return f"{self.by}, line {self.line}, imports {self.module}"

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


def modules(root: Path, package: str) -> dict[str, Path]:
    """Dotted name -> file."""
    named = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


@cache
def imports(root: Path, package: str) -> tuple[Import, ...]:
    """All that the files of a package import; a tree is read once."""
    known = modules(root, package)
    return tuple(item for name, path in known.items() for item in _imports(name, path, known))


def _imports(name: str, path: Path, known: Collection[str]) -> Iterator[Import]:
    home = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = {node for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        at_once = node not in late
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name, None, node.lineno, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home[: len(home) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield Import(name, *((whole, None) if whole in known else (module, alias.name)), node.lineno, at_once)
        elif isinstance(node, ast.Call) and _named(node.func) in ("import_module", "__import__"):
            texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            yield from (Import(name, text, None, node.lineno, at_once) for text in texts[:1] if isinstance(text, str))


def _named(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


def circles(statements: Collection[Import]) -> list[str]:
    """One circle of files that import each other, where there is any; `__version__` makes none."""
    ours = {item.by for item in statements}
    graph = defaultdict(set)
    for item in statements:
        if item.module in ours and item.name != "__version__":
            graph[item.by].add(item.module)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def wrong_ways(statements: Collection[Import], package: str, floors: Sequence[Sequence[str]]) -> list[str]:
    """Imports of a package's own rooms that do not lead to a lower floor, and rooms that have no floor.

    A room is a folder or a file directly in the package; the rooms of one floor do not know of each other. The package
    itself (`from package import ...`) is the floor above all others, but for its `__version__`.
    """
    floor = {room: number for number, rooms in enumerate(floors) for room in rooms} | {"": len(floors)}
    wrong = []
    for item in statements:
        own, other = _room(item.by, package), _room(item.module, package)
        if other is None or own == other or item.name == "__version__":
            continue
        unknown = [room for room in (own, other) if room not in floor]
        if unknown:
            wrong.append(f"{item}: {unknown[0]} has no place in the order")
        elif floor[other] >= floor[own]:
            wrong.append(str(item))
    return wrong


def _room(module: str, package: str) -> str | None:
    """The room of a module; "" for the package itself, None for what is none of the package's."""
    top, _, below = module.partition(".")
    return below.split(".")[0] if top == package else None


def strangers(statements: Collection[Import], forbidden: Collection[str], but_in: str | None = None) -> list[str]:
    """Imports of forbidden top-level modules, anywhere but in one room (dotted)."""
    return [
        str(item)
        for item in statements
        if item.top in forbidden and (but_in is None or not f"{item.by}.".startswith(f"{but_in}."))
    ]


def imports_among_tests(folder: Path) -> list[str]:
    """Files of tests that import another one, or the settings of all."""
    names = {path.stem: path for path in sorted(folder.glob("*.py"))}
    statements = [item for name, path in names.items() for item in _imports(name, path, names)]
    return [str(item) for item in statements if item.top in names and item.by != item.top]


def classes_of_one_name(files: Mapping[str, Path]) -> list[str]:
    """Public classes whose name another module has too."""
    homes = defaultdict(list)
    for module, path in files.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(module)
    return [f"{name} is in {' and in '.join(where)}" for name, where in homes.items() if len(where) > 1]
