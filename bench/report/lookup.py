"""The summary's tidy frames as something to look numbers up in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bench.core.frames import records

if TYPE_CHECKING:
    import pandas as pd

SPLITS = {"all": "All pairs", "i": "Illumination", "v": "Viewpoint"}


def number(value: Any) -> float | None:
    """Return a float, or None for a missing value (None, NaN, pandas NA)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


class Lookup:
    """The summary's tidy frames by (method, split, metric)."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.rows: dict[tuple[str, str, str], dict[str, Any]] = {
            (str(row["method"]), str(row["split"]), str(row["metric"])): row for row in records(table)
        }
        self.metrics = list(dict.fromkeys(metric for _, _, metric in self.rows))
        self.methods = list(dict.fromkeys(method for method, _, _ in self.rows))
        found = {split for _, split, _ in self.rows}
        self.splits = [s for s in SPLITS if s in found] + sorted(found - set(SPLITS) - {"-"})

    def get(self, method: str, split: str, metric: str, field: str = "value") -> float | None:
        """Return one number of the summary table, or None."""
        return number(self.rows.get((method, split, metric), {}).get(field))

    def best(self, split: str, metric: str) -> set[str]:
        """Return the methods of a column that stand out, see `bench.summary.marks`."""
        return {method for method in self.methods if self.rows.get((method, split, metric), {}).get("best")}
