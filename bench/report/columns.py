"""Which metrics each table shows and how values are written. What a metric is stands in `bench.metrics.columns`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from bench.metrics.columns import Column, column

DASH = "–"

_T = r"_[\d.]+px"
MAIN = (
    f"accuracy{_T}", "auc_5px", "n_keypoints", "n_matches", "inlier_ratio", "failures",
    "latency_median_ms", "latency_p90_ms", "speedup", "peak_memory_mb",
)  # fmt: skip
_TIME = ("latency_median_ms", "latency_p90_ms", "speedup", "peak_memory_mb")
MATCHING = ("mma_1px", "mma_3px", "mma_5px", "mma_10px", "n_keypoints", "n_matches", "failures", *_TIME)
"""The main table of a protocol without homographies."""
HEADLINE = (f"accuracy{_T}",)
DIFFERENCES = (f"accuracy{_T}", "auc_5px", "repeatability", "localisation_error_px", "nn_map", "matching_score")
DETECTORS = ("repeatability", "repeatability_one_to_one", "localisation_error_px", "n_keypoints")
REPEATABILITY = (*DETECTORS, "failures", *_TIME)
"""The main table of a protocol without descriptors."""
DESCRIPTORS = ("nn_map", "matching_score", "mma_3px", f"match_precision{_T}", f"match_recall{_T}")
HOMOGRAPHY = (f"auc{_T}", "corner_error_median_px", f"dlt_accuracy{_T}", f"dlt_auc{_T}")
NOISE = (f"order_noise{_T}", f"flip_share{_T}", "failed_repeat_share")
FAILURES = ("failures", r"failures_\w+")
COSTS = (
    "preprocess_ms", "infer_ms", "decode_ms", "match_ms", "estimate_ms", "latency_p99_ms", "load_ms", "compile_ms",
    "compile_cold_ms", "compile_cached_ms",
    "first_inference_ms", "throughput_per_s", "peak_memory_mb",
)  # fmt: skip
"""Metric names or regular expressions, in the order of the columns."""


def threshold_px(metric: str) -> float:
    """Return the number before ``px`` in a metric's name; 0 where there is none."""
    match = re.search(r"_([\d.]+)px$", metric)
    return float(match[1]) if match else 0.0


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


def format_value(unit: str, value: float | None) -> str:
    """Write one value; a missing or NaN value is a dash, never an empty cell or a zero.

    Parameters
    ----------
    unit : str
        Of `bench.metrics.columns.Column`.
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "share":
        return f"{value:.3f}"
    if unit == "ratio":
        return f"{value:.2f}×" if abs(value) < 10 else f"{value:.1f}×"
    if unit == "px":
        return f"{value:.2f}"
    if unit == "MB":
        return f"{value:.0f}"
    if unit == "count":
        return f"{value:.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.1f}"
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 3)}f}"


def format_interval(unit: str, low: float | None, high: float | None) -> str:
    """Write an interval as ``[low, high]``; empty where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"[{format_value(unit, low)}, {format_value(unit, high)}]"


def format_difference(unit: str, value: float | None) -> str:
    """Write a difference with its sign; a difference that rounds to zero has none."""
    text = format_value(unit, value)
    if value is None or text == DASH or not re.search(r"[1-9∞]", text):
        return text.removeprefix("-")
    return f"+{text}" if value > 0 else text
