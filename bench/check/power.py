"""What a check could have seen, and what it would take to see more."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.check.config import CheckConfig, GateKind
from bench.check.decide import Comparison
from bench.schema import ProtocolConfig
from bench.stats import minimum_detectable_difference, order_noise, required_clusters
from bench.summary.measures import measures


@dataclass(frozen=True, slots=True)
class Requirement:
    """Sequences one margin needs.

    Attributes
    ----------
    method, metric : str
    margin : float
        On the scale of the test (natural logarithm for ratios).
    n_clusters, repeats : int
        What the measurement had.
    order_share : float
        Part of the variance that more repeats would remove; 0 where the order of the matches plays no role.
    sequences : dict
        Repeats per pair -> sequences needed.
    """

    method: str
    metric: str
    margin: float
    n_clusters: int
    repeats: int
    order_share: float
    sequences: dict[int, int]


def family_level(comparisons: Sequence[Comparison], alpha: float) -> float:
    """Level of a two-sided interval whose one-sided error is that of Holm's first step."""
    family = sum(one.decides for one in comparisons)
    return 1 - 2 * alpha / max(1, family)


def detectable_loss(one: Comparison, level: float, power: float) -> float:
    """Smallest true loss that ends in `fail` with this power: the margin plus what noise and neighbours demand.

    On the scale of the test; NaN without a standard error.
    """
    if one.n_clusters < 2 or math.isnan(one.standard_error):
        return math.nan
    return one.margin + one.credit + minimum_detectable_difference(one.standard_error, level, power, one.n_clusters)


def as_change(one: Comparison, loss: float) -> float:
    """A loss on the scale of the test as a change of the metric: candidate - baseline, or relative for ratios."""
    sign = -1.0 if one.limit < 0 else 1.0
    return math.expm1(sign * loss) if one.kind == GateKind.ratio else sign * loss


def requirements(
    comparisons: Sequence[Comparison],
    aligned: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    config: CheckConfig,
    protocol: ProtocolConfig,
) -> list[Requirement]:
    """Sequences and repeats that each margin needs.

    With that many sequences a candidate without any loss passes, and a candidate with twice the margin's loss fails,
    each with ``config.power``: both need the same standard error, the second with Holm's level for this number of
    comparisons.

    Parameters
    ----------
    comparisons : sequence of Comparison
        Latency is left out: its clusters are blocks.
    aligned : mapping
        Method -> rows of candidate and baseline.
    """
    level = family_level(comparisons, config.alpha)
    found = []
    metrics = {one.metric for one in comparisons}
    noise = {method: _order_sd(sides, metrics, protocol) for method, sides in aligned.items()}
    for one in comparisons:
        if one.metric.startswith("latency") or math.isnan(one.standard_error) or one.margin <= 0:
            continue
        order_sd, repeats = noise.get(one.method, {}).get(one.metric, (0.0, 1))
        share = min(1.0, (order_sd / one.standard_error) ** 2) if one.standard_error > 0 else 0.0
        sequences = {
            planned: required_clusters(
                one.standard_error, one.n_clusters, one.margin, order_sd, repeats, planned, level, config.power
            )
            for planned in (config.plan_repeats if order_sd > 0 else [repeats])
        }
        found.append(Requirement(one.method, one.metric, one.margin, one.n_clusters, repeats, share, sequences))
    return found


def _order_sd(
    sides: tuple[pd.DataFrame, pd.DataFrame], metrics: Collection[str], protocol: ProtocolConfig
) -> dict[str, tuple[float, int]]:
    """Order noise of the mean difference of those `metrics` that are repeated, and the number of repeats."""
    ours, theirs = (measures(side, protocol) for side in sides)
    found = {}
    for name in set(ours) & set(theirs) & set(metrics):
        pair = (ours[name], theirs[name])
        if any(one.values.shape[1] == 1 for one in pair):
            continue
        noise = [order_noise(one.terms[one.defined]) for one in pair]
        spread = math.hypot(*(side.sd_mean for side in noise))
        if math.isfinite(spread):
            found[name] = (spread, noise[0].repeats)
    return found
