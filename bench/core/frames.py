"""Rows of a table as mappings with text keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a mapping a row. Column names are text everywhere in this package; pandas allows any hashable."""
    return cast("list[dict[str, Any]]", frame.to_dict("records"))
