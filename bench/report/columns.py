"""Which metrics each table shows and how values are written. What a metric is stands in `bench.metrics`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bench.metrics.columns import column, columns
from bench.metrics.record import Column, threshold_px

_T = r"_[\d.]+px"
_TIME = ("latency_median_ms", "latency_p90_ms", "speedup", "throughput_per_s", "peak_memory_mb")
MAIN = (f"accuracy{_T}", "auc_5px", "n_keypoints", "n_matches", "inlier_ratio", "failures", *_TIME)
MATCHING = ("mma_1px", "mma_3px", "mma_5px", "mma_10px", "n_keypoints", "n_matches", "failures", *_TIME)
"""The main table of a protocol without homographies."""
REPEATABILITY = (
    "repeatability",
    "repeatability_one_to_one",
    "localisation_error_px",
    "n_keypoints",
    "failures",
    *_TIME,
)
"""The main table of a protocol without descriptors."""
HEADLINE = (f"accuracy{_T}",)
DIFFERENCES = (f"accuracy{_T}", "auc_5px", "repeatability", "localisation_error_px", "nn_map", "matching_score")
"""Metric names or regular expressions, in the order of the columns."""


def of_table(table: str) -> tuple[str, ...]:
    """Patterns of the columns whose record names `table`, in the order of the registry."""
    found = [name for name, column in columns().items() if column.table == table]
    return tuple(re.escape(name).replace(r"_\{t\}px", _T) for name in found)


def main_of(patterns: Sequence[str]) -> tuple[str, ...]:
    """`patterns`, then the columns of other metrics that want to stand in the main table."""
    shown = {name for names in (MAIN, MATCHING, REPEATABILITY) for name in names}
    return (*patterns, *(name for name in of_table("main") if name not in shown))


def choose(metrics: Iterable[str], wanted: Iterable[str]) -> list[Column]:
    """Return the columns of `wanted` (names or patterns) that exist in `metrics`, thresholds in rising order."""
    present = sorted(set(metrics), key=lambda name: (threshold_px(name), name))
    chosen: list[Column] = []
    for pattern in wanted:
        found = (column(metric) for metric in present if re.fullmatch(pattern, metric))
        chosen += [c for c in found if c not in chosen]
    return chosen


def per_split(shown: Column) -> bool:
    """Say whether a metric exists for each split; times, memory and speed-up exist for the whole data set only."""
    return shown.unit in ("share", "px", "count")


def heading(shown: Column) -> str:
    """Return a column's heading with its unit where the label leaves it open."""
    if re.search(r"@[\d.]+$", shown.label):
        return f"{shown.label} px"
    return f"{shown.label} ms" if shown.unit == "ms" and "ms" not in shown.label.split() else shown.label
