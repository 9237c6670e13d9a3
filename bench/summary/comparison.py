"""Many finished runs side by side: what differs between them, each one's numbers, and paired differences where the
pairs agree.

Runs agree if protocol hash, digest of the data set and the list of pairs are equal; such runs form a group, and
differences are taken within a group only. A row is a run and a method. It is compared with the row of the same method
in the group's reference run, or with the reference method of that run where it lacks the method.

Times are compared only where both runs were timed on one host (fingerprint), with the same threads, and neither was
disturbed. The ratio of two medians is taken at one speed of the machine (each block's times over the calibration kernel
around it), blocks are drawn for both runs together, and the interval widens by what neighbours took. What changes from
run to run is no part of that interval: two runs of one program may differ by some percent. So a time counts as
different only beyond :data:`LATENCY_FLOOR`; a history measures that variation, see :mod:`bench.summary.history`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import ConfigError
from bench.core.frames import records
from bench.metrics.columns import column
from bench.schema import ProtocolConfig
from bench.stats import holm, ratio_comparison
from bench.summary.measures import measures
from bench.summary.table import ALPHA, NOT_DISTINGUISHABLE, Rows, paired_rows, value_rows
from bench.timing.noise import smoothed, taken_at

LATENCY_FLOOR = 0.05
"""Change of a time from one run to another below which nothing is said."""
NOT_COMPARABLE = "not comparable"
LATENCIES = ("latency_median_ms", "latency_p90_ms")
VALUES = ("run", "method", "split", "metric", "value", "low", "high", "unit", "n_pairs", "n_sequences")
CHANGES = (
    "run",
    "method",
    "reference_run",
    "reference_method",
    "split",
    "metric",
    "kind",
    "difference",
    "low",
    "high",
    "unit",
    "p_value",
    "margin",
    "p_noninferiority",
    "noise_floor",
    "verdict",
    "reason",
)
_ABSENT = "–"
_NO_CONDITION = (
    "run_dir",
    "results",
    "title",
    "cache",
    "data_root",
    "methods",
    "protocol",
    "dataset",
    "threads",
    "jobs",
)
"""Keys of a configuration that change no number, or stand elsewhere."""
_PROSE = ("name", "title", "source", "unstated")
_METHOD_ELSEWHERE = ("label", "threads", "optional")


@dataclass(frozen=True)
class RunRows:
    """What a comparison knows of a finished run or a baseline.

    Attributes
    ----------
    name : str
        Unique among the runs compared.
    manifest : dict
        As ``manifest.json`` holds it; a baseline gives the part it has.
    protocol : ProtocolConfig
    pairs : DataFrame
        Rows of ``pairs.parquet``.
    extractions : DataFrame
        ``method, repeat, block, item, ms, calibration_ms, taken``, one row an extraction; see
        :func:`bench.check.evidence.extraction_times`.
    """

    name: str
    manifest: Mapping[str, Any]
    protocol: ProtocolConfig
    pairs: pd.DataFrame
    extractions: pd.DataFrame

    @property
    def methods(self) -> list[str]:
        present = set(self.pairs["method"])
        return [name for name in self.manifest["methods"] if name in present]

    @property
    def reference(self) -> str:
        """The method that the run's own report compares with."""
        chosen = (self.manifest.get("config") or {}).get("reference")
        return chosen if chosen in self.methods else self.methods[0]


