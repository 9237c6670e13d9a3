"""Names that become names of files, and text that becomes a cell: neither may do anything."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, ConfigError

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 200
"""File systems take 255; suffixes and temporary names need the rest."""
_EXECUTED = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20].", re.DOTALL)
"""What spreadsheets take for the beginning of a formula, the full-width forms included."""


def folders_matching(pattern: str) -> Iterator[Path]:
    """Folders whose path a pattern such as ``results/*`` matches, absolute ones included, in no order."""
    # Path.glob refuses absolute patterns.
    return (path for path in map(Path, glob.iglob(pattern)) if path.is_dir())  # noqa: PTH207


def safe_name(name: str, what: str, error: type[BenchError] = ConfigError) -> str:
    """Return `name` if a file or folder of that name stays where it is put.

    Parameters
    ----------
    name : str
    what : str
        What is named; begins the message.
    error : type
        Raised for a name that is refused.

    Raises
    ------
    BenchError
        If the name is empty, begins with a dot, holds a slash, backslash or control character, is not UTF-8, or has
        more than 200 bytes.
    """
    shown = ascii(name if len(name) <= 60 else f"{name[:60]}...")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise error(f"{what} {shown} is not valid UTF-8; rename it") from None
    if size > MAX_BYTES:
        raise error(f"{what} {shown} has {size} bytes; allowed: {MAX_BYTES}")
    if not name or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name):
        raise error(
            f"{what} {shown} is not possible: it becomes the name of a file, so no slashes, no control characters, "
            "no dot at the beginning"
        )
    return name


def safe_key(key: str, what: str, error: type[BenchError] = ConfigError) -> str:
    """Return `key` if each of its parts, divided by ``/``, is a :func:`safe_name`.

    Raises
    ------
    BenchError
        If one is not.
    """
    for part in key.split("/"):
        safe_name(part, f"{what} {key[:60]!a}: the part" if "/" in key else what, error)
    return key


def csv_text(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would execute; numbers and missing values stay."""
    if not isinstance(value, str) or not _EXECUTED.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def to_csv(frame: pd.DataFrame, float_format: str | None = None) -> str:
    """A table as CSV text; no cell or column name of it is executed by a spreadsheet."""
    texts = frame.select_dtypes(exclude=["number", "bool"]).columns
    safe = frame.assign(**{name: frame[name].map(csv_text) for name in texts}).rename(columns=csv_text)
    return str(safe.to_csv(index=False, lineterminator="\n", float_format=float_format))
