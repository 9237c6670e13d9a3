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
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.check.config import CheckConfig, GateKind, MetricGate, Severity, gates_of
from bench.metrics.columns import current_names, metrics_of
from bench.metrics.record import Column
from bench.schema import ProtocolConfig
from bench.stats import Decision, Difference, cluster_codes, holm, mean_difference, t_p_value
from bench.summary.measures import Measure, measures

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
        The values of the summary, over the pairs that both sides have a value for.
    change, low, high : float
        Mean of candidate - baseline, or geometric mean of candidate / baseline, minus 1, with its interval.
    limit : float
        The change at which the margin is used up.
    effect, margin, standard_error : float
        On the scale of the test (natural logarithm for ratios); `effect` is positive where the candidate is better.
    credit, discount : float
        On the same scale: how much better the candidate, and the baseline, may be than measured, because neighbours
        took a share of their times. The interval includes them; a failure must stand in spite of the credit, an
        improvement in spite of the discount.
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
    credit: float = 0.0
    discount: float = 0.0


def compare_values(
    method: str,
    metric: str,
    gate: MetricGate,
    candidate: Floats,
    baseline: Floats,
    clusters: Sequence[str],
    config: CheckConfig,
) -> Comparison | None:
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
    if gate.kind == GateKind.ratio:
        with np.errstate(divide="ignore"):
            a, b = np.log(a + gate.offset), np.log(b + gate.offset)
        positive = np.isfinite(a) & np.isfinite(b)
        a, b = a[positive], b[positive]
        keep[np.flatnonzero(keep)[~positive]] = False
        if not len(a):
            return None
    codes, _ = cluster_codes(np.asarray(clusters, dtype=object)[keep].astype(str))
    found = mean_difference(a, b, codes, level=1 - 2 * config.alpha)
    means = float(baseline[keep].mean()), float(candidate[keep].mean())
    lost = len(candidate) - len(a)
    remark = f"{lost} pairs without a value" if lost else ""
    return comparison_of(method, metric, gate, found, means, len(a), remark)


def comparison_of(
    method: str,
    metric: str,
    gate: MetricGate,
    found: Difference,
    means: tuple[float, float],
    n: int,
    remark: str = "",
    doubt: tuple[float, float] = (0.0, 0.0),
) -> Comparison:
    """Turn an estimated difference (of logarithms for ratios) into a comparison; the verdict comes with `decide`.

    Another question than :func:`bench.summary.table.judge` answers: a gate asks whether a loss beyond its margin can be
    ruled out (non-inferiority, one-sided), a summary whether there is any difference (two-sided).

    `doubt` says how much better the candidate and the baseline may be than measured; it widens the interval.
    """
    credit, discount = doubt
    sign = 1.0 if gate.better == "higher" else -1.0
    ratio = gate.kind == GateKind.ratio
    margin = -math.log1p(-sign * gate.margin) * sign if ratio else gate.margin
    effect = sign * found.value
    effect_low, effect_high = sorted((sign * found.low, sign * found.high))
    effect_low, effect_high = effect_low - discount, effect_high + credit
    low, high = sorted((sign * effect_low, sign * effect_high))

    def shown(value: float) -> float:
        return math.expm1(value) if ratio else value

    if found.n_clusters < 2:
        remark = "; ".join(filter(None, [remark, "one cluster: no interval"]))
    p_value = t_p_value(effect + credit + margin, found.standard_error, found.n_clusters)
    return Comparison(
        method,
        metric,
        gate.kind,
        _unit(metric),
        *means,
        shown(found.value),
        shown(low),
        shown(high),
        shown(-sign * margin),
        effect,
        effect_low,
        margin,
        found.standard_error,
        n,
        found.n_clusters,
        p_value,
        decides=gate.severity == Severity.fail,
        remark=remark,
        credit=credit,
        discount=discount,
    )


def gates(config: CheckConfig, protocol: ProtocolConfig) -> dict[str, MetricGate]:
    """Gates of the configuration, and of the protocol's other metrics whose record has a margin."""
    found = {current_names([name]).get(name, name): gate for name, gate in config.metrics.items()}
    for metric in metrics_of(protocol):
        for name, gate in gates_of(metric.columns).items():
            found.setdefault(name, gate)
    return found


def compare_pairs(
    aligned: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], config: CheckConfig, protocol: ProtocolConfig
) -> tuple[list[Comparison], list[tuple[str, str]]]:
    """Compare every metric with a gate of every method.

    Returns
    -------
    comparisons : list of Comparison
    missing : list of (method, metric)
        The baseline has the metric, the candidate does not.
    """
    found, missing = [], []
    for method, sides in aligned.items():
        clusters = sides[0]["sequence"].to_list()
        measured = [measures(side, protocol) for side in sides]
        for metric, gate in gates(config, protocol).items():
            a, b = (own.get(metric) or _row_column(side, metric) for own, side in zip(measured, sides, strict=True))
            if b is None:
                continue
            if a is None:
                missing.append((method, metric))
                continue
            comparison = compare_values(method, metric, gate, per_pair(a), per_pair(b), clusters, config)
            if comparison is not None:
                keep = np.isfinite(per_pair(a)) & np.isfinite(per_pair(b))
                shown = (a.masked(keep).value, b.masked(keep).value)
                found.append(replace(comparison, candidate=shown[0], baseline=shown[1]))
    return found, missing


def per_pair(measure: Measure) -> Floats:
    """(N,) float64 value of each pair, mean over repeats; NaN where it is undefined."""
    values = measure.terms.mean(axis=1)
    return np.asarray(np.exp(values) if measure.kind == "geometric" else values)


def _row_column(rows: pd.DataFrame, name: str) -> Measure | None:
    """A column of the rows that no column of the summary is made from."""
    if name not in rows or not pd.api.types.is_numeric_dtype(rows[name]) or rows[name].isna().all():
        return None
    values = rows[name].to_numpy(np.float64, na_value=np.nan)[:, None]
    return Measure(name, Column(name, name, "", "neither", name), "mean", values)


def _unit(metric: str) -> str:
    """Unit shown beside a value; none for shares and counts."""
    found = re.search(r"_(px|ms)$", metric)
    return found[1] if found else ""


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
            elif p_adjusted <= alpha and one.effect + one.credit < -one.margin:
                verdict = Decision.FAIL
            decided[i] = replace(
                one,
                p_adjusted=float(p_adjusted),
                verdict=verdict,
                improved=bool(gain <= alpha and one.effect > one.discount),
            )
    return decided


def _p_gain(one: Comparison) -> float:
    """p-value of "not better than the baseline"."""
    return t_p_value(one.discount - one.effect, one.standard_error, one.n_clusters)


def _or_one(p_value: float) -> float:
    return 1.0 if math.isnan(p_value) else p_value
