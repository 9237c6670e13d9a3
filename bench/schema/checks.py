"""What a value must be: a wrong one is named with its key, its value and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.errors import ConfigError


def _tied(value: object) -> bool:
    """An interpolation that is not resolved yet; the value it stands for is checked later."""
    return isinstance(value, str) and value.startswith("${")


def one_of(key: str, value: object, allowed: Sequence[object]) -> None:
    """Raise ConfigError unless `value` is in `allowed`."""
    if not _tied(value) and value not in allowed:
        raise ConfigError(f"{key}={value!r} is not possible; allowed: {', '.join(map(str, allowed))}")


def at_least(key: str, value: float | None, minimum: float) -> None:
    """Raise ConfigError if `value` is given and below `minimum`."""
    if value is not None and not _tied(value) and not value >= minimum:
        raise ConfigError(f"{key}={value!r} is not possible; allowed: {minimum} or more")


def within(key: str, value: float | None, low: float, high: float) -> None:
    """Raise ConfigError if `value` is given and outside [low, high]."""
    if value is not None and not _tied(value) and not low <= value <= high:
        raise ConfigError(f"{key}={value!r} is not possible; allowed: {low} to {high}")
