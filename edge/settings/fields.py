"""Every field of the configuration, described from its types: what it may hold, and its default."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect as types

from edge.config import Config

_ENTRY = re.compile(r"^    (\w+): (.+(?:\n {8}.+)*)", re.MULTILINE)
_SHOWN_CHARS = 80


class Field(msgspec.Struct, frozen=True):
    """One field.

    Attributes:
        path: section and name, "telemetry.period_s"; a name alone at the top.
        kind: its type, with its bounds.
        allowed: what it may hold, in words.
        required: whether there is no default.
        default: else what it is.
        meaning: from the docstring of its section; empty where Python keeps none.
    """

    path: str
    kind: Any
    allowed: str
    required: bool
    default: Any
    meaning: str


@cache
def describe() -> Mapping[str, Field]:
    """Return all fields by path, in the order of the types."""
    found: dict[str, Field] = {}
    for name, (kind, member) in _members(Config).items():
        if isinstance(member.type, types.StructType):
            section = member.type.cls
            for inner, (inner_kind, inner_member) in _members(section).items():
                path = f"{name}.{inner}"
                found[path] = _field(path, inner_kind, inner_member, _meanings(section)[inner])
        else:
            found[name] = _field(name, kind, member, _meanings(Config)[name])
    return found


def value_of(config: Config, path: str) -> Any:  # noqa: ANN401 (a field may hold anything)
    """Return what a configuration holds in a field."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def plain(value: Any) -> Any:  # noqa: ANN401
    """Return a value as JSON holds it, always in the same order."""
    if isinstance(value, frozenset):
        return sorted(plain(item) for item in value)
    return msgspec.to_builtins(value)


def shown(value: Any) -> str:  # noqa: ANN401
    """Return a value in few characters, as JSON would have it; nothing in it moves a terminal."""
    try:
        text = json.dumps(plain(value))
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _members(section: type[msgspec.Struct]) -> dict[str, tuple[Any, types.Field]]:
    """Return the members of a section: its annotation, and what msgspec makes of it."""
    described = types.type_info(section)
    assert isinstance(described, types.StructType)
    annotations = {f.name: f.type for f in msgspec.structs.fields(section)}
    return {member.name: (annotations[member.name], member) for member in described.fields}


def _field(path: str, kind: object, member: types.Field, meaning: str) -> Field:
    return Field(
        path=path,
        kind=kind,
        allowed=_allowed(member.type),
        required=member.required,
        default=None if member.required else member.default,
        meaning=meaning,
    )


def _meanings(section: type[msgspec.Struct]) -> dict[str, str]:
    found = _ENTRY.findall(inspect.getdoc(section) or "")
    meanings = {name: " ".join(text.split()) for name, text in found}
    return {name: meanings.get(name, "") for name in section.__struct_fields__}


def _allowed(kind: types.Type) -> str:
    """Return what a type takes, in words."""
    match kind:
        case types.BoolType():
            return "true or false"
        case types.IntType():
            return f"a whole number{_bounds(kind)}"
        case types.FloatType():
            return f"a number{_bounds(kind)}"
        case types.StrType():
            return _text(kind)
        case types.LiteralType():
            return _one_of(kind.values)
        case types.EnumType():
            return _one_of([_member.value for _member in _enumeration(kind.cls)])
        case types.FrozenSetType():
            return f"a list of one or more of {_allowed(kind.item_type)}"
        case types.TupleType():
            return f"a list of {' and '.join(_allowed(item) for item in kind.item_types)}"
        case types.UnionType():
            inner = [each for each in kind.types if not isinstance(each, types.NoneType)]
            return " or ".join(_allowed(each) for each in inner)
    raise TypeError(f"a field of the configuration has a type that is not described: {kind}")


def _enumeration(cls: type[Enum]) -> list[Enum]:
    return list(cls)


def _one_of(values: Any) -> str:  # noqa: ANN401
    quoted = [json.dumps(value) for value in values]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def _bounds(kind: types.IntType | types.FloatType) -> str:
    least, most, above = kind.ge, kind.le, kind.gt
    if least is not None and most is not None:
        return f" from {least:g} to {most:.10g}"
    if above is not None and most is not None:
        return f" above {above:g}, at most {most:.10g}"
    raise TypeError("a number of the configuration lacks its bounds")


def _text(kind: types.StrType) -> str:
    words = "text"
    if kind.max_length is not None:
        words += f" of {kind.min_length or 0} to {kind.max_length} characters"
    return words + (f" that matches {kind.pattern}" if kind.pattern else "")
