"""The summary's tidy frames as something to look numbers up in, and which of them stand out."""

from __future__ import annotations

import math
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from bench.core.frames import records
from bench.metrics.record import Column
from bench.summary.table import DIFFERENT

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

    def __init__(self, table: pd.DataFrame, differences: pd.DataFrame | None = None) -> None:
        self.rows: dict[tuple[str, str, str], dict[str, Any]] = {
            (str(row["method"]), str(row["split"]), str(row["metric"])): row for row in records(table)
        }
        self.metrics = list(dict.fromkeys(metric for _, _, metric in self.rows))
        self.methods = list(dict.fromkeys(method for method, _, _ in self.rows))
        found = {split for _, split, _ in self.rows}
        self.splits = [s for s in SPLITS if s in found] + sorted(found - set(SPLITS) - {"-"})
        self._paired: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        for row in [] if differences is None else records(differences):
            key = (str(row["method"]), str(row["reference"]), str(row["split"]), str(row["metric"]))
            self._paired[key] = row

    def get(self, method: str, split: str, metric: str, field: str = "value") -> float | None:
        """Return one number of the summary table, or None."""
        return number(self.rows.get((method, split, metric), {}).get(field))

    def differs(self, a: str, b: str, split: str, metric: str) -> bool:
        """Say whether two methods differ by more than the noise.

        The verdict on their paired difference decides where the summary has one; else intervals that do not overlap.
        Without intervals nothing is said to differ.
        """
        if a == b:
            return False
        paired = self._paired.get((a, b, split, metric)) or self._paired.get((b, a, split, metric))
        if paired is not None:
            return str(paired["verdict"]) in DIFFERENT
        ends = [self.get(m, split, metric, field) for m in (a, b) for field in ("low", "high")]
        if any(end is None for end in ends):
            return False
        low_a, high_a, low_b, high_b = (end for end in ends if end is not None)
        return high_a < low_b or high_b < low_a

    def best(self, split: str, column: Column) -> set[str]:
        """Return the best method of a column and those next to it that cannot be told from it; empty if that is all.

        The group ends at the first method that differs from the best, so that no marked value is worse than an
        unmarked one.
        """
        values = {m: v for m in self.methods if (v := self.get(m, split, column.name)) is not None}
        if column.better == "neither" or len(values) < 2:
            return set()
        sign = -1.0 if column.better == "higher" else 1.0
        ranked = sorted(values, key=lambda method: sign * values[method])
        group = list(takewhile(lambda m: not self.differs(ranked[0], m, split, column.name), ranked))
        return set() if len(group) == len(values) else {ranked[0], *group}
