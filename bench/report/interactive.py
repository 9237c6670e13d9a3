"""What the page's script works on: every pair's errors, the charts, and the libraries, packed into text.

Corner errors travel as whole thousandths of a pixel, rounded up, so that ``e <= t`` has the answer of the float64 value
for every threshold t that is a whole number of thousandths: accuracies in the page are those of ``pairs.parquet``.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics.columns import column
from bench.metrics.homography import auc_terms
from bench.metrics.record import Column, threshold_px
from bench.report.charts import QUADRANTS, STAGE_COLOURS, charts
from bench.report.conditions import Manifest, get, label
from bench.report.lookup import SPLITS, Lookup, number
from bench.report.tables import Table, method_order
from bench.summary.measures import stacked
from bench.summary.table import STAGES

if TYPE_CHECKING:
    import pandas as pd

FAILED, LARGEST = 65535, 65534
"""Codes of an error: no homography; 65.534 px or more."""
_TICKS_PER_PX = 1000
_ECDF_POINTS = 200


def error_codes(errors_px: NDArray[np.float64]) -> list[list[int]]:
    """Return errors in thousandths of a pixel, rounded up.

    Parameters
    ----------
    errors_px : (N, R) float64
        Infinite where estimation failed.

    Returns
    -------
    list of list of int
        0 to 65535, see `FAILED` and `LARGEST`.

    Examples
    --------
    >>> error_codes(np.array([[0.0, 2.3, 2.3000001, 80.0, np.inf]]))
    [[0, 2300, 2301, 65534, 65535]]
    """
    # 2.3 * 1000 may be 2300.0000000000005: a product that close to a whole number is that number.
    ticks = np.ceil(np.minimum(errors_px, LARGEST / _TICKS_PER_PX) * _TICKS_PER_PX - 1e-7)
    codes = np.where(np.isfinite(errors_px), ticks, FAILED).astype(np.int64)
    found: list[list[int]] = codes.tolist()
    return found


def has_live_data(pairs: pd.DataFrame) -> bool:
    """Whether any pair has corner errors; without them a page has no charts."""
    return "corner_errors_px" in pairs and not pairs["corner_errors_px"].isna().all()


def live_data(
    manifest: Manifest, pairs: pd.DataFrame, times: pd.DataFrame, summary: Any, main: Table
) -> dict[str, Any] | None:
    """Return everything the script reads; None for a run without corner errors.

    Parameters
    ----------
    manifest : mapping
        See `bench.report.conditions`.
    pairs, times : DataFrame
        Rows of pairs.parquet and times.parquet.
    summary : bench.summary.table.Summary
    main : Table
        The headline table, whose columns the script computes anew under a filter.
    """
    if not has_live_data(pairs):
        return None
    lookup = Lookup(summary.table)
    order = method_order(manifest, lookup.methods)
    index = pairs.drop_duplicates("pair").sort_values("pair", kind="stable")
    names = index["pair"].astype(str).tolist()
    by_method = {m: rows.set_index(rows["pair"].astype(str)) for m, rows in pairs.groupby("method", observed=True)}
    methods = []
    for name in order:
        rows = by_method.get(name)
        methods.append(
            {
                "name": name,
                "label": label(manifest, name),
                "errors": [None] * len(names) if rows is None else _errors(rows, names),
                "columns": {} if rows is None else _columns(rows, names, main, manifest),
                "latency": [lookup.get(name, "all", "latency_median_ms", key) for key in ("value", "low", "high")],
                "ecdf": _ecdf(times, name),
                "stages": {stage: lookup.get(name, "all", f"{stage}_ms") for stage in STAGE_COLOURS},
            }
        )
    splits = [{"key": s, "title": SPLITS.get(s, f"Split {s}")} for s in lookup.splits]
    return {
        "pairs": names,
        "sequence": index["sequence"].astype(str).tolist(),
        "split": index["split"].astype(str).tolist(),
        "target": index["pair"].astype(str).str.extract(r"-(\d+)$")[0].fillna("").tolist(),
        "splits": splits,
        "methods": methods,
        "thresholds": [t for name in lookup.metrics if (t := _threshold(name)) is not None],
        "intervals": _intervals(lookup, order),
        "units": {head.key: column(head.key).unit for head in main.heads if head.key not in ("method", "precision")},
        "quadrants": list(QUADRANTS),
        "reference": get(manifest, "config", "reference", default=order[0] if order else ""),
        "charts": charts({name: label(manifest, name) for name in order}),
    }


def _threshold(metric: str) -> float | None:
    return threshold_px(metric) if metric.startswith("accuracy_") else None


def _errors(rows: pd.DataFrame, names: Sequence[str]) -> list[list[int] | None]:
    """One list of codes per pair; None where the method has no row of the pair."""
    errors = stacked(rows, "corner_errors_px")
    assert errors is not None
    # A pair without enough matches has no errors: infinite, as in every accuracy.
    codes = error_codes(np.where(np.isnan(errors), np.inf, errors))
    by_pair = dict(zip(rows.index, codes, strict=True))
    return [by_pair.get(name) for name in names]


def _columns(rows: pd.DataFrame, names: Sequence[str], main: Table, manifest: Manifest) -> dict[str, list[Any]]:
    """Per-pair values of each column of `main` that is a mean over pairs, other than accuracies."""
    found: dict[str, list[Any]] = {}
    for head in main.heads:
        if head.key in ("method", "precision") or head.key.startswith("accuracy_"):
            continue
        values = _pair_values(rows, column(head.key), head.key, manifest)
        if values is not None:
            by_pair = dict(zip(rows.index, values.tolist(), strict=True))
            found[head.key] = [_short(by_pair.get(name)) for name in names]
    return found


def _pair_values(rows: pd.DataFrame, of: Column, name: str, manifest: Manifest) -> NDArray[np.float64] | None:
    """(N,) values whose mean over pairs (sum, for ``failures``) the column is; None where it is another number."""
    protocol = get(manifest, "protocol", "config", "homography", default={})
    if name == "failures":
        return np.asarray((rows["outcome"].astype(str) != "ok").to_numpy(np.float64))
    if of.reduction == "auc" and protocol.get("auc", "exact") == "exact":
        errors = stacked(rows, of.sources[0])
        return None if errors is None else np.asarray(auc_terms(errors, threshold_px(name)).mean(axis=1))
    if of.reduction == "mean" and protocol.get("aggregate", "mean") == "mean":
        parts = [stacked(rows, source) for source in of.sources]
        given = [part for part in parts if part is not None]
        return None if len(given) < len(parts) or not given else np.asarray(np.mean(given, axis=0).mean(axis=1))
    return None


def _short(value: Any) -> float | int | None:
    """Return a number with at most seven digits, so that the page stays small."""
    found = number(value)
    if found is None or math.isinf(found):
        return None
    rounded = float(f"{found:.7g}")
    return int(rounded) if rounded.is_integer() else rounded


def _intervals(lookup: Lookup, order: Sequence[str]) -> dict[str, list[float | None]]:
    """``method|split|threshold`` to [low, high] of each accuracy of the summary."""
    found = {}
    for metric in lookup.metrics:
        t = _threshold(metric)
        for split in lookup.splits if t is not None else []:
            for method in order:
                ends = [lookup.get(method, split, metric, field) for field in ("low", "high")]
                if None not in ends:
                    found[f"{method}|{split}|{t:g}"] = ends
    return found


def _ecdf(times: pd.DataFrame, method: str) -> list[float]:
    """Quantiles of the time per image (its stages added), rising; empty without times."""
    rows = times[(times["method"] == method) & times["stage"].isin(STAGES)]
    totals = rows.groupby(["item", "repeat"], sort=False, observed=True)["ms"].sum().to_numpy(np.float64)
    if not len(totals):
        return []
    shares = (np.arange(min(len(totals), _ECDF_POINTS)) + 1) / min(len(totals), _ECDF_POINTS)
    return [float(f"{ms:.4g}") for ms in np.quantile(totals, shares, method="inverted_cdf")]


def pack(data: bytes) -> str:
    """Return bytes compressed, as base64 text that a script element can hold."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")


def pack_json(data: object) -> str:
    """Return a value as packed JSON."""
    return pack(json.dumps(data, separators=(",", ":"), allow_nan=False).encode())


@lru_cache(maxsize=1)
def begin_chart_library() -> Future[str]:
    """Begin to make :func:`chart_library` in a thread: its compiler takes seconds and lets Python go on meanwhile."""
    executor = ThreadPoolExecutor(1)
    found = executor.submit(_chart_library)
    executor.shutdown(wait=False)
    return found


def _chart_library() -> str:
    import vl_convert

    return pack(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").encode())


def chart_library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one packed script."""
    return begin_chart_library().result()


@lru_cache(maxsize=1)
def table_library() -> tuple[str, str]:
    """Return DataTables as a packed script (an ES module) and its packed style sheet."""
    import itables

    folder = Path(itables.__file__).parent / "html"
    return pack((folder / "dt_bundle.js").read_bytes()), pack((folder / "dt_bundle.css").read_bytes())
