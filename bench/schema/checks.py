"""What a value must be: a wrong one is named with its key, its value and what is allowed.

A key's range stands in its type, ``Annotated[int, Range(0, 8, "why")]``; OmegaConf sees the plain type. The words of an
option are the members of an :class:`bench.schema.options.Option`.
:func:`check` walks a configuration and reads them all, so a key without a range is found by a test and not by a user.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import types
import typing
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.core.doors import Door
from bench.core.errors import ConfigError
from bench.schema.options import Option

MISSING = "???"
PATH_BYTES = 4095
"""Longest path Linux takes."""


def _tied(value: object) -> bool:
    """An interpolation that is not resolved yet; the value it stands for is checked later."""
    return isinstance(value, str) and value.startswith("${")


@dataclass(frozen=True)
class Range:
    """Least and largest value of a number; NaN is in no range.

    Attributes
    ----------
    low : float
    high : float or callable
        A function where the bound is the machine's.
    why : str
        What lies beyond `high`; part of the message where a value is above it.
    above : bool
        `low` itself is not allowed.
    multiple : int
        Only multiples of it are allowed.
    """

    low: float
    high: float | Callable[[], float]
    why: str = ""
    above: bool = False
    multiple: int | None = None

    def check(self, key: str, value: object) -> None:
        high = self.high() if callable(self.high) else self.high
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{key}={value!r} is not possible; allowed: a number")
        inside = (self.low < value if self.above else self.low <= value) and value <= high
        if inside and (not self.multiple or value % self.multiple == 0):
            return
        why = f" ({self.why})" if self.why and value > high else ""
        allowed = f"above {self.low:g} to {high:.10g}" if self.above else f"{self.low:.10g} to {high:.10g}"
        if self.multiple:
            allowed = f"multiples of {self.multiple} from {allowed}"
        raise ConfigError(f"{key}={value!r} is not possible; allowed: {allowed}{why}")


@dataclass(frozen=True)
class OneOf:
    """Numbers, or words that no :class:`bench.schema.options.Option` can have: of a table, Python's own (``pass``), or
    names of methods of text (``lower``)."""

    words: tuple[object, ...]

    def check(self, key: str, value: object) -> None:
        one_of(key, value, self.words)


def has_controls(text: str) -> bool:
    """Whether a text has control characters, line ends, or bytes that were no UTF-8."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


@dataclass(frozen=True)
class Text:
    """Printable text in one line.

    Attributes
    ----------
    max_bytes : int
        Longest, as UTF-8.
    empty : bool
        Whether it may be empty.
    what : str
        What it is, for the message.
    """

    max_bytes: int = 1000
    empty: bool = True
    what: str = "text"

    def check(self, key: str, value: object) -> None:
        if not isinstance(value, str):
            raise ConfigError(f"{key}={value!r} is not possible; allowed: {self.what}")
        if not value.strip() and not self.empty:
            raise ConfigError(f"{key}={value!r} is empty; give {self.what}")
        if has_controls(value):
            raise ConfigError(f"{key}={value!r} is not possible; allowed: {self.what} of printable UTF-8 characters")
        length = len(value.encode())
        if length > self.max_bytes:
            raise ConfigError(f"{key} has {length} bytes; allowed: {self.what} of at most {self.max_bytes} bytes")


@dataclass(frozen=True)
class Found:
    """A path that must be there before any work: `kind` is ``folder``, ``file``, ``any``, or ``folders``, which may be
    a pattern that some fit.

    ``new`` is a folder that a command makes. See :func:`inputs`."""

    kind: str
    what: str

    def check(self, key: str, value: object) -> None:
        Text(PATH_BYTES, False, self.what).check(key, value)


@dataclass(frozen=True)
class Items:
    """A list: how many items, and whether one may stand twice."""

    least: int = 0
    most: int = 1000
    unique: bool = True

    def check(self, key: str, value: object) -> None:
        if not isinstance(value, Sequence | Mapping) or isinstance(value, str):
            raise ConfigError(f"{key}={value!r} is not possible; allowed: a list")
        if len(value) < self.least:
            raise ConfigError(f"{key} is empty; give at least {self.least}")
        if len(value) > self.most:
            raise ConfigError(f"{key} has {len(value)} entries; allowed: at most {self.most}")
        if self.unique and isinstance(value, Sequence):
            twice = [item for i, item in enumerate(value) if item in value[:i]]
            if twice:
                raise ConfigError(f"{key}={list(value)} is not possible: {twice[0]} stands twice")


@dataclass(frozen=True)
class Form:
    """Text of one form: a regular expression of the whole, and what it is in words."""

    pattern: str
    what: str

    def check(self, key: str, value: object) -> None:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ConfigError(f"{key}={value!r} is not possible; allowed: {self.what}")


