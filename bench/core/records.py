"""JSON into frozen dataclasses: every value is of its declared type, or one sentence says which is not."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, TypeVar

from bench.core.errors import StoreError

T = TypeVar("T")
_SHOWN = 40
_NAMES = {dict: "an object", list: "a list", str: "text", int: "an integer", float: "a number", bool: "true or false"}


def record(cls: type[T], content: object, where: str) -> T:
    """Build a dataclass from a JSON object; keys that the dataclass does not have are left out.

    Parameters
    ----------
    cls : dataclass
        Fields may be str, int, float, bool, None, Any, lists, dictionaries with text keys, and dataclasses.
    content : object
        As ``json.loads`` gives it.
    where : str
        File, for the message.

    Raises
    ------
    StoreError
        If a key without a default is missing or a value has another type.
    """
    built: T = _build(cls, content, where, "")
    return built


def _build(cls: Any, content: object, where: str, key: str) -> Any:
    if not isinstance(content, dict):
        raise _wrong(where, key, content, "an object")
    hints = typing.get_type_hints(cls)
    values = {}
    for each in dataclasses.fields(cls):
        name = f"{key}.{each.name}" if key else each.name
        if each.name in content:
            values[each.name] = _value(hints[each.name], content[each.name], where, name)
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise StoreError(f"{where} lacks the key {name}; it is not of this program or was changed by hand")
    return cls(**values)


def _value(expected: Any, value: Any, where: str, key: str) -> Any:
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        return _value(next(each for each in inner if each is not type(None)), value, where, key)
    if dataclasses.is_dataclass(expected):
        return _build(expected, value, where, key)
    if origin is list and isinstance(value, list):
        return [_value(inner[0], item, where, f"{key}[{place}]") for place, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {name: _value(inner[1], item, where, f"{key}.{name}") for name, item in value.items()}
    if expected is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is expected:
        return value
    raise _wrong(where, key, value, _NAMES.get(origin or expected, str(expected)))


def _wrong(where: str, key: str, value: object, expected: str) -> StoreError:
    shown = json.dumps(value, default=str)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    what = f"{key} is {shown}" if key else f"the content is {shown}"
    return StoreError(f"{where}: {what}, {expected} was expected; it is not of this program or was changed by hand")