@dataclass(frozen=True)
class RunComparison:
    """Many runs in numbers.

    Attributes
    ----------
    runs : tuple of RunRows
    groups : tuple of tuple of str
        Names of the runs that agree; more than one group: they stand side by side, without differences between groups.
    disagreements : tuple of Disagreement
        What keeps the groups apart.
    conditions : dict
        Setting that differs -> run -> text.
    method_conditions : dict
        Setting of methods that differs -> (run, method) -> text.
    values : DataFrame
        Columns :data:`VALUES`.
    differences : DataFrame
        Columns :data:`CHANGES`; for times ``kind`` is ratio and ``difference`` the ratio minus 1. Holm's family is
        every comparison of one split and metric. ``reason`` says why a time is not comparable.
    """

    runs: tuple[RunRows, ...]
    groups: tuple[tuple[str, ...], ...]
    disagreements: tuple[Disagreement, ...]
    conditions: dict[str, dict[str, str]]
    method_conditions: dict[str, dict[tuple[str, str], str]]
    values: pd.DataFrame
    differences: pd.DataFrame

    @property
    def side_by_side(self) -> bool:
        return len(self.groups) > 1

    def run(self, name: str) -> RunRows:
        return next(run for run in self.runs if run.name == name)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A condition without which pairs cannot be compared.

    Attributes
    ----------
    key : str
        protocol, data or pairs.
    runs : mapping
        Its value, as text, to the names of the runs that have it.
    constants : mapping
        The keys behind it that differ, with their values.
    """

    key: str
    runs: Mapping[str, tuple[str, ...]]
    constants: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        return f"{self.key} " + ", ".join(f"{value} ({_listed(names)})" for value, names in self.runs.items())

    def reason(self) -> str:
        """The same with the first keys that differ: what the first run has, and what others have."""
        shown = [f"{key} {' | '.join(map(_cut, values))}" for key, values in list(self.constants.items())[:4]]
        more = len(self.constants) - len(shown)
        keys = f" [{'; '.join(shown)}{f'; {more} more' if more > 0 else ''}]" if shown else ""
        return f"{self}{keys}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def compare_many(
    runs: Sequence[RunRows],
    side_by_side: bool = False,
    reference: str | None = None,
    metrics: Sequence[str] = (),
    draws: int = 2000,
    seed: int = 0,
) -> RunComparison:
    """Put runs into one table and compare those that agree.

    Parameters
    ----------
    runs : sequence of RunRows
        In the order of the table; at least one.
    side_by_side : bool
        Show runs that do not agree beside each other, in groups; else they are refused.
    reference : str, optional
        Run that the others are compared with; None: the first of each group.
    metrics : sequence of str
        Keep these only; none: every metric.
    draws, seed : int
        Of the bootstrap.

    Raises
    ------
    ConfigError
        If the runs do not agree, with every condition and its values; or there is no such run or metric.
    """
    apart = disagreements(runs)
    if apart and not side_by_side:
        raise ConfigError(
            f"these runs do not agree in {' and '.join(each.key for each in apart)}, so differences between them would "
            "mean nothing: "
            + "; ".join(each.reason() for each in apart)
            + ". Compare runs of one protocol and data set, or put them beside each other without differences: "
            "side_by_side=true"
        )
    groups = grouped(runs)
    values = pd.concat([_values(run, draws, seed, metrics) for run in runs], ignore_index=True)
    if unknown := [name for name in metrics if name not in set(values["metric"])]:
        known = sorted({metric for run in runs for metric in metrics_in(run)})
        raise ConfigError(f"metrics: these runs have no {', '.join(unknown)}; they have {', '.join(known)}")
    changes: Rows = []
    for group in groups:
        base = next((run for run in group if run.name == reference), group[0])
        changes += _changes(group, base, draws, seed, metrics)
    found = pd.DataFrame(changes, columns=list(CHANGES))
    run_level, method_level = differing(runs)
    return RunComparison(
        tuple(runs),
        tuple(tuple(run.name for run in group) for group in groups),
        tuple(apart),
        run_level,
        method_level,
        values,
        found,
    )


def identity(run: RunRows) -> dict[str, str]:
    """What must be equal for pairs of two runs to be compared, as texts."""
    protocol, dataset = run.manifest["protocol"], run.manifest["dataset"]
    pairs = sorted(dict.fromkeys(run.pairs["pair"].astype(str)))
    return {
        "protocol": f"{protocol['name']} {protocol['hash'][:12]}",
        "protocol hash": str(protocol["hash"]),
        "data": f"{dataset['name']} {str(dataset['digest'])[:12]}",
        "data digest": str(dataset["digest"]),
        "pairs": f"{len(pairs)} pairs, {_short_digest(pairs)}",
    }


def _short_digest(names: Sequence[str]) -> str:
    import hashlib

    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]


_DECISIVE = ("protocol hash", "data digest", "pairs")


def grouped(runs: Sequence[RunRows]) -> list[list[RunRows]]:
    """Runs that agree, in the order of their first."""
    found: dict[tuple[str, ...], list[RunRows]] = {}
    for run in runs:
        about = identity(run)
        found.setdefault(tuple(about[key] for key in _DECISIVE), []).append(run)
    return list(found.values())


def disagreements(runs: Sequence[RunRows]) -> list[Disagreement]:
    """Conditions that keep pairs from being compared, with the runs by value; empty if all agree."""
    found = []
    for shown, decisive in (("protocol", "protocol hash"), ("data", "data digest"), ("pairs", "pairs")):
        by_value: dict[str, list[str]] = {}
        texts: dict[str, str] = {}
        for run in runs:
            about = identity(run)
            by_value.setdefault(about[decisive], []).append(run.name)
            texts[about[decisive]] = about[shown]
        if len(by_value) > 1:
            named = {texts[value]: tuple(names) for value, names in by_value.items()}
            constants = _constants(runs, shown)
            found.append(Disagreement(shown, named, constants))
    return found


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _constants(runs: Sequence[RunRows], part: str) -> dict[str, tuple[str, ...]]:
    """Constants of a protocol, or settings of a data set, that differ, with their values."""
    prefix = {"protocol": "protocol.", "data": "dataset."}.get(part)
    if prefix is None:
        return {}
    run_level, _ = differing(runs)
    return {k: tuple(dict.fromkeys(v.values())) for k, v in run_level.items() if k.startswith(prefix)}


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings as dotted keys and texts."""
    if isinstance(value, Mapping) and value:
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
        return found
    return {prefix: _text(value)}


