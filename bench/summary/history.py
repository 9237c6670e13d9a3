"""A history: runs of one benchmark by version, commit or date, and the first run after which something changed.

Accuracy and every other metric of pairs: a step is asked of the same pairs before and after. All runs of a stretch are
taken together and compared with those of the next by the metric's own paired comparison over sequences, so a release
that only re-rolls the dice of the estimator is no step, and one that changes no value of any pair cannot begin one.
Times: the logarithm of each run's median, at one speed of the machine where every run timed the kernel, varies from run
to run; a step must stand out against that variation, be larger than :data:`bench.summary.comparison.LATENCY_FLOOR`, and
last for two runs. :mod:`bench.stats.steps` says how many false steps there may be: in 5 % of histories at most any,
over all methods and metrics together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.metrics.columns import column
from bench.stats import COMPARISON_OF, Comparison, cluster_codes
from bench.stats.steps import find_splits, log_level_difference, log_level_test, residual_spread
from bench.summary.comparison import (
    LATENCY_FLOOR,
    RunComparison,
    RunRows,
    at_speed,
    metrics_in,
    same_kernel,
    time_reasons,
)
from bench.summary.measures import Measure, measures
from bench.summary.table import ALPHA, interval_kind
from bench.summary.verdict import main_metric

LATENCY = "latency_median_ms"
LEAST_TIMED_RUNS = 2
POINTS = (
    "place",
    "label",
    "run",
    "method",
    "metric",
    "unit",
    "value",
    "low",
    "high",
    "level",
    "pairs_changed",
    "reason",
)
STEPS = (
    "method",
    "metric",
    "unit",
    "place",
    "label",
    "run",
    "previous_label",
    "before",
    "after",
    "kind",
    "difference",
    "low",
    "high",
    "p_value",
    "runs_before",
    "runs_after",
    "verdict",
)


@dataclass(frozen=True)
class RunHistory:
    """A series of runs.

    Attributes
    ----------
    order : tuple of (str, str)
        Label (version, commit or date) and name of each run, oldest first.
    points : DataFrame
        Columns :data:`POINTS`: a row per run, method and metric. ``level``: mean of the runs between two steps.
        ``pairs_changed``: pairs whose value is not that of the run before. ``reason``: why a time is in no series.
    steps : DataFrame
        Columns :data:`STEPS`, oldest first. ``place``, ``label`` and ``run``: the first run after the change.
        ``p_value`` is adjusted for every contrast of every series.
    n_series : int
        Series in which a step was looked for.
    alpha : float
    """

    order: tuple[tuple[str, str], ...]
    points: pd.DataFrame
    steps: pd.DataFrame
    n_series: int
    alpha: float = ALPHA


def default_metrics(runs: Sequence[RunRows]) -> list[str]:
    """What a history follows unless told otherwise: the main metric, matching, repeatability, the median time."""
    present = list(dict.fromkeys(metric for run in runs for metric in metrics_in(run)))
    main = main_metric(present)
    wanted = (main, "mma_3px", "repeatability", LATENCY)
    return list(dict.fromkeys(name for name in wanted if name in present))


def history(
    comparison: RunComparison,
    order: Sequence[tuple[str, str]],
    metrics: Sequence[str],
    alpha: float = ALPHA,
    draws: int = 2000,
    seed: int = 0,
) -> RunHistory:
    """Follow metrics through runs that agree and find the steps.

    Parameters
    ----------
    comparison : RunComparison
        One group.
    order : sequence of (str, str)
        Label and run name, oldest first.
    metrics : sequence of str
        As of `comparison`.
    alpha : float
        Bound of the probability that a history without any change shows a step.
    draws, seed : int
        Of the bootstrap.
    """
    runs = [comparison.run(name) for _, name in order]
    chosen = list(metrics)
    points = _points(comparison, order, chosen)
    steps: list[dict[str, object]] = []
    of_pairs = [name for name in chosen if name != LATENCY]
    aligned = _aligned(runs, of_pairs)
    _mark_changes(points, aligned)
    testable = {
        key: found for key, found in ((key, _changed_places(series)) for key, series in aligned.items()) if found
    }
    timed = _timed(runs, points) if LATENCY in chosen else {}
    n_series = len(testable) + len(timed)
    share = alpha / max(n_series, 1)
    for (method, metric), places in testable.items():
        series = aligned[method, metric]
        splits, rows = _pair_steps(series, places, share, n_series, draws, seed, runs)
        _level(points, method, metric, list(series), splits)
        steps += [row | {"method": method, "metric": metric} for row in rows]
    for method, (places, logs, errors, usable) in timed.items():
        found = find_splits(
            logs, range(1, len(logs)), log_level_test(logs, math.log1p(LATENCY_FLOOR), errors), share, LEAST_TIMED_RUNS
        )
        splits = [split.place for split in found]
        sd, degrees = residual_spread(logs, splits)
        cuts = [0, *splits, len(logs)]
        for i, split in enumerate(found):
            before, after = slice(cuts[i], cuts[i + 1]), slice(cuts[i + 1], cuts[i + 2])
            size, low, high = log_level_difference(logs[before], logs[after], sd, degrees)
            steps.append(
                {
                    "method": method,
                    "metric": LATENCY,
                    "place": places[split.place],
                    "before": float(np.exp(np.log(usable[before]).mean())),
                    "after": float(np.exp(np.log(usable[after]).mean())),
                    "kind": "ratio",
                    "difference": math.expm1(size),
                    "low": math.expm1(low),
                    "high": math.expm1(high),
                    "p_value": min(1.0, split.p_value * n_series),
                    "runs_before": cuts[i + 1] - cuts[i],
                    "runs_after": cuts[i + 2] - cuts[i + 1],
                }
            )
        _level(points, method, LATENCY, places, splits)
    rows = [_described(step, order) for step in steps]
    frame = pd.DataFrame(rows, columns=list(STEPS)).sort_values(["place", "method"], kind="stable", ignore_index=True)
    return RunHistory(tuple(order), points, frame, n_series, alpha)


def _described(step: Mapping[str, object], order: Sequence[tuple[str, str]]) -> dict[str, object]:
    place, metric = int(str(step["place"])), str(step["metric"])
    label, run = order[place]
    higher = float(str(step["difference"])) > 0
    better = column(metric).higher_is_better
    word = ("higher" if higher else "lower") if better is None else ("better" if higher == better else "worse")
    unit = column(metric).unit
    return {**step, "label": label, "run": run, "previous_label": order[place - 1][0], "unit": unit, "verdict": word}


def _points(comparison: RunComparison, order: Sequence[tuple[str, str]], metrics: Sequence[str]) -> pd.DataFrame:
    table = comparison.values
    table = table[(table["split"] == "all") & table["metric"].isin(metrics)]
    rank = {name: place for place, (_, name) in enumerate(order)}
    labels = {name: label for label, name in order}
    found = table[["run", "method", "metric", "unit", "value", "low", "high"]].copy()
    found["place"] = found["run"].map(rank)
    found["label"] = found["run"].map(labels)
    found["level"], found["pairs_changed"], found["reason"] = math.nan, math.nan, ""
    by_metric = {name: number for number, name in enumerate(metrics)}
    found["_rank"] = found["metric"].map(by_metric)
    found = found.sort_values(["_rank", "method", "place"], kind="stable", ignore_index=True)
    return found[list(POINTS)]


def _aligned(runs: Sequence[RunRows], metrics: Sequence[str]) -> dict[tuple[str, str], dict[int, Measure]]:
    """(method, metric) -> place -> measure, for series of two runs at least; rows of every run in the same order."""
    found: dict[tuple[str, str], dict[int, Measure]] = {}
    for place, run in enumerate(runs) if metrics else ():
        for method in run.methods:
            rows = run.pairs[run.pairs["method"] == method].sort_values("pair", kind="stable")
            for metric, measure in measures(rows, run.protocol, metrics).items():
                if measure.kind != "geometric":
                    found.setdefault((method, metric), {})[place] = measure
    return {key: series for key, series in found.items() if len(series) > 1}


def _differs(a: Measure, b: Measure) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(N,) pairs with another value."""
    if a.values.shape != b.values.shape:
        return np.ones(len(a.values), bool)
    equal = (a.values == b.values) | (np.isnan(a.values) & np.isnan(b.values))
    return np.asarray(~equal.all(axis=1))


