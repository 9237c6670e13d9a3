"""Estimator x threshold sweep on one set of matches; never part of the headline tables.

Choosing the estimator or its threshold by the results on the test set (glue-factory's ``ransac_th = -1``) tunes on the
test set. The sweep shows how much that choice is worth; its rows go to ``sweep.parquet``, its table to ``sweep.csv``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.types import Outcome
from bench.geometry.solve import Solved, estimate_repeatedly
from bench.metrics.homography import as_errors, auc_terms
from bench.metrics.record import threshold_name
from bench.schema import EstimatorConfig, EstimatorSweepConfig, ProtocolConfig
from bench.stats import cluster_codes, order_noise, quantile, share_interval

if TYPE_CHECKING:
    import pandas as pd

WITHOUT_THRESHOLD = ("opencv_lmeds", "dlt")
DETERMINISTIC = ("dlt",)
"""Estimators that do not depend on the order of the matches: one repeat says all."""
KEYS = ("method", "estimator", "threshold_px")


def grid(sweep: EstimatorSweepConfig, base: EstimatorConfig) -> list[EstimatorConfig]:
    """Estimator configurations of a sweep: every estimator at every threshold, once where it has none.

    Iterations, confidence and repeats are those of `base`, the protocol's estimator.
    """
    cells = []
    for name in dict.fromkeys(sweep.estimators):
        thresholds = sweep.thresholds_px[:1] if name in WITHOUT_THRESHOLD else sweep.thresholds_px
        repeats = 1 if name in DETERMINISTIC else base.repeats
        cells += [replace(base, name=name, threshold_px=float(t), repeats=repeats) for t in thresholds]
    return cells


@dataclass(frozen=True, slots=True)
class SweepRow:
    """What one estimator with one threshold gave on the matches of one pair; the columns of ``sweep.parquet``.

    Attributes
    ----------
    threshold_px : float
        NaN where the estimator has none.
    n_matches, n_inliers : int
    corner_errors_px : sequence of float
        One per repeat; infinite for a failure.
    estimate_ms : float
        Of the first repeat.
    """

    method: str
    pair: str
    sequence: str
    split: str
    estimator: str
    threshold_px: float
    outcome: Outcome
    n_matches: int
    n_inliers: int
    corner_errors_px: Sequence[float]
    estimate_ms: float

    def cells(self) -> dict[str, object]:
        """Columns by name, in their order."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"outcome": str(self.outcome)}


def sweep_pair(method: str, solved: Solved, sweep: EstimatorSweepConfig, seed: int) -> list[SweepRow]:
    """Estimate one pair's homography with every estimator and threshold, on the protocol's matches.

    Parameters
    ----------
    method : str
    solved : Solved
    sweep : EstimatorSweepConfig
    seed : int
        Of the run.

    Returns
    -------
    list of SweepRow
        One per estimator and threshold. Empty for detectors.
    """
    pair = solved.prepared.pair
    rows = []
    for cell in grid(sweep, solved.protocol.estimator):
        found = estimate_repeatedly(solved, cell, seed)
        if found is None:
            continue
        rows.append(
            SweepRow(
                method,
                pair.name,
                pair.sequence,
                pair.split,
                cell.name,
                math.nan if cell.name in WITHOUT_THRESHOLD else cell.threshold_px,
                found.outcome,
                len(solved.xy_ref),
                found.n_inliers,
                found.errors_px,
                found.first_ms,
            )
        )
    return rows


def summarise_sweep(rows: pd.DataFrame, protocol: ProtocolConfig, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Table of a sweep: a row per method, estimator, threshold and split.

    Parameters
    ----------
    rows : DataFrame
        Cells of the rows of :func:`sweep_pair`.
    protocol : ProtocolConfig
        Its accuracy thresholds are used.
    draws, seed : int
        Of the intervals over sequences.

    Returns
    -------
    DataFrame
        method, estimator, threshold_px, split, n_pairs, failures, then accuracy and AUC at each threshold, each
        accuracy with ``_low``, ``_high`` (95 %) and its order noise, and estimate_ms (median). AUC is exact.
    """
    import pandas as pd

    table: list[Mapping[str, Any]] = []
    splits = ["all", *sorted(s for s in rows["split"].unique() if s not in ("-", "all"))] if len(rows) else []
    for key, group in rows.groupby(list(KEYS), sort=False, dropna=False):
        for split in splits:
            part = (group if split == "all" else group[group["split"] == split]).sort_values("pair", kind="stable")
            if len(part):
                cells = dict(zip(KEYS, key, strict=True))
                table.append({**cells, "split": split, **_cell(part, protocol, draws, seed)})
    return pd.DataFrame(table)


def _cell(part: pd.DataFrame, protocol: ProtocolConfig, draws: int, seed: int) -> dict[str, float]:
    errors = as_errors(np.stack([np.asarray(e, dtype=np.float64) for e in part["corner_errors_px"]]))
    codes, _ = cluster_codes(part["sequence"].to_numpy())
    found: dict[str, float] = {"n_pairs": len(part), "failures": int((part["outcome"] != "ok").sum())}
    for t in protocol.homography.thresholds_px:
        interval = share_interval(errors <= t, codes, draws, seed)
        name = threshold_name("accuracy", t)
        found |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        found[threshold_name("order_noise", t)] = order_noise(errors <= t).half_width
        found[threshold_name("auc", t)] = float(auc_terms(errors, t).mean())
    found["estimate_ms"] = quantile(part["estimate_ms"], 0.5)
    return found
