"""Extraction times of two runs: ratio of medians and of 90th percentiles, with a paired block bootstrap.

A block is a few images that all methods processed within seconds. The two runs processed the same images in the same
blocks, so blocks are drawn for both runs together: what differs between images cancels. Times are divided by those of
the calibration kernel around the block, so that a slower machine, or a slow minute, is not a regression of the method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.check.config import CheckConfig, MetricGate
from bench.check.decide import Comparison, judge
from bench.stats import (
    Decision,
    Difference,
    cluster_codes,
    cluster_weights,
    percentile_interval,
    quantile,
    quantile_draws,
)

_SMOOTHED_BLOCKS = 5
"""The kernel takes milliseconds, a block seconds: its median over this many blocks stands for the machine's speed."""


def compare_times(
    candidate: pd.DataFrame, baseline: pd.DataFrame, methods: Mapping[str, str], config: CheckConfig
) -> tuple[list[Comparison], str]:
    """Compare the extraction times of two runs.

    Parameters
    ----------
    candidate, baseline : DataFrame
        As :func:`bench.check.evidence.extraction_times` gives them.
    methods : mapping
        Candidate method -> baseline method.

    Returns
    -------
    comparisons : list of Comparison
        ``latency_median_ms`` and ``latency_p90_ms`` of every method: the times that were measured, and their change
        at the baseline's machine speed.
    remark : str
        How the times were normalised.
    """
    candidate, baseline = (side.assign(at_speed=side["ms"]) for side in (candidate, baseline))
    speeds = [machine_ms(side) for side in (candidate, baseline)]
    remark = "not normalised (latency.normalise=false)"
    if config.latency.normalise:
        remark = "not normalised: a run has no calibration times"
        if all(np.isfinite(speed).all() and len(speed) for speed in speeds):
            usual = [float(np.median(speed)) for speed in speeds]
            slower = usual[0] / usual[1]
            remark = (
                f"changes normalised: the calibration kernel took {slower:.2f} times as long on the candidate's machine"
            )
            candidate = candidate.assign(at_speed=candidate["ms"] * usual[1] / speeds[0])
            baseline = baseline.assign(at_speed=baseline["ms"] * usual[1] / speeds[1])
    found = []
    for name, reference in methods.items():
        a, b = candidate[candidate["method"] == name], baseline[baseline["method"] == reference]
        if len(a) and len(b):
            found += _ratios(name, a, b, config)
    return found, remark


def machine_ms(times: pd.DataFrame) -> NDArray[np.float64]:
    """Time of the calibration kernel around each row's block: a running median over blocks in order of time."""
    blocks = times.groupby(["repeat", "block"], sort=True)["calibration_ms"].first()
    smooth = blocks.rolling(_SMOOTHED_BLOCKS, center=True, min_periods=1).median()
    index = pd.MultiIndex.from_frame(times[["repeat", "block"]])
    return np.asarray(smooth.reindex(index).to_numpy(np.float64))


def _ratios(name: str, a: pd.DataFrame, b: pd.DataFrame, config: CheckConfig) -> list[Comparison]:
    times = [side["at_speed"].to_numpy(np.float64) for side in (a, b)]
    labels = [(side["repeat"].astype(str) + "/" + side["block"].astype(str)).to_numpy(str) for side in (a, b)]
    codes, n = cluster_codes(np.concatenate(labels))
    weights = cluster_weights(n, config.draws, config.seed)
    split = len(times[0])
    parts = [codes[:split], codes[split:]]
    found = []
    for metric, q, margin in (
        ("latency_median_ms", 0.5, config.latency.median_margin),
        ("latency_p90_ms", 0.9, config.latency.p90_margin),
    ):
        values = [quantile(side, q) for side in times]
        measured = [quantile(side["ms"], q) for side in (a, b)]
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = np.log(
                quantile_draws(times[0], parts[0], weights, q) / quantile_draws(times[1], parts[1], weights, q)
            )
        low, high = percentile_interval(drawn, n, 1 - 2 * config.alpha)
        spread = float(np.nanstd(drawn, ddof=1)) * math.sqrt(n / (n - 1)) if n > 1 else math.nan
        gate = MetricGate(margin, kind="ratio", better="lower", severity=config.latency.severity)
        difference = Difference(math.log(values[0] / values[1]), low, high, spread, n)
        found.append(judge(name, metric, gate, difference, (measured[1], measured[0]), len(times[0]), f"{n} blocks"))
    return found


def hold_back(comparisons: list[Comparison], reason: str) -> list[Comparison]:
    """Latency of a noisy run decides nothing: every verdict becomes inconclusive, with the reason."""
    return [
        replace(one, verdict=Decision.INCONCLUSIVE, improved=False, remark=f"{one.remark}; {reason}")
        if one.metric.startswith("latency")
        else one
        for one in comparisons
    ]