def _changed_places(series: Mapping[int, Measure]) -> list[int]:
    """Positions within the series whose values are not all those of the run before."""
    own = list(series.values())
    return [i for i in range(1, len(own)) if _differs(own[i - 1], own[i]).any()]


def _mark_changes(points: pd.DataFrame, aligned: Mapping[tuple[str, str], Mapping[int, Measure]]) -> None:
    for (method, metric), series in aligned.items():
        places, own = list(series), list(series.values())
        for i in range(1, len(own)):
            here = _here(points, method, metric) & (points["place"] == places[i])
            points.loc[here, "pairs_changed"] = int(_differs(own[i - 1], own[i]).sum())


def _here(points: pd.DataFrame, method: str, metric: str) -> pd.Series:
    return (points["method"] == method) & (points["metric"] == metric)


def _pair_steps(
    series: Mapping[int, Measure],
    candidates: Sequence[int],
    share: float,
    n_series: int,
    draws: int,
    seed: int,
    runs: Sequence[RunRows],
) -> tuple[list[int], list[dict[str, object]]]:
    """Steps of one metric of one method, on the pairs that every run has a value for."""
    places, own = list(series), list(series.values())
    keep = np.logical_and.reduce([measure.defined for measure in own])
    if not keep.any():
        return [], []
    first = runs[places[0]]
    method = str(next(iter(first.methods)))
    rows = first.pairs[first.pairs["method"] == method].sort_values("pair", kind="stable")
    codes, _ = cluster_codes(rows["sequence"].to_numpy()[keep])
    terms = [measure.terms[keep] for measure in own]
    values = [measure.masked(keep).value for measure in own]
    compare = COMPARISON_OF[interval_kind(own[0])]

    def compared(first: int, split: int, end: int) -> Comparison:
        return compare(np.hstack(terms[split:end]), np.hstack(terms[first:split]), codes, draws, seed)

    def test(first: int, split: int, end: int, _low: int, _high: int) -> float:
        return float(compared(first, split, end).p_value())

    found = find_splits(values, candidates, test, share) if np.isfinite(values).all() else []
    splits = [split.place for split in found]
    cuts = [0, *splits, len(own)]
    steps = []
    for i, split in enumerate(found):
        before, after = slice(cuts[i], cuts[i + 1]), slice(cuts[i + 1], cuts[i + 2])
        difference = compared(cuts[i], cuts[i + 1], cuts[i + 2])
        low, high = difference.limits(1 - ALPHA)
        levels = float(np.mean(values[before])), float(np.mean(values[after]))
        steps.append(
            {
                "place": places[split.place],
                "before": levels[0],
                "after": levels[1],
                "kind": "difference",
                "difference": levels[1] - levels[0],
                "low": low,
                "high": high,
                "p_value": min(1.0, split.p_value * n_series),
                "runs_before": cuts[i + 1] - cuts[i],
                "runs_after": cuts[i + 2] - cuts[i + 1],
            }
        )
    return splits, steps


