"""From rows of ``pairs.parquet`` to the numbers of the table: one :class:`Measure` per column of the metrics' records.

Summary and regression gate use the same measures, so they give one quantity one value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.types import Outcome
from bench.metrics.columns import COUNTS, metrics_of
from bench.metrics.homography import as_errors, auc_terms, auc_trapezoid
from bench.metrics.record import Column, filled
from bench.schema import ProtocolConfig
from bench.schema.options import AucKind
from bench.stats import quantile

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
CLIP_PX = (0.1, 50.0)
"""Errors of a geometric mean are clipped to this."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Per-pair values of one metric and how they become one number.

    Attributes
    ----------
    metric : str
        Name in the summary table.
    column : Column
        Its record.
    kind : str
        ``mean``: mean over pairs of the mean over repeats. ``median``: median over pairs and repeats. ``trapezoid``:
        trapezoid AUC of each repeat, mean over repeats. ``geometric``: e to the mean over pairs of the mean over
        repeats.
    values : (N, R) float64
        R is 1 where nothing is repeated. NaN: undefined for the pair; such pairs are left out.
    threshold_px : float
    """

    metric: str
    column: Column
    kind: str
    values: Floats
    threshold_px: float = 0.0

    @property
    def defined(self) -> NDArray[np.bool_]:
        """(N,) pairs for which the metric is defined."""
        return np.asarray(~np.isnan(self.values).any(axis=1))

    def masked(self, keep: NDArray[np.bool_]) -> Measure:
        """The same measure with the pairs outside `keep` undefined."""
        if keep[self.defined].all():
            return self
        return replace(self, values=np.where(keep[:, None], self.values, np.nan))

    @property
    def terms(self) -> Floats:
        """(N, R) values whose mean the metric is (for the trapezoid AUC: of the exact AUC, at most 1/(2N) less)."""
        return auc_terms(self.values, self.threshold_px) if self.kind == "trapezoid" else self.values

    @property
    def value(self) -> float:
        """The number of the table, over all pairs with a value; NaN without any."""
        values = self.values[self.defined]
        if not len(values):
            return math.nan
        if self.kind == "median":
            return quantile(values.reshape(-1), 0.5)
        if self.kind == "trapezoid":
            return float(np.mean([auc_trapezoid(errors, self.threshold_px) for errors in values.T]))
        mean = float(values.mean(axis=1).mean())
        return math.exp(mean) if self.kind == "geometric" else mean


def measures(rows: pd.DataFrame, protocol: ProtocolConfig, names: Sequence[str] = ()) -> dict[str, Measure]:
    """Every metric of one method that intervals and paired differences apply to.

    Parameters
    ----------
    rows : DataFrame
        Rows of one method, (N,) pairs. Columns that are absent or empty give no measure.
    protocol : ProtocolConfig
    names : sequence of str
        Metrics that are wanted; none: every one.

    Returns
    -------
    dict
        Metric name to measure, in the order of the protocol's metrics.
    """
    columns = [*COUNTS, *(column for metric in metrics_of(protocol) for column in metric.columns)]
    found = {}
    for column in columns:
        if column.reduction != "other":
            for place, (name, t) in enumerate(column.names(protocol)):
                if names and name not in names:
                    continue
                kind, values = _values(rows, column, protocol, place, t)
                if values is not None and not np.isnan(values).all():
                    found[name] = Measure(name, column, kind, values, t)
    return found


def _values(
    rows: pd.DataFrame, column: Column, protocol: ProtocolConfig, place: int, threshold_px: float
) -> tuple[str, Floats | None]:
    """Kind of a measure and its values, (N, R); None where a column it is made from is absent."""
    parts = [stacked(rows, filled(source, threshold_px)) for source in column.sources]
    given = [part for part in parts if part is not None]
    if len(given) < len(parts):
        return "mean", None
    values = given[0] if len(given) == 1 else np.asarray(np.mean(given, axis=0))
    if column.reduction == "mean":
        # glue-factory aggregates everything that is not an accuracy, an AUC or a curve by the median over pairs.
        return protocol.homography.aggregate, values
    if column.reduction == "curve":
        return "mean", values[:, place : place + 1]
    missing = np.isnan(values).all(axis=1, keepdims=True)
    errors = as_errors(values)
    kind: str = column.reduction
    if column.reduction == "at_most":
        kind, errors = "mean", (errors <= threshold_px).astype(np.float64)
    elif column.reduction == "geometric":
        errors = np.log(np.clip(errors, *CLIP_PX))
    elif column.reduction == "auc":
        kind = "trapezoid"
        if protocol.homography.auc == AucKind.exact:
            kind, errors = "mean", auc_terms(errors, threshold_px)
    return kind, np.where(missing, np.nan, errors)


def stacked(rows: pd.DataFrame, name: str) -> Floats | None:
    """Column of numbers, or of lists of one length, as (N, R) float64, missing rows as NaN; None if absent or empty."""
    if name not in rows or rows[name].isna().all():
        return None
    if rows[name].dtype != object:
        return np.asarray(rows[name].to_numpy(dtype=np.float64, na_value=np.nan))[:, None]
    items: list[Any] = rows[name].to_list()
    width = max(np.size(item) for item in items if item is not None)
    values = np.full((len(items), width), np.nan)
    for row, item in enumerate(items):
        if item is not None:
            values[row] = item
    return values


def failure_counts(rows: pd.DataFrame) -> dict[str, int]:
    """Pairs without a result, by kind of failure, and all of them together as ``failures``."""
    found = rows["outcome"].astype(str).value_counts()
    kinds = [str(outcome) for outcome in Outcome if outcome is not Outcome.OK]
    counts = {f"failures_{kind}": int(found.get(kind, 0)) for kind in kinds}
    return {"failures": sum(counts.values()), **counts}