def _text(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value)


def settings(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Every condition of a run under one key: configuration, protocol, data, threads, host, versions, commit."""
    config = {key: value for key, value in (manifest.get("config") or {}).items() if key not in _NO_CONDITION}
    protocol, dataset = manifest["protocol"], manifest["dataset"]
    host, git = manifest.get("host") or {}, manifest.get("git") or {}
    constants = {k: v for k, v in (protocol.get("config") or {}).items() if k not in _PROSE}
    own = {k: v for k, v in ((manifest.get("config") or {}).get("dataset") or {}).items() if k != "name"}
    found = flat(config) if config else {}
    found["protocol"] = f"{protocol['name']} {protocol['hash'][:8]}"
    found |= flat(constants, "protocol") if constants else {}
    found["data"] = f"{dataset['name']} {str(dataset['digest'])[:8]}"
    found |= flat(own, "dataset") if own else {}
    found["threads"] = _text(manifest.get("threads"))
    cores = host.get("usable_cores")
    found["host"] = f"{host.get('cpu') or 'unknown'}{f', {cores} cores' if cores else ''} {str(host.get('hash'))[:8]}"
    found |= {f"versions.{name}": str(version) for name, version in (manifest.get("versions") or {}).items()}
    if git.get("commit"):
        found["commit"] = f"{str(git['commit'])[:12]}{' with changes' if git.get('dirty') else ''}"
    return found


def differing(runs: Sequence[RunRows]) -> tuple[dict[str, dict[str, str]], dict[str, dict[tuple[str, str], str]]]:
    """Settings that are not the same in all runs.

    Returns
    -------
    of_runs : dict
        Setting -> run -> text.
    of_methods : dict
        Setting of a method, in at least two runs that have the method -> (run, method) -> text, for every method.
    """
    every = {run.name: settings(run.manifest) for run in runs}
    keys = dict.fromkeys(key for own in every.values() for key in own)
    of_runs = {}
    for key in keys:
        texts = {name: own.get(key, _ABSENT) for name, own in every.items()}
        if len(set(texts.values())) > 1:
            of_runs[key] = texts
    methods: dict[tuple[str, str], dict[str, str]] = {}
    for run in runs:
        for name in run.methods:
            config = run.manifest["methods"][name].get("config") or {}
            info = run.manifest["methods"][name].get("info") or {}
            own = flat({k: v for k, v in config.items() if k not in _METHOD_ELSEWHERE}) if config else {}
            own |= flat(info.get("fingerprint") or {"model": None}, "model")
            methods[run.name, name] = own
    of_methods: dict[str, dict[tuple[str, str], str]] = {}
    for key in dict.fromkeys(key for own in methods.values() for key in own):
        texts_of: dict[str, set[str]] = {}
        for (_, method), own in methods.items():
            texts_of.setdefault(method, set()).add(own.get(key, _ABSENT))
        if any(len(texts) > 1 for texts in texts_of.values()):
            of_methods[key] = {place: own.get(key, _ABSENT) for place, own in methods.items()}
    return of_runs, of_methods


def metrics_in(run: RunRows) -> list[str]:
    """Metrics of pairs that any method of a run has, and the times."""
    found: dict[str, None] = {}
    for method in run.methods:
        found |= dict.fromkeys(measures(run.pairs[run.pairs["method"] == method], run.protocol))
    return [*found, *(LATENCIES if len(run.extractions) else ())]


def _values(run: RunRows, draws: int, seed: int, metrics: Sequence[str]) -> pd.DataFrame:
    frames = []
    for method in run.methods:
        rows = run.pairs[run.pairs["method"] == method]
        times = run.extractions[run.extractions["method"] == method]
        info = run.manifest["methods"][method].get("info") or {}
        frames.append(value_rows(method, rows, times, info, run.protocol, draws, seed, metrics))
    found = pd.concat(frames, ignore_index=True).drop(columns="best")
    found.insert(0, "run", run.name)
    return found[list(VALUES)]


def partners(group: Sequence[RunRows], base: RunRows) -> dict[tuple[str, str], tuple[str, str]]:
    """(run, method) -> the (run, method) it is compared with."""
    found = {}
    for run in group:
        if run is not base:
            for method in run.methods:
                found[run.name, method] = (base.name, method if method in base.methods else base.reference)
    return found


def _changes(group: Sequence[RunRows], base: RunRows, draws: int, seed: int, metrics: Sequence[str]) -> Rows:
    """Differences of a group's rows to their partners in the reference run."""
    pairs = partners(group, base)
    wanted = [*pairs, *pairs.values()]
    by_run = {run.name: run for run in group}
    rows = {
        place: by_run[place[0]].pairs[by_run[place[0]].pairs["method"] == place[1]] for place in dict.fromkeys(wanted)
    }
    names = {place: f"{i}" for i, place in enumerate(rows)}
    back = {name: place for place, name in names.items()}
    against = {names[own]: names[other] for own, other in pairs.items()}
    found = paired_rows({names[p]: frame for p, frame in rows.items()}, against, base.protocol, draws, seed, metrics)
    table: Rows = []
    for row in records(found):
        own, other = back[row["method"]], back[row["reference"]]
        cells = {key: row[key] for key in CHANGES if key in row and key not in ("method",)}
        table.append(
            cells
            | dict(zip(("run", "method", "reference_run", "reference_method"), (*own, *other), strict=True))
            | {"kind": "difference", "unit": column(row["metric"]).unit, "reason": ""}
        )
    times = [row for row in _time_changes(pairs, by_run, draws, seed) if not metrics or row["metric"] in metrics]
    return [*table, *times]


def time_reasons(ours: RunRows, theirs: RunRows) -> list[str]:
    """Why times of two runs cannot be compared; empty if they can."""
    found = []
    for run in (ours, theirs):
        noise = run.manifest.get("noise") or {}
        if noise.get("noisy"):
            found.append(f"{run.name} was disturbed ({'; '.join(map(str, noise.get('reasons') or ['noisy']))})")
        if len(run.manifest.get("sessions") or ()) > 1:
            found.append(f"{run.name} was measured under several conditions")
    a, b = (run.manifest.get("host") or {} for run in (ours, theirs))
    if not a.get("hash") or a.get("hash") != b.get("hash"):
        texts = [f"{host.get('cpu') or 'unknown'} {str(host.get('hash'))[:8]}" for host in (a, b)]
        found.append(f"hosts differ: {texts[0]}, {texts[1]}")
    elif a.get("allocation") != b.get("allocation"):
        found.append(f"memory allocation differs: {a.get('allocation')}, {b.get('allocation')}")
    threads = [run.manifest.get("threads") for run in (ours, theirs)]
    if threads[0] != threads[1]:
        found.append(f"threads differ: {threads[0]}, {threads[1]}")
    return found


def method_threads(run: RunRows, method: str) -> object:
    return (run.manifest["methods"][method].get("config") or {}).get("threads")


def at_speed(extractions: pd.DataFrame) -> pd.Series:
    """Times over those of the calibration kernel around their block; all NaN without a kernel."""
    blocks = extractions.groupby(["repeat", "block"], sort=True)["calibration_ms"].first()
    index = pd.MultiIndex.from_frame(extractions[["repeat", "block"]])
    kernel = smoothed(blocks).reindex(index).to_numpy(np.float64)
    return extractions["ms"].astype(np.float64).div(kernel)


def same_kernel(runs: Iterable[RunRows]) -> bool:
    """Whether every run timed the same calibration kernel in every block."""
    kernels = {(run.manifest.get("noise") or {}).get("kernel") for run in runs}
    timed = [run.extractions["calibration_ms"].notna().all() and len(run.extractions) > 0 for run in runs]
    return len(kernels) == 1 and None not in kernels and all(timed)


def _time_changes(
    pairs: Mapping[tuple[str, str], tuple[str, str]], runs: Mapping[str, RunRows], draws: int, seed: int
) -> Rows:
    found: Rows = []
    for own, other in pairs.items():
        sides = [runs[run].extractions[runs[run].extractions["method"] == method] for run, method in (own, other)]
        if not all(len(side) for side in sides):
            continue
        a, b = runs[own[0]], runs[other[0]]
        reasons = time_reasons(a, b)
        threads = method_threads(a, own[1]), method_threads(b, other[1])
        if threads[0] != threads[1]:
            reasons.append(f"threads of the method differ: {threads[0]}, {threads[1]}")
        values = [at_speed(side) if same_kernel((a, b)) else side["ms"] for side in sides]
        labels = [(side["repeat"].astype(str) + "/" + side["block"].astype(str)).to_numpy(str) for side in sides]
        shares = [side.groupby(["repeat", "block"])["taken"].first().to_numpy(np.float64) for side in sides]
        for metric, q in zip(LATENCIES, (0.5, 0.9), strict=True):
            ratio = ratio_comparison(values[0], labels[0], values[1], labels[1], q, draws, seed)
            low, high = ratio.limits(1 - ALPHA)
            low, high = low * (1 - taken_at(shares[0], q)), high / (1 - taken_at(shares[1], q))
            row = {
                **dict(zip(("run", "method", "reference_run", "reference_method"), (*own, *other), strict=True)),
                "split": "all",
                "metric": metric,
                "kind": "ratio",
                "unit": "ratio",
                "noise_floor": LATENCY_FLOOR,
                "margin": math.nan,
                "p_noninferiority": math.nan,
                "reason": "; ".join(dict.fromkeys(reasons)),
            }
            if reasons:
                ends = {"difference": math.nan, "low": math.nan, "high": math.nan, "p_value": math.nan}
            else:
                ends = {"difference": ratio.value - 1, "low": low - 1, "high": high - 1, "p_value": ratio.p_value(1.0)}
            found.append(row | ends)
    return _judged_times(found)


def _judged_times(rows: Rows) -> Rows:
    """Holm over the comparisons of one metric, and the word for each."""
    for metric in LATENCIES:
        own = [row for row in rows if row["metric"] == metric]
        for row, p in zip(own, holm([float(str(row["p_value"])) for row in own]), strict=True):
            row["p_value"] = float(p)
            low, high = (float(str(row[key])) for key in ("low", "high"))
            word = NOT_DISTINGUISHABLE
            if row["reason"]:
                word = NOT_COMPARABLE
            elif p <= ALPHA and low > LATENCY_FLOOR:
                word = "slower"
            elif p <= ALPHA and high < 1 / (1 + LATENCY_FLOOR) - 1:
                word = "faster"
            row["verdict"] = word
    return rows
