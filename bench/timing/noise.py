"""Tell a quiet machine from a noisy one by the calibration kernel and by drift within a run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DRIFT_LIMIT = 0.10
SPREAD_LIMIT = 0.25
BUSY_LIMIT = 0.25
_MIN_SAMPLES = 10


def drift(ms: NDArray[np.float64]) -> float:
    """Relative change of the median from the first to the last fifth of the samples, in order of time."""
    fifth = max(1, len(ms) // 5)
    return float(np.median(ms[-fifth:]) / np.median(ms[:fifth]) - 1)


def spread(ms: NDArray[np.float64]) -> float:
    """Relative distance of the 90th percentile from the median."""
    return float(np.percentile(ms, 90) / np.median(ms) - 1)


def verdict(calibration_ms: NDArray[np.float64], busy_before: float | None) -> dict[str, object]:
    """Say whether times of a run deserve trust.

    Parameters
    ----------
    calibration_ms : (B,) float64
        Times of the calibration kernel in order of time.
    busy_before : float or None
        Share of the processor that others used before the run, 0 to 1. The load average would count the work of the
        minute before, such as the installation.

    Returns
    -------
    dict
        ``noisy`` (bool), ``reasons`` (list of sentences), ``calibration_drift``, ``calibration_spread``.
    """
    reasons = []
    result: dict[str, object] = {"calibration_drift": None, "calibration_spread": None}
    if len(calibration_ms) >= _MIN_SAMPLES:
        moved, width = drift(calibration_ms), spread(calibration_ms)
        result |= {"calibration_drift": moved, "calibration_spread": width}
        if abs(moved) > DRIFT_LIMIT:
            reasons.append(
                f"the calibration kernel drifted by {moved:+.0%} from the first to the last fifth of the run"
            )
        if width > SPREAD_LIMIT:
            reasons.append(f"the calibration kernel's 90th percentile lies {width:.0%} above its median")
    if busy_before is not None and busy_before > BUSY_LIMIT:
        reasons.append(f"other processes used {busy_before:.0%} of the processor before the run")
    return {"noisy": bool(reasons), "reasons": reasons, **result}
