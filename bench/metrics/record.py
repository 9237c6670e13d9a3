"""What a metric is: its columns, how rows become one number, and the function that measures a pair.

``{t}`` in a name stands for a threshold in pixels: ``accuracy_3px`` is the column ``accuracy_{t}px`` at 3 px.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from bench.geometry.solve import Estimates, Solved
from bench.schema import ProtocolConfig

Better = Literal["higher", "lower", "neither"]
Reduction = Literal["mean", "at_most", "auc", "median", "geometric", "curve", "other"]
IntervalKind = Literal["share", "mean", "median", "none", "by unit"]
Needs = Literal["keypoints", "matches", "estimates"]


@dataclass(frozen=True, slots=True)
class Margin:
    """How much worse a release may be before ``bench check`` calls it a regression; ``metrics.*`` overrides it.

    Attributes
    ----------
    size : float
        In units of the column, or relative for ratios.
    at_px : float or None
        Threshold of a column with ``{t}``.
    kind : {"difference", "ratio"}
    offset : float
        Added to both sides of a ratio.
    """

    size: float
    at_px: float | None = None
    kind: Literal["difference", "ratio"] = "difference"
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the summary table.

    Attributes
    ----------
    name : str
        In summary, gate and documentation; ``{t}`` for a threshold.
    label : str
        Heading in printed tables.
    unit : str
        ``share`` (0 to 1), ``px``, ``ms``, ``MB``, ``1/s``, ``count`` or ``ratio``.
    better : {"higher", "lower", "neither"}
    definition : str
    rows : tuple of str
        Columns of ``pairs.parquet`` that the value is made from; the mean of several. Empty: `name`.
    reduction : str
        How the pairs' values become one: ``mean`` (or median, where the protocol aggregates so), ``at_most`` (share of
        values up to t), ``auc`` (area under the share of values up to t), ``median`` (over pairs and repeats),
        ``geometric`` (geometric mean of values clipped to 0.1 to 50), ``curve`` (mean of the list's entry for t),
        ``other`` (computed from something else than one value per pair).
    thresholds : str
        Attribute of the protocol that lists t.
    table : str
        Table of the report that shows it: main, homography, noise, detectors, descriptors, failures or costs.
    interval : str
        Kind of :mod:`bench.stats.kinds`, or ``none``; ``by unit``: ``share`` for shares, else ``mean``.
    margins : tuple of Margin
        Empty: not part of ``bench check`` unless its configuration asks for it.
    """

    name: str
    label: str
    unit: str
    better: Better
    definition: str
    rows: tuple[str, ...] = ()
    reduction: Reduction = "mean"
    thresholds: str = ""
    table: str = "main"
    interval: IntervalKind = "by unit"
    margins: tuple[Margin, ...] = ()

    @property
    def higher_is_better(self) -> bool | None:
        """True, False, or None where neither direction is better."""
        return None if self.better == "neither" else self.better == "higher"

    @property
    def interval_kind(self) -> str:
        """`interval` with ``by unit`` resolved."""
        if self.interval != "by unit":
            return self.interval
        return "share" if self.unit == "share" else "mean"

    @property
    def sources(self) -> tuple[str, ...]:
        """Columns of ``pairs.parquet`` that the value is made from."""
        return self.rows or (self.name,)

    def names(self, protocol: ProtocolConfig) -> list[tuple[str, float]]:
        """Name and threshold (0 where there is none) of each column that a protocol asks for."""
        if not self.thresholds:
            return [(self.name, 0.0)]
        return [(filled(self.name, t), t) for t in attrgetter(self.thresholds)(protocol)]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of ``protocol.metrics``.

    Attributes
    ----------
    name : str
    columns : tuple of Column
        Of the summary table.
    measure : callable
        (Solved, Estimates or None) -> columns of one row of ``pairs.parquet``. Called only where the pair has what the
        metric needs; a value may be NaN (undefined for this pair).
    needs : tuple of {"keypoints", "matches", "estimates"}
        What the pair must have; else every column is None. Detectors have no matches, pairwise methods no keypoints of
        one image, and estimates are None under ``estimator.name: none``.
    more_rows : tuple of str
        Row columns of `measure` that no column of the summary is made from, ``{t}`` as in the column of that name.
    """

    name: str
    columns: tuple[Column, ...]
    measure: Callable[[Solved, Estimates | None], Mapping[str, object]]
    needs: tuple[Needs, ...] = ("matches",)
    more_rows: tuple[str, ...] = ()

    def row_names(self, protocol: ProtocolConfig) -> list[str]:
        """Every column of ``pairs.parquet`` that `measure` fills."""
        names: list[str] = []
        for text in self.more_rows:
            named = [column for column in self.columns if column.name == text]
            names += [name for column in named for name, _ in column.names(protocol)] or [text]
        for column in self.columns:
            for source in column.sources:
                names += [filled(source, t) for _, t in column.names(protocol)]
        return list(dict.fromkeys(names))


def filled(text: str, threshold_px: float) -> str:
    """`text` with its ``{t}`` replaced."""
    return text.replace("{t}", f"{threshold_px:g}")


def threshold_name(prefix: str, threshold_px: float) -> str:
    """Join a prefix and a threshold: ``threshold_name("auc", 3.0)`` is ``auc_3px``."""
    return f"{prefix}_{threshold_px:g}px"


def threshold_px(metric: str) -> float:
    """Return the number before ``px`` in a metric's name; 0 where there is none."""
    match = re.search(r"_([\d.]+)px$", metric)
    return float(match[1]) if match else 0.0
