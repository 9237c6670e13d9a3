"""The registry of metrics, and every column of the tables by name: tables, plots, gate and documentation read it here.

Columns that every run has (counts, failures, times, costs) stand here, those of a metric in the file of its formula.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.core.errors import ConfigError
from bench.metrics.record import Column, Margin, Metric, filled
from bench.schema import METRICS, ProtocolConfig

if TYPE_CHECKING:
    import pandas as pd

COUNTS = (
    Column(
        "n_keypoints",
        "keypoints",
        "count",
        "neither",
        "Keypoints per image, mean of the two images of a pair, mean over pairs.",
        rows=("n_keypoints_ref", "n_keypoints_target"),
        margins=(Margin(0.05, kind="ratio", offset=1.0),),
    ),
    Column(
        "n_matches",
        "matches",
        "count",
        "neither",
        "Putative matches per pair.",
        margins=(Margin(0.05, kind="ratio", offset=1.0),),
    ),
    Column(
        "failures",
        "failures",
        "count",
        "lower",
        "Pairs without a homography, any kind, first repeat.",
        rows=("outcome",),
        reduction="other",
        table="failures",
        interval="none",
    ),
    Column(
        "failures_no_keypoints",
        "no keypoints",
        "count",
        "lower",
        "Pairs with an image without keypoints.",
        rows=("outcome",),
        reduction="other",
        table="failures",
        interval="none",
    ),
    Column(
        "failures_too_few_matches",
        "few matches",
        "count",
        "lower",
        "Pairs with fewer than 4 matches.",
        rows=("outcome",),
        reduction="other",
        table="failures",
        interval="none",
    ),
    Column(
        "failures_estimation_failed",
        "estimation failed",
        "count",
        "lower",
        "Pairs for which the estimator returned no homography.",
        rows=("outcome",),
        reduction="other",
        table="failures",
        interval="none",
    ),
    Column(
        "failures_degenerate",
        "degenerate",
        "count",
        "lower",
        "Pairs for which the estimated matrix is no usable homography.",
        rows=("outcome",),
        reduction="other",
        table="failures",
        interval="none",
    ),
    Column(
        "failures_extraction_failed",
        "extraction failed",
        "count",
        "lower",
        "Pairs with an image whose extraction raised an error or broke the contract.",
        rows=("outcome",),
        reduction="other",
        table="failures",
        interval="none",
    ),
    Column(
        "latency_median_ms",
        "ms median",
        "ms",
        "lower",
        "Median time of one image: preprocess + infer + decode. Reading and resizing the file are "
        "common to all methods and not included.",
        reduction="other",
        table="main",
        interval="median",
    ),
    Column(
        "latency_p90_ms",
        "ms p90",
        "ms",
        "lower",
        "90th percentile of the time of one image.",
        reduction="other",
        table="main",
        interval="median",
    ),
    Column(
        "speedup",
        "speed-up",
        "ratio",
        "higher",
        "Median time per image of the reference method divided by this method's, same run.",
        reduction="other",
        table="main",
        interval="median",
    ),
    Column(
        "latency_p99_ms",
        "ms p99",
        "ms",
        "lower",
        "Upper 99 % confidence bound of the 99th percentile of the time of one image (MLPerf's early- "
        "stopping estimate); absent below 662 samples.",
        reduction="other",
        table="costs",
        interval="none",
    ),
    Column(
        "preprocess_ms",
        "preprocess",
        "ms",
        "lower",
        "Median time of turning the evaluated image into the input.",
        reduction="other",
        table="costs",
        interval="median",
    ),
    Column(
        "infer_ms",
        "infer",
        "ms",
        "lower",
        "Median time of the network or of the OpenCV call.",
        reduction="other",
        table="costs",
        interval="median",
    ),
    Column(
        "decode_ms",
        "decode",
        "ms",
        "lower",
        "Median time of everything after it: NMS, budget, descriptors.",
        reduction="other",
        table="costs",
        interval="median",
    ),
    Column(
        "match_ms",
        "match",
        "ms",
        "lower",
        "Median time of matching one pair.",
        reduction="other",
        table="costs",
        interval="median",
    ),
    Column(
        "load_ms",
        "load",
        "ms",
        "lower",
        "Time to load the model, once.",
        reduction="other",
        table="costs",
        interval="none",
    ),
    Column(
        "compile_ms",
        "compile",
        "ms",
        "lower",
        "Time to compile the model for the first image size.",
        reduction="other",
        table="costs",
        interval="none",
    ),
    Column(
        "compile_cold_ms",
        "compile cold",
        "ms",
        "lower",
        "Time to compile with an empty model cache.",
        reduction="other",
        table="costs",
        interval="none",
    ),
    Column(
        "compile_cached_ms",
        "compile cached",
        "ms",
        "lower",
        "Time to compile with a filled model cache.",
        reduction="other",
        table="costs",
        interval="none",
    ),
    Column(
        "first_inference_ms",
        "first inference",
        "ms",
        "lower",
        "Time of the first inference, not in the medians.",
        reduction="other",
        table="costs",
        interval="none",
    ),
    Column(
        "throughput_per_s",
        "images/s",
        "1/s",
        "higher",
        "Images per second with several requests in flight.",
        reduction="other",
        table="costs",
        interval="none",
    ),
    Column(
        "throughput_streams",
        "streams",
        "count",
        "neither",
        "Requests that the runtime computed side by side for images/s.",
        reduction="other",
        table="costs",
        interval="none",
    ),
    Column(
        "throughput_requests",
        "requests",
        "count",
        "neither",
        "Requests in flight for images/s.",
        reduction="other",
        table="costs",
        interval="none",
    ),
    Column(
        "peak_memory_mb",
        "peak MB",
        "MB",
        "lower",
        "Peak resident memory of the method's process.",
        reduction="other",
        table="main",
        interval="none",
    ),
)
"""Columns of every run."""

_loaded: dict[str, Metric] = {}


def metric(name: str) -> Metric:
    """Load a metric of ``protocol.metrics``; its columns are known to :func:`column` from then on.

    Raises
    ------
    ConfigError
        If there is no such metric, or what the name leads to is no :class:`Metric`.
    """
    if name not in _loaded:
        found = METRICS.load("protocol.metrics", name)
        if not isinstance(found, Metric):
            raise ConfigError(f"protocol.metrics: {name!r} leads to a {type(found).__name__}, not to a Metric")
        _loaded[name] = found
    return _loaded[name]


def metrics_of(protocol: ProtocolConfig) -> list[Metric]:
    """Metrics of a protocol, in its order."""
    return [metric(name) for name in protocol.metrics]


def columns() -> dict[str, Column]:
    """Columns by name (``{t}`` for thresholds): those of every run, of built-in metrics and of those loaded so far."""
    found = [metric(name) for name in METRICS] + list(_loaded.values())
    every = [column for one in found for column in one.columns]
    return {column.name: column for column in (*every, *COUNTS)}


def column(name: str) -> Column:
    """Return the definition of a column of the summary table.

    Parameters
    ----------
    name : str
        For example ``accuracy_3px`` or ``nn_map``.

    Returns
    -------
    Column
        With the threshold filled in.

    Raises
    ------
    KeyError
        If there is no such column.

    Examples
    --------
    >>> column("accuracy_3px").label, column("localisation_error_px").higher_is_better
    ('acc@3', False)
    """
    known = columns()
    if name in known:
        return known[name]
    found = re.fullmatch(r"(.+)_(\d+(?:\.\d+)?)px", name)
    template = known.get(f"{found[1]}_{{t}}px") if found else None
    if found is None or template is None:
        raise KeyError(f"no column {name!r}; columns: {', '.join(known)}")
    t = float(found[2])
    return replace(
        template,
        name=name,
        label=filled(template.label, t),
        definition=filled(template.definition, t),
        rows=tuple(filled(source, t) for source in template.sources),
        margins=tuple(margin for margin in template.margins if margin.at_px == t),
    )


def current_names(names: list[str]) -> dict[str, str]:
    """Old names of columns of ``pairs.parquet``, in run directories and baselines, and what they are called here."""
    return {name: name.replace("success_", "accuracy_", 1) for name in names if re.fullmatch(r"success_.+px", name)}


def current(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``pairs.parquet`` as this version names their columns, whichever version wrote them."""
    return rows.rename(columns=current_names([str(name) for name in rows.columns]))


def markdown() -> str:
    """Table of all columns for docs/metrics.md, one row a column, in the order of the registry."""
    lines = ["| column | unit | better | from pairs to a value | interval | margin of `bench check` | definition |"]
    lines.append("|" + "---|" * 7)
    for one in columns().values():
        reduction = _REDUCTIONS[one.reduction]
        margins = ", ".join(_margin(one, margin) for margin in one.margins) or "–"
        better = "–" if one.better == "neither" else one.better
        cells = (f"`{one.name}`", one.unit, better, reduction, one.interval_kind, margins, one.definition)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_REDUCTIONS = {
    "mean": "mean, or the protocol's aggregate",
    "at_most": "mean",
    "auc": "area, by the protocol's rule",
    "median": "median",
    "geometric": "geometric mean",
    "curve": "mean",
    "other": "see definition",
}


def _margin(one: Column, margin: Margin) -> str:
    size = f"{margin.size:.0%}" if margin.kind == "ratio" else f"{margin.size:g}"
    at = "" if margin.at_px is None else f" at {margin.at_px:g} px"
    return f"{size}{'' if margin.kind == 'ratio' or one.unit == 'share' else f' {one.unit}'}{at}"
