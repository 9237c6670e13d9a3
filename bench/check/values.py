"""Per-pair values the gate compares: columns of pairs.parquet, and two made from the repeated corner errors."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ERROR_FLOOR_PX = 0.1
ERROR_CAP_PX = 50.0


def thresholds_px(rows: pd.DataFrame) -> list[float]:
    """Corner error thresholds of the protocol, read from the columns ``success_{t}px``."""
    found = [re.fullmatch(r"success_(.+)px", str(name)) for name in rows.columns]
    return sorted(float(match[1]) for match in found if match)


def repeated_errors(rows: pd.DataFrame) -> NDArray[np.float64] | None:
    """Corner errors of all repeats in pixels, (N, R); rows without a homography are NaN. None if no row has one."""
    if "corner_errors_px" not in rows:
        return None
    lists = rows["corner_errors_px"].to_list()
    repeats = max((len(item) for item in lists if item is not None), default=0)
    if not repeats:
        return None
    errors = np.full((len(lists), repeats), np.nan)
    for row, item in enumerate(lists):
        if item is not None and len(item):
            errors[row, : len(item)] = item
    return errors


def repeated_values(rows: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Values of all repeats, (N, R), of the metrics that depend on the order of the matches.

    ``success_{t}px``; ``auc_{t}px`` with the largest t: ``max(0, 1 - e/t)``, whose mean is the exact area under the
    accuracy curve up to t; ``log_corner_error``: ``ln(clip(e, 0.1, 50))``, so that failures are finite and differences
    far below a pixel do not count.
    """
    errors = repeated_errors(rows)
    limits = thresholds_px(rows)
    if errors is None or not limits:
        return {}
    missing = np.isnan(errors)

    def defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(missing, np.nan, values)

    with np.errstate(invalid="ignore"):
        found = {f"success_{limit:g}px": defined((errors <= limit).astype(np.float64)) for limit in limits}
        found[f"auc_{limits[-1]:g}px"] = defined(np.maximum(0.0, 1.0 - errors / limits[-1]))
        found["log_corner_error"] = defined(np.log(np.clip(errors, ERROR_FLOOR_PX, ERROR_CAP_PX)))
    return found


def with_derived(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``auc_{t}px`` and ``geometric_corner_error_px``, means over repeats, where the rows have corner errors."""
    repeated = repeated_values(rows)
    added = {}
    for name, values in repeated.items():
        has = ~np.isnan(values).all(axis=1)
        mean = np.full(len(values), np.nan)
        mean[has] = np.nanmean(values[has], axis=1)
        if name == "log_corner_error":
            added["geometric_corner_error_px"] = np.exp(mean)
        elif name not in rows:
            added[name] = mean
    return rows.assign(**added)
