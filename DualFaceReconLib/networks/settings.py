"""Networks' settings out of files that nobody vouches for: manifests, recipes, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Settings = TypeVar("Settings")


def settings_from(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings such as `DepthSettings`; ValueError names a setting that is unknown or of another type."""
    types = get_type_hints(kind)
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no setting of this network: it has {', '.join(types)}")
    for name, value in values.items():
        if not _is(value, types[name]):
            raise ValueError(f"{name} cannot be {value!r}")
    return kind(**values)


def _is(value: Any, kind: Any) -> bool:
    """Whether a value out of JSON or TOML is of an annotated type; True is no number, and a list may be a tuple."""
    if isinstance(kind, UnionType):
        return any(_is(value, some) for some in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_is(item, get_args(kind)[0]) for item in value)
    return type(value) is kind