MAX_SHARDS = 100_000


def shard_of(text: str) -> tuple[int, int]:
    """Number and count of a shard, from ``k/n``.

    Raises
    ------
    ValueError
        If `text` is none.
    """
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text)
    if found is None or not int(found[1]) <= int(found[2]) <= MAX_SHARDS:
        raise ValueError(text)
    return int(found[1]), int(found[2])


@dataclass(frozen=True)
class Shard:
    """Number and count of a shard: ``3/16``."""

    what: str = "K/N, the K-th of N shards, such as 3/16"

    def check(self, key: str, value: object) -> None:
        try:
            shard_of(str(value))
        except ValueError:
            raise ConfigError(f"{key}={value!r} is not possible; allowed: {self.what}") from None


Constraint = Range | OneOf | Text | Found | Items | Door | Form | Shard


def fields_of(schema: Any) -> dict[str, Any]:
    """Annotated type of every field of a dataclass."""
    hints = typing.get_type_hints(schema, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema)}


def check(config: object, key: str = "") -> None:
    """Check every value of a dataclass, and of the dataclasses in it, against the ranges in their types.

    Parameters
    ----------
    config : dataclass
        Resolved; a value that is an unresolved interpolation is passed over.
    key : str
        Where it stands in the configuration; part of the message.

    Raises
    ------
    ConfigError
        With the key, the value and what is allowed.
    """
    # The outermost first: a wrong `threads` is named as such and not as that of the methods that follow it.
    for constraint, name, value in sorted(_constraints(config, key), key=lambda found: found[1].count(".")):
        if isinstance(constraint, Door) and not isinstance(value, str):
            raise ConfigError(f"{name}={value!r} is not possible; allowed: a name")
        constraint.check(name, value)


def inputs(config: object, key: str = "") -> Iterator[tuple[str, str, Found]]:
    """Every path in `config` that must exist: its key, the path, and what should be there."""
    for constraint, name, value in _constraints(config, key):
        if isinstance(constraint, Found) and isinstance(value, str):
            yield name, value, constraint


def _constraints(config: object, key: str) -> Iterator[tuple[Constraint, str, Any]]:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return
    for name, hint in fields_of(type(config)).items():
        yield from _walk(hint, f"{key}.{name}" if key else name, getattr(config, name))


def _walk(hint: Any, key: str, value: Any) -> Iterator[tuple[Constraint, str, Any]]:
    if value is None or _tied(value) or value == MISSING:
        return
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        inner, *extras = typing.get_args(hint)
        yield from ((extra, key, value) for extra in extras if isinstance(extra, Constraint))
        yield from _walk(inner, key, value)
    elif origin in (typing.Union, types.UnionType):
        for inner in typing.get_args(hint):
            if inner is not type(None):
                yield from _walk(inner, key, value)
    elif isinstance(hint, type) and issubclass(hint, Option):
        yield OneOf(tuple(hint)), key, value
    elif isinstance(value, Mapping):
        inner = typing.get_args(hint)[1] if origin is dict else Any
        for name, item in value.items():
            yield from _walk(inner, f"{key}.{name}", item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = typing.get_args(hint)[0] if origin is list else Any
        for place, item in enumerate(value):
            yield from _walk(inner, f"{key}[{place}]", item)
    else:
        yield from _constraints(value, key)


def one_of(key: str, value: object, allowed: Sequence[object]) -> None:
    """Raise ConfigError unless `value` is in `allowed`."""
    if not _tied(value) and value not in allowed:
        raise ConfigError(f"{key}={value!r} is not possible; allowed: {', '.join(map(str, allowed))}")


def wrong_word(key: str, error: BaseException) -> str | None:
    """What OmegaConf says of a value that is no member of an option, as :func:`one_of` says it; None: another error."""
    found = re.search(r"Invalid value '(.*)', expected one of|Value (.*) \(\w+\) is not a valid input for", str(error))
    words = re.search(r"expected one of \[([^]]*)\]|<enum '(\w+)'>", str(error))
    if found is None or words is None:
        return None
    allowed = words[1] or ", ".join(next(each for each in Option.__subclasses__() if each.__name__ == words[2]))
    given = found[2] if found[1] is None else repr(found[1])
    return f"{key}={given} is not possible; allowed: {allowed}"


def increasing(key: str, values: Sequence[float]) -> None:
    """Raise ConfigError unless each number is above the one before."""
    if any(not a < b for a, b in itertools.pairwise(values)):
        raise ConfigError(f"{key}={list(values)} is not possible; allowed: numbers in increasing order")
