"""What a key takes and means, read from the dataclass that defines it: its type, its range and the text below it."""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import inspect
import itertools
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from bench.core.doors import Door
from bench.schema.checks import Form, Found, Items, OneOf, Range, Shard, fields_of

_PLAIN = {int: "whole number", float: "number", str: "text", bool: "true | false"}
_PATHS = {
    "new": "folder",
    "folder": "existing folder",
    "folders": "existing folder or pattern",
    "file": "existing file",
    "any": "existing file or folder",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a configuration.

    Attributes
    ----------
    name : str
        With the keys it stands under, such as ``timeouts.load_s``.
    takes : str
        Type, and what is allowed.
    default : str
        As one would type it; empty: the key must be given.
    meaning : str
    words : tuple of str
        Every value it can have, where they can be counted.
    path : bool
        Whether the value is a file or a folder.
    """

    name: str
    takes: str
    default: str
    meaning: str
    words: tuple[str, ...] = ()
    path: bool = False


def keys(schema: type[Any], prefix: str = "", without: tuple[str, ...] = ()) -> Iterator[Key]:
    """Keys of a dataclass and of the dataclasses in it, in their order.

    Parameters
    ----------
    schema : type
    prefix : str
        What the names begin with, such as ``protocol.``.
    without : tuple of str
        Keys of `schema` to leave out, such as those that a preset fills.
    """
    hints, texts = fields_of(schema), meanings(schema)
    for field in dataclasses.fields(schema):
        if field.name in without:
            continue
        hint, name = hints[field.name], f"{prefix}{field.name}"
        nested = _dataclass_of(hint)
        if nested is not None:
            yield from keys(nested, f"{name}.")
            continue
        takes, words, path = _takes(hint)
        yield Key(name, takes, _default(field), texts.get(field.name, ""), words, path)


def summary(schema: type[Any]) -> str:
    """First paragraph of a dataclass's docstring; empty if it has none of its own."""
    text = schema.__doc__ or ""
    return "" if text.startswith(f"{schema.__name__}(") else " ".join(text.partition("\n\n")[0].split())


def meanings(schema: type[Any]) -> dict[str, str]:
    """The text below each field of a dataclass, those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = _classes(sys.modules[base.__module__]).get(base.__name__, [])
        for first, second in itertools.pairwise(body):
            if (
                isinstance(first, ast.AnnAssign)
                and isinstance(first.target, ast.Name)
                and isinstance(second, ast.Expr)
                and isinstance(second.value, ast.Constant)
            ):
                found[first.target.id] = " ".join(str(second.value.value).split())
    return found


@functools.cache
def _classes(module: types.ModuleType) -> dict[str, list[ast.stmt]]:
    return {
        node.name: node.body for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)
    }


def _dataclass_of(hint: Any) -> type[Any] | None:
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def _takes(hint: Any) -> tuple[str, tuple[str, ...], bool]:
    """Text, countable values, and whether it is a path."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        text, words, path = _takes(arguments[0])
        for extra in arguments[1:]:
            if isinstance(extra, OneOf):
                words = tuple(map(_typed, extra.words))
                text = " | ".join(words)
            elif isinstance(extra, Door):
                words = tuple(extra)
                text = f"{' | '.join(words)}, or the name of another {extra.kind}"
            elif isinstance(extra, Range):
                text = f"{text}, {_range(extra)}"
            elif isinstance(extra, Shard):
                text = extra.what
            elif isinstance(extra, Found):
                text, path = _PATHS[extra.kind], True
            elif isinstance(extra, Form):
                text = extra.what
            elif isinstance(extra, Items) and extra.least:
                text = f"{text}, at least {extra.least}"
        return text, words, path
    if origin in (typing.Union, types.UnionType):
        kinds = [_takes(inner) for inner in arguments if inner is not type(None)]
        optional = len(kinds) < len(arguments)
        text = " or ".join(dict.fromkeys(kind[0] for kind in kinds)) + (", or null" if optional else "")
        words = tuple(word for kind in kinds for word in kind[1]) + (("null",) if optional and kinds[0][1] else ())
        return text, words, any(kind[2] for kind in kinds)
    if origin is list:
        return f"list of: {_takes(arguments[0])[0]}", (), False
    if origin is dict or hint is dict:
        inner = _dataclass_of(arguments[1]) if arguments else None
        under = f"{', '.join(fields_of(inner))} for each name" if inner else "{name: value}"
        return f"mapping, {under}", (), False
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        words = tuple(str(member.value) for member in hint)
        return " | ".join(words), words, False
    return _PLAIN.get(hint, "any value"), ("true", "false") if hint is bool else (), False


def _range(limits: Range) -> str:
    high = limits.high() if callable(limits.high) else limits.high
    ends = f"above {limits.low:g} to {high:.10g}" if limits.above else f"{limits.low:.10g} to {high:.10g}"
    return f"multiples of {limits.multiple}, {ends}" if limits.multiple else ends


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if value is dataclasses.MISSING or value == MISSING:
        return ""
    if isinstance(value, dict):
        return "{}" if not value else "{...}"
    return _typed(value)


def _typed(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_typed, value))}]"
    return f"{value:g}" if isinstance(value, float) else "''" if value == "" else str(value)
