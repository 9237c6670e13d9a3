"""From rows of ``pairs.parquet`` to the numbers of the table: one :class:`Measure` per metric, one statistic for both
the value and its bootstrap draws. The summary and the regression gate use the same measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.core.types import Outcome
from bench.metrics.columns import threshold_name
from bench.metrics.homography import as_errors, auc_terms
from bench.schema import ProtocolConfig
from bench.stats import mean_draws, quantile_draws, trapezoid_auc_draws

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MEANS = (
    "n_matches", "n_inliers", "inlier_ratio", "repeatability", "repeatability_one_to_one", "localisation_error_px",
    "nn_map", "matching_score",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """Per-pair values of one metric and how they become one number.

    Attributes
    ----------
    metric : str
        Name in the summary table.
    kind : str
        ``mean``: mean over pairs of the mean over repeats. ``median``: median over pairs and repeats. ``trapezoid``:
        trapezoid AUC of each repeat, mean over repeats.
    values : (N, R) float64
        R is 1 where nothing is repeated. NaN: undefined for the pair; such pairs are left out.
    threshold_px : float
        Of a trapezoid AUC.
    """

    metric: str
    kind: str
    values: Floats
    threshold_px: float = 0.0
    _draws: list[Floats] = field(default_factory=list, repr=False, compare=False)

    def draws(self, codes: Ints, weights: Floats) -> Floats:
        """:func:`statistic` of this measure, computed once: a measure belongs to one set of clusters and weights."""
        if not self._draws:
            self._draws.append(statistic(self, codes, weights))
        return self._draws[0]

    @property
    def defined(self) -> NDArray[np.bool_]:
        """(N,) pairs for which the metric is defined."""
        return np.asarray(~np.isnan(self.values).any(axis=1))

    def masked(self, keep: NDArray[np.bool_]) -> Measure:
        """The same measure with the pairs outside `keep` undefined."""
        if keep[self.defined].all():
            return self
        return Measure(self.metric, self.kind, np.where(keep[:, None], self.values, np.nan), self.threshold_px)

    @property
    def terms(self) -> Floats:
        """(N, R) values whose mean the metric is (for the trapezoid AUC: of the exact AUC, at most 1/(2N) less)."""
        return auc_terms(self.values, self.threshold_px) if self.kind == "trapezoid" else self.values


def statistic(measure: Measure, codes: Ints, weights: Floats) -> Floats:
    """Value of a measure in each bootstrap draw.

    Parameters
    ----------
    measure : Measure
    codes : (N,) int64
        Cluster of each pair.
    weights : (draws, n_clusters) float64
        A row of ones gives the value itself.

    Returns
    -------
    (draws,) float64
    """
    if measure.kind == "mean":
        return mean_draws(measure.values.mean(axis=1), codes, weights)
    if measure.kind == "median":
        repeats = measure.values.shape[1]
        return quantile_draws(measure.values.reshape(-1), np.repeat(codes, repeats), weights, 0.5)
    keep = measure.defined
    columns = measure.values[keep].T
    draws = [trapezoid_auc_draws(errors, codes[keep], weights, measure.threshold_px) for errors in columns]
    return np.asarray(np.mean(draws, axis=0), dtype=np.float64)


def value_of(measure: Measure) -> float:
    """Value of a measure over all its pairs."""
    n = len(measure.values)
    return float(statistic(measure, np.zeros(n, np.int64), np.ones((1, 1)))[0])


def measures(rows: pd.DataFrame, protocol: ProtocolConfig) -> dict[str, Measure]:
    """Every metric of one method that bootstrap intervals and paired differences apply to.

    Parameters
    ----------
    rows : DataFrame
        Rows of one method, (N,) pairs. Columns that are absent or empty give no measure.
    protocol : ProtocolConfig

    Returns
    -------
    dict
        Metric name to measure, in the order of the tables.
    """
    return {measure.metric: measure for measure in _measures(rows, protocol) if measure.defined.any()}


def _measures(rows: pd.DataFrame, protocol: ProtocolConfig) -> Iterator[Measure]:
    thresholds = protocol.homography.thresholds_px
    rule = "trapezoid" if protocol.homography.auc == "trapezoid" else "mean"
    errors = _stacked(rows, "corner_errors_px")
    if errors is not None:
        yield from _error_measures("", as_errors(errors), thresholds, rule)
    dlt = _numbers(rows, "dlt_corner_error_px")
    if dlt is not None:
        yield from _error_measures("dlt_", as_errors(dlt), thresholds, rule)
    # glue-factory aggregates everything that is not an AUC by the median over pairs.
    kind = "median" if protocol.homography.aggregate == "median" else "mean"
    yield Measure("n_keypoints", kind, _mean_of(rows, "n_keypoints_ref", "n_keypoints_target"))
    names = list(_MEANS)
    for prefix in ("match_precision", "match_recall"):
        names += [threshold_name(prefix, t) for t in protocol.precision_px]
    for name in names:
        values = _numbers(rows, name)
        if values is not None:
            yield Measure(name, kind, values)
    curve = _stacked(rows, "mma")
    if curve is not None:
        for t, column in zip(protocol.mma_px, curve.T, strict=True):
            yield Measure(threshold_name("mma", t), "mean", column[:, None])


def _error_measures(prefix: str, errors: Floats, thresholds: list[float], rule: str) -> Iterator[Measure]:
    for t in thresholds:
        yield Measure(threshold_name(f"{prefix}accuracy", t), "mean", (errors <= t).astype(np.float64))
    for t in thresholds:
        values = errors if rule == "trapezoid" else auc_terms(errors, t)
        yield Measure(threshold_name(f"{prefix}auc", t), rule, values, t)
    yield Measure(f"{prefix}corner_error_median_px", "median", errors)


def _numbers(rows: pd.DataFrame, name: str) -> Floats | None:
    """Column as (N, 1) float64, missing values as NaN; None if absent or empty."""
    if name not in rows or rows[name].isna().all():
        return None
    return np.asarray(rows[name].to_numpy(dtype=np.float64, na_value=np.nan))[:, None]


def _mean_of(rows: pd.DataFrame, *names: str) -> Floats:
    return np.asarray(np.mean([rows[name].to_numpy(np.float64) for name in names], axis=0)[:, None])


def _stacked(rows: pd.DataFrame, name: str) -> Floats | None:
    """Column of equally long lists as (N, R) float64; None if absent or empty."""
    if name not in rows or not len(rows) or rows[name].isna().all():
        return None
    return np.stack([np.asarray(item, dtype=np.float64) for item in rows[name]])


def failure_counts(rows: pd.DataFrame) -> dict[str, int]:
    """Pairs without a result, by kind of failure, and all of them together as ``failures``."""
    found = rows["outcome"].astype(str).value_counts()
    kinds = [str(outcome) for outcome in Outcome if outcome is not Outcome.OK]
    counts = {f"failures_{kind}": int(found.get(kind, 0)) for kind in kinds}
    return {"failures": sum(counts.values()), **counts}
