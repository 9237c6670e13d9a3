"""One comparison per method and metric, and the verdict of each.

With d the mean effect, positive where the candidate is better, and m the margin:

- *pass*: the (1 - 2 alpha) interval of d lies above -m. A candidate that is worse by more than m passes with
  probability alpha at most. The check passes only if every comparison does, so this needs no correction
  (intersection-union test).
- *fail*: Holm's adjusted one-sided p-value of "d >= -m" is at most alpha. Over all comparisons of the check, a false
  failure has probability alpha at most.
- *inconclusive*: neither.

Intervals and p-values of means use the variance between sequences and the t distribution of (sequences - 1) degrees of
freedom. Latency ratios draw whole timing blocks (bootstrap); their p-values use the standard error of the draws: the
share of draws beyond -m cannot become small enough for Holm and is too small with few blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.check.config import CheckConfig, MetricGate
from bench.stats import Decision, Difference, cluster_codes, holm, mean_difference, t_p_value

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate against baseline in one metric.

    Attributes
    ----------
    method, metric : str
    kind : str
        difference or ratio.
    unit : str
    baseline, candidate : float
        Means; geometric means for ratios; percentiles for latency.
    change, low, high : float
        Candidate - baseline, or candidate / baseline - 1, with its interval.
    limit : float
        The change at which the margin is used up.
    effect, margin, standard_error : float
        On the scale of the test (natural logarithm for ratios); `effect` is positive where the candidate is better.
    n, n_clusters : int
        Observations and clusters used.
    p_value, p_adjusted : float
        Of "not worse than the margin".
    verdict : Decision
    improved : bool
        Better than the baseline with Holm's correction.
    decides : bool
        False: reported only.
    remark : str
    """

    method: str
    metric: str
    kind: str
    unit: str
    baseline: float
    candidate: float
    change: float
    low: float
    high: float
    limit: float
    effect: float
    effect_low: float
    margin: float
    standard_error: float
    n: int
    n_clusters: int
    p_value: float
    p_adjusted: float = math.nan
    verdict: Decision = Decision.INCONCLUSIVE
    improved: bool = False
    decides: bool = True
    remark: str = ""


def unit_of(metric: str) -> str:
    """Unit of a metric by its name; empty for shares and counts."""
    if metric.startswith("latency"):
        return "ms"
    return "px" if metric.endswith("error_px") else ""


def compare_values(
    method: str, metric: str, gate: MetricGate, candidate: Floats, baseline: Floats, clusters: Sequence[str],
    config: CheckConfig,
) -> Comparison | None:  # fmt: skip
    """Compare paired values.

    Parameters
    ----------
    candidate, baseline : (N,) float64
        Row i of both is the same pair; NaN where the metric is undefined.
    clusters : (N,) sequence of str

    Returns
    -------
    Comparison or None
        None if no pair has the metric on both sides.
    """
    keep = np.isfinite(candidate) & np.isfinite(baseline)
    if not keep.any():
        return None
    a, b = candidate[keep], baseline[keep]
    if gate.kind == "ratio":
        with np.errstate(divide="ignore"):
            a, b = np.log(a + gate.offset), np.log(b + gate.offset)
        positive = np.isfinite(a) & np.isfinite(b)
        a, b = a[positive], b[positive]
        keep[np.flatnonzero(keep)[~positive]] = False
        if not len(a):
            return None
    codes, _ = cluster_codes(np.asarray(clusters, dtype=object)[keep].astype(str))
    found = mean_difference(a, b, codes, level=1 - 2 * config.alpha)
    means = (float(b.mean()), float(a.mean()))
    if gate.kind == "ratio":
        means = (math.exp(means[0]) - gate.offset, math.exp(means[1]) - gate.offset)
    lost = len(candidate) - len(a)
    remark = f"{lost} pairs without a value" if lost else ""
    return judge(method, metric, gate, found, means, len(a), remark)


