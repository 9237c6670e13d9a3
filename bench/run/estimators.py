"""Estimator x threshold sweep on one set of matches; never part of the headline tables.

Choosing the estimator or its threshold by the results on the test set (glue-factory's ``ransac_th = -1``) tunes on the
test set. The sweep shows how much that choice is worth; its rows go to ``sweep.parquet``, its table to ``sweep.csv``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

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


def sweep_pair(solved: Solved, sweep: EstimatorSweepConfig, seed: int) -> list[dict[str, object]]:
    """Estimate one pair's homography with every estimator and threshold, on the protocol's matches.

    Parameters
    ----------
    solved : Solved
    sweep : EstimatorSweepConfig
    seed : int
        Of the run.

    Returns
    -------
    list of dict
        One row per cell: pair, sequence, split, estimator, threshold_px (NaN where the estimator has none), outcome,
        n_matches, n_inliers, corner_errors_px (one per repeat), estimate_ms. Empty for detectors.
    """
    pair = solved.prepared.pair
    rows: list[dict[str, object]] = []
    for cell in grid(sweep, solved.protocol.estimator):
        found = estimate_repeatedly(solved, cell, seed)
        if found is None:
            continue
        rows.append(
            {
                "pair": pair.name,
                "sequence": pair.sequence,
                "split": pair.split,
                "estimator": cell.name,
                "threshold_px": math.nan if cell.name in WITHOUT_THRESHOLD else cell.threshold_px,
                "outcome": str(found.outcome),
                "n_matches": len(solved.xy_ref),
                "n_inliers": found.n_inliers,
                "corner_errors_px": found.errors_px,
                "estimate_ms": found.first_ms,
            }
        )
    return rows


def summarise_sweep(rows: pd.DataFrame, protocol: ProtocolConfig, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Table of a sweep: a row per method, estimator, threshold and split.

    Parameters
    ----------
    rows : DataFrame
        Rows of :func:`sweep_pair` with a column ``method``.
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
