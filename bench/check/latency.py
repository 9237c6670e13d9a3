"""Extraction times of two runs: ratio of medians and of 90th percentiles, with a paired block bootstrap.

A block is a few images that all methods processed within seconds. The two runs processed the same images in the same
blocks, so blocks are drawn for both runs together: what differs between images cancels. Times are divided by those of
the calibration kernel around the block, so that a slower machine, or a slow minute, is not a regression of the method.

Neighbours slow a method down where the kernel finds a core of its own. How much of each block they took is known, so
the interval is widened by it: the candidate may have been faster by what was taken from it, the baseline likewise. Two
methods of one run saw the same neighbours in the same blocks: their ratio stands as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.check.config import CheckConfig, GateKind, MetricGate, NoisyRuns
from bench.check.decide import Comparison, comparison_of
from bench.stats import (
    Decision,
    Difference,
    cluster_codes,
    cluster_weights,
    percentile_interval,
    quantile,
    quantile_draws,
    spread_of,
)
from bench.timing.noise import smoothed, taken_at

_WORTH_A_REMARK = 0.01
"""Share of a time from which on its loss to neighbours is told."""


def compare_times(
    candidate: pd.DataFrame,
    baseline: pd.DataFrame,
    methods: Mapping[str, str],
    config: CheckConfig,
    same_kernel: bool = True,
) -> tuple[list[Comparison], str]:
    """Compare the extraction times of two runs.

    Parameters
    ----------
    candidate, baseline : DataFrame
        As :func:`bench.check.evidence.extraction_times` gives them.
    methods : mapping
        Candidate method -> baseline method.
    same_kernel : bool
        False: the runs timed different calibration kernels, so times are not normalised.

    Returns
    -------
    comparisons : list of Comparison
        ``latency_median_ms`` and ``latency_p90_ms`` of every method: the times that were measured, and their change
        at the baseline's machine speed.
    remark : str
        How the times were normalised.
    """
    candidate, baseline = (side.assign(at_speed=side["ms"]) for side in (candidate, baseline))
    together = same_run(candidate, baseline)
    widen = config.latency.noisy != NoisyRuns.use and not together
    speeds = [machine_ms(side) for side in (candidate, baseline)]
    remark = "not normalised (latency.normalise=false)"
    if not same_kernel:
        remark = "not normalised: the runs have different calibration kernels"
    elif config.latency.normalise:
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
            found += _ratios(name, a, b, config, widen)
    if together:
        remark += "; both sides are blocks of one run"
    return found, remark


def same_run(candidate: pd.DataFrame, baseline: pd.DataFrame) -> bool:
    """True if both sides were measured in the same blocks: equal times of the calibration kernel in every block."""
    sides = [
        side.groupby(["repeat", "block"], sort=True)["calibration_ms"].first().astype(np.float32)
        for side in (candidate, baseline)
    ]
    return bool(sides[0].notna().any() and sides[0].equals(sides[1]))


def taken(times: pd.DataFrame, q: float) -> float:
    """Share of the times' quantile q that neighbours took, by block; 0 where it was not recorded."""
    if "taken" not in times:
        return 0.0
    return taken_at(times.groupby(["repeat", "block"])["taken"].first().to_numpy(np.float64), q)


def taken_is_known(times: pd.DataFrame) -> bool:
    """Whether the run recorded what neighbours took."""
    return "taken" in times and bool(times["taken"].notna().any())


def machine_ms(times: pd.DataFrame) -> NDArray[np.float64]:
    """Time of the calibration kernel around each row's block: a running median over blocks in order of time."""
    blocks = times.groupby(["repeat", "block"], sort=True)["calibration_ms"].first()
    smooth = smoothed(blocks)
    index = pd.MultiIndex.from_frame(times[["repeat", "block"]])
    return np.asarray(smooth.reindex(index).to_numpy(np.float64))


def _ratios(name: str, a: pd.DataFrame, b: pd.DataFrame, config: CheckConfig, widen: bool) -> list[Comparison]:
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
        gate = MetricGate(margin, kind=GateKind.ratio, better="lower", severity=config.latency.severity)
        difference = Difference(math.log(values[0] / values[1]), low, high, spread_of(drawn, n), n)
        doubt, remark = (0.0, 0.0), f"{n} blocks"
        if widen and not (difference.value == low == high == 0):
            shares = taken(a, q), taken(b, q)
            doubt = -math.log1p(-shares[0]), -math.log1p(-shares[1])
            if max(shares) >= _WORTH_A_REMARK:
                remark += (
                    f"; neighbours took {shares[0]:.0%} of the candidate's time, {shares[1]:.0%} of the baseline's"
                )
        found.append(
            comparison_of(name, metric, gate, difference, (measured[1], measured[0]), len(times[0]), remark, doubt)
        )
    return found


def hold_back(comparisons: list[Comparison], reason: str) -> list[Comparison]:
    """Let latency decide nothing: verdicts become inconclusive, with the reason, except where the times are equal.

    An empty reason changes nothing.
    """
    if not reason:
        return comparisons
    return [
        replace(one, verdict=Decision.INCONCLUSIVE, improved=False, remark=f"{one.remark}; {reason}")
        if one.metric.startswith("latency") and not (one.change == one.low == one.high == 0)
        else one
        for one in comparisons
    ]