def _level(points: pd.DataFrame, method: str, metric: str, places: Sequence[int], splits: Sequence[int]) -> None:
    """Write the mean of the runs between two steps beside each of them."""
    here = _here(points, method, metric)
    cuts = [0, *splits, len(places)]
    for a, b in itertools.pairwise(cuts):
        part = here & points["place"].isin(places[a:b])
        points.loc[part, "level"] = points.loc[part, "value"].mean()


def _timed(
    runs: Sequence[RunRows], points: pd.DataFrame
) -> dict[str, tuple[list[int], list[float], list[float], list[float]]]:
    """Method -> places, log medians, their standard errors and medians in ms, of the runs whose times compare.

    Compared are the runs under the conditions of the newest run with times that is not disturbed; the others say why
    they are left out in ``reason`` of their points.
    """
    timed = [run for run in runs if len(run.extractions)]
    base = next((run for run in reversed(timed) if not time_reasons(run, run)), None)
    usable: dict[int, RunRows] = {}
    for place, run in enumerate(runs):
        if not len(run.extractions):
            continue
        reasons = time_reasons(run, base) if base is not None else time_reasons(run, run)
        if reasons:
            here = (points["metric"] == LATENCY) & (points["place"] == place)
            points.loc[here, "reason"] = "; ".join(dict.fromkeys(reasons))
        else:
            usable[place] = run
    normalise = same_kernel(usable.values()) if usable else False
    found = {}
    for method in dict.fromkeys(name for run in usable.values() for name in run.methods):
        places, logs, medians = [], [], []
        for place, run in usable.items():
            own = run.extractions[run.extractions["method"] == method]
            if len(own):
                places.append(place)
                medians.append(float(own["ms"].median()))
                logs.append(math.log(float((at_speed(own) if normalise else own["ms"]).median())))
        if len(places) > 2 * LEAST_TIMED_RUNS - 1:
            found[method] = (places, logs, _errors(points, method, places), medians)
    return found


def _errors(points: pd.DataFrame, method: str, places: Sequence[int]) -> list[float]:
    """Standard error of the logarithm of each median, from its interval within the run."""
    own = points[_here(points, method, LATENCY)].set_index("place")
    with np.errstate(invalid="ignore", divide="ignore"):
        half = (np.log(own["high"]) - np.log(own["low"])) / 2
    found = (half / 1.96).reindex(places).to_numpy(np.float64)
    return [float(value) if np.isfinite(value) else 0.0 for value in found]