def judge(
    method: str, metric: str, gate: MetricGate, found: Difference, means: tuple[float, float], n: int, remark: str = ""
) -> Comparison:
    """Turn an estimated difference (of logarithms for ratios) into a comparison; the verdict comes with `decide`."""
    sign = 1.0 if gate.better == "higher" else -1.0
    ratio = gate.kind == "ratio"
    margin = -math.log1p(-sign * gate.margin) * sign if ratio else gate.margin
    effect_low = min(sign * found.low, sign * found.high)
    effect = sign * found.value

    def shown(value: float) -> float:
        return math.expm1(value) if ratio else value

    if found.n_clusters < 2:
        remark = "; ".join(filter(None, [remark, "one cluster: no interval"]))
    p_value = t_p_value(effect + margin, found.standard_error, found.n_clusters)
    return Comparison(
        method, metric, gate.kind, unit_of(metric), *means, shown(found.value), shown(found.low), shown(found.high),
        shown(-sign * margin), effect, effect_low, margin, found.standard_error, n, found.n_clusters, p_value,
        decides=gate.severity == "fail", remark=remark,
    )  # fmt: skip


def compare_pairs(
    aligned: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], config: CheckConfig
) -> tuple[list[Comparison], list[tuple[str, str]]]:
    """Compare every configured metric of every method.

    Returns
    -------
    comparisons : list of Comparison
    missing : list of (method, metric)
        The baseline has the metric, the candidate does not.
    """
    found, missing = [], []
    for method, (candidate, baseline) in aligned.items():
        clusters = candidate["sequence"].to_list()
        for metric, gate in config.metrics.items():
            a, b = (_column(side, metric) for side in (candidate, baseline))
            if b is None or np.isnan(b).all():
                continue
            if a is None or np.isnan(a).all():
                missing.append((method, metric))
                continue
            comparison = compare_values(method, metric, gate, a, b, clusters, config)
            if comparison is not None:
                found.append(comparison)
    return found, missing


def _column(rows: pd.DataFrame, metric: str) -> Floats | None:
    return rows[metric].to_numpy(np.float64, na_value=np.nan) if metric in rows else None


def compare_samples(outputs: pd.DataFrame, config: CheckConfig) -> list[Comparison]:
    """Compare the samples of :func:`bench.check.outputs.compare_outputs` with "all found, nothing changed"."""
    gates = {
        "keypoints_found": (1.0, MetricGate(config.outputs.keypoint_margin)),
        "descriptor_change": (0.0, MetricGate(config.outputs.descriptor_margin, better="lower")),
    }
    found = []
    for method, rows in outputs.groupby("method", sort=False):
        for metric, (ideal, gate) in gates.items():
            values = rows[metric].to_numpy(np.float64)
            comparison = compare_values(
                str(method), metric, gate, values, np.full(len(values), ideal), rows["sequence"].to_list(), config
            )
            if comparison is not None:
                found.append(replace(comparison, remark=f"{comparison.n} images"))
    return found


def decide(comparisons: Sequence[Comparison], alpha: float) -> list[Comparison]:
    """Adjust the p-values of the deciding comparisons and give every comparison its verdict."""
    decided = list(comparisons)
    for chosen in (True, False):  # comparisons that decide nothing do not cost the others power
        places = [i for i, comparison in enumerate(decided) if comparison.decides is chosen]
        adjusted = holm([_or_one(decided[i].p_value) for i in places])
        gains = holm([_or_one(_p_gain(decided[i])) for i in places])
        for i, p_adjusted, gain in zip(places, adjusted, gains, strict=True):
            one = decided[i]
            verdict = Decision.INCONCLUSIVE
            if one.effect_low > -one.margin:
                verdict = Decision.PASS
            elif p_adjusted <= alpha and one.effect < -one.margin:
                verdict = Decision.FAIL
            decided[i] = replace(
                one, p_adjusted=float(p_adjusted), verdict=verdict, improved=bool(gain <= alpha and one.effect > 0)
            )
    return decided


def _p_gain(one: Comparison) -> float:
    """p-value of "not better than the baseline"."""
    return t_p_value(-one.effect, one.standard_error, one.n_clusters)


def _or_one(p_value: float) -> float:
    return 1.0 if math.isnan(p_value) else p_value
