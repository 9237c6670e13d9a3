"""Rows in, tables out: every number that a report prints is computed here.

``Summary.table`` is tidy: [method, split, metric, value, low, high, unit, n_pairs, n_sequences, best]. Intervals are
95 % intervals over sequences (over timing blocks for latencies), see :mod:`bench.stats.intervals`.
``Summary.differences`` compares each method with a reference method on the same pairs; its p-values are Holm's over the
methods compared in one split and metric. :mod:`bench.metrics.columns` defines each metric.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bench.core.errors import ConfigError
from bench.core.frames import records
from bench.metrics.columns import column, columns
from bench.metrics.record import threshold_name, threshold_px
from bench.metrics.text import DASH, format_interval, format_value
from bench.schema import ProtocolConfig
from bench.schema.identity import protocol_from
from bench.stats import (
    COMPARISON_OF,
    INTERVAL_OF,
    Comparison,
    Interval,
    cluster_codes,
    difference_noise,
    early_stopping_percentile,
    holm,
    mcnemar_exact,
    order_noise,
    quantile_interval,
    ratio_comparison,
)
from bench.summary.marks import marked
from bench.summary.measures import Measure, failure_counts, measures
from bench.summary.published import compare
from bench.summary.verdict import verdict
from bench.timing.noise import machine, widen

TABLE = ("method", "split", "metric", "value", "low", "high", "unit", "n_pairs", "n_sequences", "best")
DIFFERENCES = (
    "method",
    "reference",
    "split",
    "metric",
    "difference",
    "low",
    "high",
    "p_value",
    "margin",
    "p_noninferiority",
    "mcnemar_p",
    "noise_floor",
    "verdict",
)
ALPHA = 0.05
STAGES = ("preprocess", "infer", "decode")
COSTS = ("load_ms", "compile_ms", "compile_cold_ms", "compile_cached_ms", "first_inference_ms", "peak_memory_mb")

IDENTICAL = "identical"
BELOW_NOISE = "below the noise of the estimator"
NOT_DISTINGUISHABLE = "not distinguishable"
UNKNOWN = "too few sequences"
DIFFERENT = ("better", "worse", "higher", "lower")
"""Verdicts that say two methods differ; see :func:`judge`."""

Rows = list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run amounts to.

    Attributes
    ----------
    table : DataFrame
        One row per method, split and metric; ``low`` and ``high`` are NaN where there is no interval. ``best``: no
        method of the column is better beyond noise, while another is told from it; see :mod:`bench.summary.marks`.
    differences : DataFrame
        One row per method, split and metric: method minus reference on the same pairs; for ``speedup``, which has
        the split all only, the ratio minus 1. ``p_value`` is that of "no difference", ``p_noninferiority`` that of
        "worse by the margin", ``margin`` what the metric's record calls a regression.
    published : DataFrame or None
        Ours beside published numbers where preset and data set match; see :mod:`bench.summary.published`.
    reference : str
        The method that the others are compared with.
    sentences : tuple of str
        What was found, in words; see :mod:`bench.summary.verdict`. Empty without a manifest.
    hosts : DataFrame or None
        Of a run measured on hosts of several classes: the times of each, in the columns of ``table`` with ``host`` and
        ``n_images`` before them; ``table`` then has none, since a median over several classes is that of their mix.
    """

    table: pd.DataFrame
    differences: pd.DataFrame
    published: pd.DataFrame | None = None
    reference: str = ""
    sentences: tuple[str, ...] = ()
    hosts: pd.DataFrame | None = None

    def wide(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """A table to read: a row per method and split, a column per metric, intervals in the cells.

        Parameters
        ----------
        metrics : sequence of str, optional
            Names of ``table``; None: what the report's main table shows.

        Returns
        -------
        DataFrame
            Text, indexed by method and split, in the order of ``table``; a dash where there is no value.

        Raises
        ------
        KeyError
            If a metric is not in the table.
        """
        present = dict.fromkeys(self.table["metric"])
        chosen = [name for name in present if column(name).table == "main"] if metrics is None else list(metrics)
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for row in records(self.table):
            shown = [format_value(row["unit"], row["value"]), format_interval(row["unit"], row["low"], row["high"])]
            cells.setdefault((row["method"], row["split"]), {})[row["metric"]] = " ".join(shown).rstrip()
        index = pd.MultiIndex.from_tuples(list(cells), names=["method", "split"])
        return pd.DataFrame(list(cells.values()), index=index).fillna(DASH)[chosen]


@dataclass(frozen=True, slots=True)
class _Settings:
    protocol: ProtocolConfig
    draws: int
    seed: int
    reference: str


def summarise(
    pairs: pd.DataFrame,
    times: pd.DataFrame,
    manifest: Mapping[str, Any],
    draws: int | None = None,
    seed: int | None = None,
    reference: str | None = None,
) -> Summary:
    """Summarise a run from its rows and manifest.

    Parameters
    ----------
    pairs, times : DataFrame
        ``pairs.parquet`` and ``times.parquet``.
    manifest : mapping
        Of the run; protocol, costs of the methods, number of draws and seed are read from it.
    draws, seed : int, optional
        Instead of the manifest's.
    reference : str, optional
        Method the others are compared with, instead of the manifest's ``config.reference``.

    Raises
    ------
    ConfigError
        If the run has no such method.
    """
    config = manifest.get("config", {})
    protocol = protocol_from(manifest["protocol"]["config"])
    infos = {name: method.get("info", {}) for name, method in manifest.get("methods", {}).items()}
    summary = summarise_rows(
        pairs,
        times,
        infos,
        protocol,
        int(draws or config.get("bootstrap_draws", 2000)),
        int(config.get("seed", 0) if seed is None else seed),
        reference or config.get("reference"),
    )
    classes = host_classes(manifest)
    if len(classes) > 1 and "session" in times:
        summary = _by_host(summary, pairs, times, classes, protocol, config)
    extra = _throughput(manifest)
    table = pd.concat([summary.table, pd.DataFrame(extra, columns=list(TABLE))]) if extra else summary.table
    table = table.reset_index(drop=True)
    summary = replace(summary, table=table, published=compare(table, manifest, protocol))
    return replace(summary, sentences=verdict(summary, manifest))


TIMED = (
    *("latency_median_ms", "latency_p90_ms", "latency_p99_ms", "speedup", "match_ms", "estimate_ms"),
    *(f"{stage}_ms" for stage in STAGES),
)
"""Metrics that depend on the class of the host."""


def host_classes(manifest: Mapping[str, Any]) -> dict[str, list[int]]:
    """Classes of hosts that a run was measured on, by their fingerprint, and the sessions on each."""
    found: dict[str, list[int]] = {}
    for number, session in enumerate(manifest.get("sessions") or ()):
        found.setdefault(str(session.get("host")), []).append(number)
    return found


def _by_host(
    summary: Summary,
    pairs: pd.DataFrame,
    times: pd.DataFrame,
    classes: Mapping[str, Sequence[int]],
    protocol: ProtocolConfig,
    config: Mapping[str, Any],
) -> Summary:
    """Move the times out of the table and measure them for each class of hosts apart."""
    draws, seed = int(config.get("bootstrap_draws", 2000)), int(config.get("seed", 0))
    settings = _Settings(protocol, draws, seed, summary.reference)
    methods = list(dict.fromkeys(pairs["method"]))
    rows: Rows = []
    for host, sessions in classes.items():
        here = times[times["session"].isin(sessions)]
        pairs_here = pairs[pairs["session"].isin(sessions)] if "session" in pairs else pairs.iloc[:0]
        images = {method: own for method in methods if len(own := image_times(here, method))}
        for method in methods:
            n_images = images[method]["item"].nunique() if method in images else 0
            timed, _ = _times(method, images, machine(here), pairs_here, settings)
            rows += [{"host": host, "n_images": n_images, **row} for row in timed]
    hosts = pd.DataFrame(rows, columns=["host", "n_images", *TABLE])
    table = summary.table[~summary.table["metric"].isin(TIMED)].reset_index(drop=True)
    differences = summary.differences[summary.differences["metric"] != "speedup"].reset_index(drop=True)
    return replace(summary, table=table, differences=differences, hosts=hosts)


def check_reference(reference: str, methods: Iterable[str]) -> None:
    """Refuse a reference that is not among the methods of the run.

    Raises
    ------
    ConfigError
        With the method that may have been meant.
    """
    known = list(methods)
    if reference not in known:
        close = difflib.get_close_matches(reference, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"reference={reference} is not a method of this run; {hint}It has: {', '.join(known)}")


def summarise_rows(
    pairs: pd.DataFrame,
    times: pd.DataFrame,
    infos: Mapping[str, Any],
    protocol: ProtocolConfig,
    draws: int = 2000,
    seed: int = 0,
    reference: str | None = None,
) -> Summary:
    """Summarise rows; `summarise` without a manifest.

    Parameters
    ----------
    pairs, times : DataFrame
    infos : mapping
        Method to MethodInfo, or to a mapping with its fields; ``costs`` is read.
    protocol : ProtocolConfig
    draws, seed : int
        Of the bootstrap.
    reference : str, optional
        Method of differences and speed-ups; None: the first of `infos`, or of the rows. Metrics that it does not have
        (a detector has no accuracy) are compared with the first method that has them.

    Raises
    ------
    ConfigError
        If there is no such method.
    """
    methods = list(dict.fromkeys([*infos, *pairs["method"]]))
    if reference is not None:
        check_reference(reference, methods)
    reference = reference or methods[0]
    settings = _Settings(protocol, draws, seed, reference)
    table: Rows = []
    differences: Rows = []
    splits = ["all", *sorted(split for split in pairs["split"].unique() if split not in ("-", "all"))]
    for split in splits:
        part = pairs if split == "all" else pairs[pairs["split"] == split]
        by_method = {m: part[part["method"] == m].sort_values("pair", kind="stable") for m in methods}
        found = {m: measures(rows, protocol) for m, rows in by_method.items() if len(rows)}
        base = reference if reference in found else next(iter(found), "")
        for method in found:
            if by_method[method]["pair"].tolist() != by_method[base]["pair"].tolist():
                raise ValueError(f"rows of {method} and {base} are not the same pairs; a run must have every pair once")
        best = _best_pairs(by_method, found, settings)
        for method in found:
            rows = _pair_metrics(method, split, by_method[method], found[method], settings)
            table += [row | {"best": method in best.get(str(row["metric"]), ())} for row in rows]
        for method in found:
            if method != base:
                differences += _differences(method, base, split, by_method, found, settings)
    images = {method: own for method in methods if len(own := image_times(times, method))}
    best = _best_times(images, settings)
    for method in methods:
        rows, speedup = _times(method, images, machine(times), pairs, settings)
        table += [row | {"best": method in best.get(str(row["metric"]), ())} for row in rows]
        differences += speedup
        table += _costs(method, infos.get(method, {}))
    rank = {name: number for number, name in enumerate(methods)}
    frame = pd.DataFrame(table, columns=list(TABLE))
    frame = frame.sort_values("method", key=lambda names: names.map(rank), kind="stable", ignore_index=True)
    return Summary(frame, _decided(pd.DataFrame(differences, columns=list(DIFFERENCES))), None, reference)


def value_rows(
    method: str,
    rows: pd.DataFrame,
    extractions: pd.DataFrame,
    info: Any,
    protocol: ProtocolConfig,
    draws: int = 2000,
    seed: int = 0,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """The numbers of one method by themselves: no other method is looked at.

    Parameters
    ----------
    method : str
    rows : DataFrame
        Its rows of ``pairs.parquet``.
    extractions : DataFrame
        Its rows ``repeat, block, ms`` and of the block ``calibration_ms``, ``taken``, one an extraction; may be empty.
    info : MethodInfo or mapping
        ``costs`` is read.
    protocol : ProtocolConfig
    draws, seed : int
        Of the bootstrap.
    metrics : sequence of str
        These only; none: every metric.

    Returns
    -------
    DataFrame
        As ``Summary.table``; ``best`` is False.
    """
    settings = _Settings(protocol, draws, seed, method)
    rows = rows.sort_values("pair", kind="stable")
    table: Rows = []
    for split in ["all", *sorted(split for split in rows["split"].unique() if split not in ("-", "all"))]:
        part = rows if split == "all" else rows[rows["split"] == split]
        table += _pair_metrics(method, split, part, measures(part, protocol, metrics), settings)
    if len(extractions):
        disturbed = extractions.groupby(["repeat", "block"], sort=True)[["calibration_ms", "taken"]].first()
        blocks = extractions.groupby(["repeat", "block"], sort=True).ngroup().to_numpy().astype(np.int64)
        for metric, q in (("latency_median_ms", 0.5), ("latency_p90_ms", 0.9)):
            table.append(
                _row(method, "all", metric, _latency(extractions["ms"].to_numpy(np.float64), blocks, q, disturbed))
            )
    table += _costs(method, info)
    found = pd.DataFrame(table, columns=list(TABLE))
    return found[found["metric"].isin(metrics)] if metrics else found


def paired_rows(
    rows: Mapping[str, pd.DataFrame],
    against: Mapping[str, str],
    protocol: ProtocolConfig,
    draws: int = 2000,
    seed: int = 0,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """Compare rows of pairs with other rows of the same pairs, each with its own reference.

    Parameters
    ----------
    rows : mapping
        Name to rows of ``pairs.parquet`` of one method; all hold the same pairs, once.
    against : mapping
        Name to the name it is compared with.
    protocol : ProtocolConfig
    draws, seed : int
        Of the bootstrap.
    metrics : sequence of str
        Compare these only; none: every metric.

    Returns
    -------
    DataFrame
        As ``Summary.differences``; Holm's family is every comparison of one split and metric.
    """
    settings = _Settings(protocol, draws, seed, "")
    ordered = {name: part.sort_values("pair", kind="stable") for name, part in rows.items()}
    differences: Rows = []
    first = next(iter(ordered.values()), pd.DataFrame({"split": []}))
    for split in ["all", *sorted(split for split in first["split"].unique() if split not in ("-", "all"))]:
        by_name = {n: part if split == "all" else part[part["split"] == split] for n, part in ordered.items()}
        found = {name: measures(part, protocol, metrics) for name, part in by_name.items()}
        for name, reference in against.items():
            differences += _differences(name, reference, split, by_name, found, settings)
    return _decided(pd.DataFrame(differences, columns=list(DIFFERENCES)))


def _row(
    method: str, split: str, metric: str, interval: Interval, n_pairs: float = math.nan, n_sequences: float = math.nan
) -> dict[str, object]:
    unit = column(metric).unit
    cells = (method, split, metric, interval.value, interval.low, interval.high, unit, n_pairs, n_sequences, False)
    return dict(zip(TABLE, cells, strict=True))


def _plain(value: float) -> Interval:
    return Interval(float(value), math.nan, math.nan)


def _pair_metrics(
    method: str, split: str, rows: pd.DataFrame, found: Mapping[str, Measure], settings: _Settings
) -> Rows:
    """Accuracy, noise, counts and failures of one method on one split."""
    codes, n_clusters = cluster_codes(rows["sequence"].to_numpy())
    result: Rows = []

    def add(metric: str, interval: Interval, keep: NDArray[np.bool_] | None = None) -> None:
        n_pairs = len(rows) if keep is None else int(keep.sum())
        n_sequences = n_clusters if keep is None else len(np.unique(codes[keep]))
        result.append(_row(method, split, metric, interval, float(n_pairs), float(n_sequences)))

    for measure in found.values():
        add(measure.metric, _interval(measure, codes, settings), measure.defined)
        if _is_accuracy(measure) and measure.values.shape[1] > 1:
            noise = order_noise(measure.values)
            add(measure.metric.replace("accuracy", "order_noise", 1), _plain(noise.half_width))
            add(measure.metric.replace("accuracy", "flip_share", 1), _plain(noise.flip_share))
    for metric, count in failure_counts(rows).items():
        add(metric, _plain(count))
    if "n_failed_repeats" in rows and rows["n_failed_repeats"].notna().any():
        failed = rows["n_failed_repeats"].to_numpy(np.float64).sum()
        add("failed_repeat_share", _plain(failed / (len(rows) * settings.protocol.estimator.repeats)))
    return result


def _is_accuracy(measure: Measure) -> bool:
    """Whether a metric is made of the estimator's verdicts."""
    return measure.column.name == "accuracy_{t}px"


def interval_kind(measure: Measure) -> str:
    """Which kind of interval a measure has: see :mod:`bench.stats.kinds`."""
    return "median" if measure.kind == "median" else measure.column.interval_kind


def _interval(measure: Measure, codes: NDArray[np.int64], settings: _Settings) -> Interval:
    found = INTERVAL_OF[interval_kind(measure)](measure.terms, codes, settings.draws, settings.seed)
    value = measure.value
    if measure.kind == "geometric":
        return Interval(value, float(np.exp(found.low)), float(np.exp(found.high)))
    if measure.kind != "trapezoid":
        return Interval(value, found.low, found.high)
    shift = value - found.value  # the trapezoid rule's excess over the exact area, at most 1/(2N)
    return Interval(value, found.low + shift, min(found.high + shift, 1.0))


def _comparison(ours: Measure, theirs: Measure, codes: NDArray[np.int64], settings: _Settings) -> Comparison:
    """Ours minus theirs, both of them defined for the same pairs."""
    found = COMPARISON_OF[interval_kind(ours)](ours.terms, theirs.terms, codes, settings.draws, settings.seed)
    # Two infinite medians do not differ.
    size = 0.0 if ours.value == theirs.value else ours.value - theirs.value
    if ours.kind != "trapezoid":
        return replace(found, value=size)
    shift = size - found.value

    def limits(level: float) -> tuple[float, float]:
        low, high = found.limits(level)
        return low + shift, high + shift

    return replace(found, value=size, limits=limits)


def _margin(metric: str) -> float:
    """How much worse a release may be, in units of the metric; NaN where its record says nothing."""
    sizes = (
        m.size for m in column(metric).margins if m.kind == "difference" and m.at_px in (None, threshold_px(metric))
    )
    return next(sizes, math.nan)


def _p_noninferiority(found: Comparison, margin: float, higher_is_better: bool | None) -> float:
    """Two-sided p-value of "worse by the margin"; 1 where the difference lies beyond it."""
    if higher_is_better is None or math.isnan(margin):
        return math.nan
    null = -margin if higher_is_better else margin
    return found.p_value(null) if (found.value > null) == higher_is_better else 1.0


def _differences(
    method: str,
    reference: str,
    split: str,
    by_method: Mapping[str, pd.DataFrame],
    found: Mapping[str, Mapping[str, Measure]],
    settings: _Settings,
) -> Rows:
    """Method minus reference, metric by metric, on the pairs both have a value for; p-values of this method alone."""
    codes, _ = cluster_codes(by_method[method]["sequence"].to_numpy())
    # Of the MMA curve only the points at the thresholds of the homography are compared.
    compared = {threshold_name("mma", t) for t in settings.protocol.homography.thresholds_px}
    skipped = {threshold_name("mma", t) for t in settings.protocol.mma_px} - compared
    result: Rows = []
    for metric, measure in found[method].items():
        other = found[reference].get(metric)
        if other is None or metric in skipped or measure.kind == "geometric":
            continue
        keep = measure.defined & other.defined
        if not keep.any():
            continue
        here = _comparison(measure.masked(keep), other.masked(keep), codes, settings)
        size, (low, high) = here.value, here.limits(1 - ALPHA)
        mcnemar = floor = math.nan
        if _is_accuracy(measure):
            mcnemar = mcnemar_exact(measure.values[:, 0] > 0, other.values[:, 0] > 0)
        if measure.column.unit == "share" and measure.values.shape[1] > 1 and other.values.shape[1] > 1:
            floor = difference_noise(order_noise(measure.terms), order_noise(other.terms))
        same = measure.values.shape == other.values.shape and bool((measure.values == other.values)[keep].all())
        margin = _margin(metric)
        p_margin = _p_noninferiority(here, margin, column(metric).higher_is_better)
        word = IDENTICAL if same else ""
        if same:  # that these pairs agree says nothing certain about others
            low = high = p_margin = math.nan
        p_value = here.p_value()
        cells = (method, reference, split, metric, size, low, high, p_value, margin, p_margin, mcnemar, floor, word)
        result.append(dict(zip(DIFFERENCES, cells, strict=True)))
    return result


def _decided(differences: pd.DataFrame) -> pd.DataFrame:
    """Adjust the p-values over the methods of each split and metric, and say in words what each difference is."""
    found = differences.copy()
    for _, rows in found.groupby(["split", "metric"], sort=False):
        for name in ("p_value", "p_noninferiority"):
            found.loc[rows.index, name] = holm(rows[name].to_numpy(np.float64))
    found["verdict"] = [
        row["verdict"]
        or judge(
            Interval(row["difference"], row["low"], row["high"]),
            row["noise_floor"],
            column(row["metric"]).higher_is_better,
            row["p_value"],
        )
        for row in records(found)
    ]
    return found


def judge(difference: Interval, noise_floor: float, higher_is_better: bool | None, p_value: float = 0.0) -> str:
    """Say in words what a difference amounts to; the release gate asks another question, see
    :func:`bench.check.decide.comparison_of`.

    Parameters
    ----------
    difference : Interval
    noise_floor : float
        Order noise of the difference; NaN where it is unknown or does not apply.
    higher_is_better : bool or None
        None: neither direction is better.
    p_value : float
        Of "no difference", adjusted for the number of methods compared.

    Returns
    -------
    str
        ``too few sequences`` without an interval, ``below the noise of the estimator`` up to the floor, ``not
        distinguishable`` if the interval contains 0 or the p-value is above 0.05, else ``better``, ``worse``,
        ``higher`` or ``lower``.
    """
    if math.isnan(difference.low) or math.isnan(difference.high):
        return UNKNOWN
    if abs(difference.value) <= noise_floor:
        return BELOW_NOISE
    if difference.low <= 0 <= difference.high or not p_value <= ALPHA:
        return NOT_DISTINGUISHABLE
    higher = difference.value > 0
    if higher_is_better is None:
        return "higher" if higher else "lower"
    return "better" if higher == higher_is_better else "worse"


def image_times(times: pd.DataFrame, method: str) -> pd.DataFrame:
    """Time of each extraction of one method.

    Returns
    -------
    DataFrame
        One row per item and repeat: ``ms`` (preprocess + infer + decode), each stage, and ``block``, which is unique
        over repeats.
    """
    rows = times[(times["method"] == method) & times["stage"].isin(STAGES)]
    if rows.empty:
        return pd.DataFrame(columns=["item", "repeat", "block", *STAGES, "ms"])
    wide = rows.pivot_table(index=["item", "repeat", "block"], columns="stage", values="ms", aggfunc="sum")
    wide = wide.reindex(columns=list(STAGES), fill_value=0.0).fillna(0.0).reset_index()
    wide["ms"] = wide[list(STAGES)].sum(axis=1)
    wide["block"] = wide["repeat"].astype(np.int64) * (int(times["block"].max()) + 2) + wide["block"].astype(np.int64)
    return wide


def _latency(ms: ArrayLike, blocks: NDArray[np.int64], q: float, disturbed: pd.DataFrame) -> Interval:
    """Quantile of times with an interval over blocks, as wide as the machine was disturbed."""
    found = quantile_interval(ms, cluster_codes(blocks)[0], q)
    low, high = widen(found.low, found.high, disturbed, q)
    return Interval(found.value, low, high)


def latency(times: pd.DataFrame, method: str) -> tuple[float, float, float]:
    """Median time of an extraction in ms with its 95 % interval, widened by how much the machine was disturbed."""
    own = image_times(times, method)
    found = _latency(own["ms"].to_numpy(np.float64), own["block"].to_numpy(), 0.5, machine(times))
    return found.value, found.low, found.high


def speedup(times: pd.DataFrame, reference: str, method: str, seed: int = 0) -> tuple[float, float, float]:
    """Ratio of the medians of reference and method with its 95 % interval.

    Over blocks where the two were interleaved, so that a slow minute cancels; else from the intervals of both times.
    """
    (a, blocks_a), (b, blocks_b) = (
        (own["ms"].to_numpy(np.float64), own["block"].to_numpy())
        for own in (image_times(times, reference), image_times(times, method))
    )
    if not np.isin(blocks_b, blocks_a).any():
        one, other = latency(times, reference), latency(times, method)
        return one[0] / other[0], one[1] / other[2], one[2] / other[1]
    found = ratio_comparison(a, blocks_a, b, blocks_b, 0.5, seed=seed)
    return found.value, *found.limits(1 - ALPHA)


def _best_pairs(
    by_method: Mapping[str, pd.DataFrame], found: Mapping[str, Mapping[str, Measure]], settings: _Settings
) -> dict[str, set[str]]:
    """Metric -> methods that no method is better than beyond noise, on one split."""
    codes = {m: cluster_codes(by_method[m]["sequence"].to_numpy())[0] for m in found}
    result = {}
    for metric in dict.fromkeys(name for own in found.values() for name in own):
        having = {m: own[metric] for m, own in found.items() if metric in own}

        def compare(best: str, method: str, having: dict[str, Measure] = having) -> tuple[Comparison, float] | None:
            ours, theirs = having[method], having[best]
            keep = ours.defined & theirs.defined
            if ours.kind == "geometric":
                return COMPARISON_OF["mean"](ours.terms, theirs.terms, codes[best]), 0.0
            floor = 0.0
            if ours.column.unit == "share" and min(ours.values.shape[1], theirs.values.shape[1]) > 1:
                floor = difference_noise(order_noise(ours.terms), order_noise(theirs.terms))
            return _comparison(ours.masked(keep), theirs.masked(keep), codes[best], settings), floor

        values = {m: measure.value for m, measure in having.items()}
        result[metric] = marked(values, column(metric), compare)
    return result


def _best_times(images: Mapping[str, pd.DataFrame], settings: _Settings) -> dict[str, set[str]]:
    """Metric -> methods that no method is faster than beyond noise; ratios of quantiles over the blocks of both."""
    result = {}
    kinds = [("latency_median_ms", "ms", 0.5), ("latency_p90_ms", "ms", 0.9), *((f"{s}_ms", s, 0.5) for s in STAGES)]
    for metric, source, q in kinds:

        def compare(best: str, method: str, source: str = source, q: float = q) -> tuple[Comparison, float]:
            (a, blocks_a), (b, blocks_b) = (
                (images[m][source].to_numpy(np.float64), images[m]["block"].to_numpy()) for m in (method, best)
            )
            return ratio_comparison(a, blocks_a, b, blocks_b, q, settings.draws, settings.seed), 0.0

        values = {m: float(np.quantile(own[source], q)) for m, own in images.items()}
        if all(own[source].gt(0).all() for own in images.values()):
            result[metric] = marked(values, column(metric), compare, null=1.0)
    result["speedup"] = result.get("latency_median_ms", set())
    return result


def _times(
    method: str, images: Mapping[str, pd.DataFrame], disturbed: pd.DataFrame, pairs: pd.DataFrame, settings: _Settings
) -> tuple[Rows, Rows]:
    """Latency of extraction, of its stages, of matching and estimation; and the row of the speed-up's difference."""
    draws, seed = settings.draws, settings.seed
    result: Rows = []
    compared: Rows = []
    own = images.get(method)
    if own is not None:
        ms, blocks = own["ms"].to_numpy(np.float64), own["block"].to_numpy()
        for metric, q in (("latency_median_ms", 0.5), ("latency_p90_ms", 0.9)):
            result.append(_row(method, "all", metric, _latency(ms, blocks, q, disturbed)))
        bound = early_stopping_percentile(ms, 0.99).value
        if not math.isnan(bound):
            result.append(_row(method, "all", "latency_p99_ms", _plain(bound)))
        base = images.get(settings.reference)
        if base is not None:
            reference = base["ms"].to_numpy(np.float64), base["block"].to_numpy()
            ratio = ratio_comparison(*reference, ms, blocks, 0.5, draws, seed)
            result.append(_row(method, "all", "speedup", Interval(ratio.value, *ratio.limits(1 - ALPHA))))
            if method != settings.reference:
                ends = (end - 1 for end in (ratio.value, *ratio.limits(1 - ALPHA)))
                cells = (method, settings.reference, "all", "speedup", *ends)
                cells += (ratio.p_value(1.0), math.nan, math.nan, math.nan, math.nan, "")
                compared.append(dict(zip(DIFFERENCES, cells, strict=True)))
        for stage in STAGES:
            result.append(_row(method, "all", f"{stage}_ms", _latency(own[stage], blocks, 0.5, disturbed)))
    rows = pairs[pairs["method"] == method]
    for metric in ("match_ms", "estimate_ms"):
        if metric in rows and rows[metric].notna().any():
            timed = rows[metric].to_numpy(dtype=np.float64, na_value=np.nan)
            interval = quantile_interval(timed, cluster_codes(rows["sequence"].to_numpy())[0], 0.5)
            result.append(_row(method, "all", metric, interval))
    return result, compared


def _costs(method: str, info: Any) -> Rows:
    """Load, compile, first inference and memory, as the worker measured them."""
    fields = asdict(info) if is_dataclass(info) and not isinstance(info, type) else dict(info)
    costs = fields.get("costs") or {}
    return [_row(method, "all", name, _plain(float(costs[name]))) for name in COSTS if costs.get(name) is not None]


def _throughput(manifest: Mapping[str, Any]) -> Rows:
    """Images per second with requests in flight, where it was measured, and how many there were."""
    names = {"images_per_s": "throughput_per_s", "streams": "throughput_streams", "requests": "throughput_requests"}
    return [
        _row(method, "all", name, _plain(float(values[key])))
        for method, values in (manifest.get("throughput") or {}).items()
        if isinstance(values, Mapping)
        for key, name in names.items()
        if values.get(key) is not None
    ]


def numbers(summary: Summary) -> pd.DataFrame:
    """One row per method and split, one column per metric, with its interval in ``_low`` and ``_high``.

    Columns come in the order of :func:`bench.metrics.columns.columns`, thresholds rising; values are rounded to nine
    significant digits. Equal runs give equal frames apart from times.
    """
    frame = summary.table
    order = {name: number for number, name in enumerate(columns())}

    def rank(metric: str) -> tuple[int, float]:
        t = threshold_px(metric)
        template = metric if metric in order else metric.replace(f"_{t:g}px", "_{t}px")
        return order.get(template, len(order)), t

    metrics = sorted(frame["metric"].unique(), key=rank)
    index = ["method", "split"]
    heads = frame[index].drop_duplicates()
    counts = frame[frame["n_pairs"].notna()].groupby(index)[["n_pairs", "n_sequences"]].max()
    keys = pd.MultiIndex.from_frame(heads)
    found: dict[str, pd.Series] = {name: counts[name].reindex(keys) for name in ("n_pairs", "n_sequences")}
    for metric in metrics:
        rows = frame[frame["metric"] == metric].set_index(index)
        for source, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            if source == "value" or rows[source].notna().any():
                values = rows[source].map(lambda x: float(f"{x:.9g}"))
                found[metric + suffix] = values.reindex(keys)
    # One frame at the end: a join per column takes a second for the columns of a run.
    return pd.DataFrame(found, index=keys).reset_index()
