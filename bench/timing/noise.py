"""What a time is worth: tell a quiet machine from a noisy one, and how far a measured time may be off.

In every block of a run the calibration kernel is timed (the speed of a core, and how long it was interrupted), and what
neighbours took of the processors (:mod:`bench.timing.neighbours`). That does not veto a time: it widens its interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.timing.calibration import KERNEL, WINDOW_MS

if TYPE_CHECKING:
    import pandas as pd

DRIFT_LIMIT = 0.10
SPREAD_LIMIT = 0.25
TAKEN_LIMIT = 0.05
BUSY_LIMIT = 0.25
SMOOTHED_BLOCKS = 5
"""The kernel takes milliseconds, a block seconds: its median over this many blocks stands for the machine's speed."""
_MIN_SAMPLES = 10


def machine(times: pd.DataFrame) -> pd.DataFrame:
    """The machine during each block, from the rows of times.parquet.

    Returns
    -------
    DataFrame
        Indexed by (repeat, block), in order of time: ``calibration_ms``, and ``taken``, the share of the block that
        neighbours took or, if it is larger, the share of the whole run for which the kernel was interrupted, which
        needs all blocks to be known. NaN where neither was recorded.
    """
    rows = times[times["method"] == "calibration"]

    def measured(stage: str) -> pd.Series:
        found = rows[rows["stage"] == stage].set_index(["repeat", "block"])["ms"].astype(np.float64)
        return found[~found.index.duplicated()].sort_index()

    taken = measured("lost") / measured("block")
    stopped = measured("interrupted")
    if len(stopped):
        share = float(stopped.sum() / (stopped.sum() + WINDOW_MS * len(stopped)))
        taken = taken.reindex(taken.index.union(stopped.index)).clip(lower=share)
        taken = taken.fillna(share) if share > 0 else taken
    return measured("calibration").to_frame("calibration_ms").join(taken.rename("taken"), how="outer")


def smoothed(calibration_ms: pd.Series) -> pd.Series:
    """Running median over blocks of the calibration kernel: one interrupted call is not a slow machine."""
    return calibration_ms.rolling(SMOOTHED_BLOCKS, center=True, min_periods=1).median()


def drift(ms: NDArray[np.float64]) -> float:
    """Relative change of the median from the first to the last fifth of the samples, in order of time."""
    fifth = max(1, len(ms) // 5)
    return float(np.median(ms[-fifth:]) / np.median(ms[:fifth]) - 1)


def spread(ms: NDArray[np.float64]) -> float:
    """Relative distance of the 90th percentile from the median."""
    return float(np.percentile(ms, 90) / np.median(ms) - 1)


def taken_at(taken: NDArray[np.float64], q: float) -> float:
    """Share of a time that neighbours took, for the quantile q of the times: the same quantile over blocks.

    0 where nothing was recorded. The median of the times barely depends on a few disturbed blocks, the 90th percentile
    does.
    """
    known = taken[np.isfinite(taken)]
    return float(np.quantile(known, q)) if len(known) else 0.0


def widen(low: float, high: float, blocks: pd.DataFrame, q: float) -> tuple[float, float]:
    """Interval of a time on an undisturbed machine, from the interval of the times as measured.

    Without neighbours the time would have been smaller by at most the share they took: ``low (1 - taken)``. A machine
    whose speed varies from block to block (standard deviation s of the logarithm of the smoothed calibration kernel)
    was measured at one of its speeds: both limits move by a factor ``exp(1.96 s)``.

    Parameters
    ----------
    low, high : float
        In any unit of time.
    blocks : DataFrame
        As :func:`machine` gives it.
    q : float
        Quantile of the times: 0.5 for a median.
    """
    kernel = smoothed(blocks["calibration_ms"].dropna()).to_numpy(np.float64)
    factor = math.exp(1.96 * float(np.log(kernel).std())) if len(kernel) else 1.0
    return low * (1 - taken_at(blocks["taken"].to_numpy(np.float64), q)) / factor, high * factor


def verdict(
    blocks: pd.DataFrame, busy_before: float | None, turn: Mapping[str, Any] | None = None
) -> dict[str, object]:
    """Say whether the machine was disturbed during a run.

    Parameters
    ----------
    blocks : DataFrame
        As :func:`machine` gives it.
    busy_before : float or None
        Share of the processors that others used before the run, 0 to 1; decides where nothing was recorded during the
        run.
    turn : mapping, optional
        Whether the run was alone; see :meth:`bench.timing.turns.Turn.record`.

    Returns
    -------
    dict
        ``noisy`` (bool), ``reasons`` (list of sentences), ``kernel`` (which one), ``calibration_drift``,
        ``calibration_spread``, ``taken_median`` and ``taken_p90`` (over blocks), ``alone`` (no other run of bench on
        the host); None where not measured.
    """
    reasons = []
    alone = (turn or {}).get("alone")
    if alone is False and (turn or {}).get("timed"):
        reasons.append(
            f"not alone: {', '.join((turn or {}).get('beside', ()))} ran beside it on this host, so its times are not "
            "comparable with those of other runs"
        )
    result: dict[str, object] = dict.fromkeys(
        ("calibration_drift", "calibration_spread", "taken_median", "taken_p90"), None
    )
    kernel = blocks["calibration_ms"].dropna().to_numpy(np.float64)
    if len(kernel) >= _MIN_SAMPLES:
        moved, width = drift(kernel), spread(kernel)
        result |= {"calibration_drift": moved, "calibration_spread": width}
        if abs(moved) > DRIFT_LIMIT:
            reasons.append(
                f"the calibration kernel drifted by {moved:+.0%} from the first to the last fifth of the run"
            )
        if width > SPREAD_LIMIT:
            reasons.append(f"the calibration kernel's 90th percentile lies {width:.0%} above its median")
    taken = blocks["taken"].dropna().to_numpy(np.float64)
    if len(taken):
        typical, bad = taken_at(taken, 0.5), taken_at(taken, 0.9)
        result |= {"taken_median": typical, "taken_p90": bad}
        if typical > TAKEN_LIMIT or bad > 5 * TAKEN_LIMIT:
            reasons.append(
                f"other processes, or limits, took {typical:.0%} of the time that the methods wanted (median over "
                f"blocks; 90th percentile {bad:.0%})"
            )
    elif busy_before is not None and busy_before > BUSY_LIMIT:
        reasons.append(f"other processes used {busy_before:.0%} of the processor before the run")
    return {"noisy": bool(reasons), "reasons": reasons, "kernel": KERNEL, "alone": alone, **result}
