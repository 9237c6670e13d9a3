"""How a number of the summary is written."""

from __future__ import annotations

import math
import re

DASH = "–"


def format_value(unit: str, value: float | None) -> str:
    """Write one value; a missing or NaN value is a dash, never an empty cell or a zero.

    Parameters
    ----------
    unit : str
        Of `bench.metrics.record.Column`.
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
