"""Can the two sides be compared, which rows belong together, and what is worth a finding before any statistics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.check.config import CheckConfig
from bench.check.evidence import Evidence
from bench.core.errors import ConfigError
from bench.core.types import Outcome

ESTIMATION_FAILURES = (Outcome.TOO_FEW_MATCHES, Outcome.ESTIMATION_FAILED, Outcome.DEGENERATE)
_NAMES_SHOWN = 3
_LAYER_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason why the sides are not comparable; ``allow=[key]`` compares them in spite of it."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know whatever the statistics say. ``severity`` is fail or note."""

    kind: str
    method: str
    severity: str
    text: str


def find(folder: str, name: str) -> Path:
    """Path of a baseline given by name (below `folder`) or by path.

    Raises
    ------
    ConfigError
        If there is neither; the message lists the baselines there are.
    """
    named = Path(folder) / name
    for path in (named, Path(name)):
        if (path / "baseline.json").is_file() or (path / "manifest.json").is_file():
            return path
    known = sorted(path.parent.name for path in Path(folder).glob("*/baseline.json"))
    raise ConfigError(
        f"baseline={name!r} is neither in {folder}/ ({', '.join(known) or 'no baselines there'}) nor a folder with "
        "baseline.json or manifest.json; make one with `bench baseline run=results/<run> name=NAME`"
    )


def method_map(candidate: Evidence, baseline: Evidence, config: CheckConfig) -> dict[str, str]:
    """Candidate method -> baseline method.

    Raises
    ------
    ConfigError
        If ``compare`` names one that is not there, or nothing is left to compare.
    """
    chosen = dict(config.compare)
    for key, side, names in (("candidate", candidate, chosen), ("baseline", baseline, chosen.values())):
        unknown = [name for name in names if name not in side.methods]
        if unknown:
            raise ConfigError(f"compare: the {key} has no {', '.join(unknown)}; it has {', '.join(side.methods)}")
    if not chosen:
        chosen = {name: name for name in candidate.methods if name in baseline.methods}
    if not chosen:
        raise ConfigError(
            f"candidate ({', '.join(candidate.methods)}) and baseline ({', '.join(baseline.methods)}) share no method; "
            "say which belong together with +compare.CANDIDATE_METHOD=BASELINE_METHOD"
        )
    return chosen


def refusals(candidate: Evidence, baseline: Evidence, methods: Mapping[str, str], config: CheckConfig) -> list[Refusal]:
    """Every reason against a comparison, also those that ``allow`` overrides."""
    a, b = candidate.header, baseline.header
    found = []

    def different(key: str, what: str, left: object, right: object) -> None:
        if left != right:
            found.append(Refusal(key, f"{what} differs: candidate {left}, baseline {right}"))

    for part, keys in (("protocol", ("name", "version", "hash")), ("dataset", ("name", "digest"))):
        left, right = (" ".join(str(side[part][key]) for key in keys) for side in (a, b))
        different(part, part, left, right)
    pairs_a, pairs_b = set(a["dataset"]["pairs"] or ()), set(b["dataset"]["pairs"] or ())
    if pairs_a != pairs_b:
        lost, added = sorted(pairs_b - pairs_a), sorted(pairs_a - pairs_b)
        found.append(
            Refusal(
                "pairs",
                f"pair list differs: {_names(lost)} only in the baseline, {_names(added)} only in the candidate",
            )
        )
    if latency_reason(candidate, baseline, config) is None:
        different("host", "host (for latency)", _host(a), _host(b))
        threads = [_threads(side, names) for side, names in ((a, list(methods)), (b, list(methods.values())))]
        different("threads", "threads (for latency)", *threads)
    return found


def latency_reason(candidate: Evidence, baseline: Evidence, config: CheckConfig) -> str | None:
    """Why latency is not compared at all; None if it is."""
    if not config.latency.enabled:
        return "latency.enabled=false"
    for side, name in ((candidate, "candidate"), (baseline, "baseline")):
        if side.header["latency_mode"] == "off" or side.times.empty:
            return f"the {name} was run with latency=off"
    return None


def _host(header: Mapping[str, Any]) -> str:
    host = header["host"]
    return f"{host.get('cpu', 'unknown')} ({host.get('usable_cores', '?')} cores, {host.get('fingerprint')})"


def _threads(header: Mapping[str, Any], methods: list[str]) -> str:
    return f"{header['threads']} " + ", ".join(
        str(header["methods"][name]["config"].get("threads", "")) for name in methods
    )


def _names(names: list[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def align(
    candidate: pd.DataFrame, baseline: pd.DataFrame, methods: Mapping[str, str]
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows of both sides for each candidate method, row i of both the same pair, sorted by pair."""
    aligned = {}
    for name, reference in methods.items():
        left = candidate[candidate["method"] == name].set_index("pair")
        right = baseline[baseline["method"] == reference].set_index("pair")
        common = left.index.intersection(right.index).sort_values()
        aligned[name] = (left.loc[common], right.loc[common])
    return aligned


def findings(candidate: Evidence, baseline: Evidence, methods: Mapping[str, str], config: CheckConfig) -> list[Finding]:
    """Missing methods and rows, new kinds of failure, changed precision, model and versions."""
    found = list(_missing(candidate, baseline, methods, config))
    for name, reference in methods.items():
        found += _failures(candidate, baseline, name, reference, config)
        found += _precision(candidate.header["methods"][name], baseline.header["methods"][reference], name, config)
    if latency_reason(candidate, baseline, config) is None:
        found += _noise(candidate, baseline)
    return found + list(_notes(candidate, baseline, methods))


def _missing(
    candidate: Evidence, baseline: Evidence, methods: Mapping[str, str], config: CheckConfig
) -> Iterator[Finding]:
    if not config.compare:
        for name in baseline.methods:
            if name not in methods.values():
                yield Finding("missing_method", name, config.findings.missing_method, "the candidate lacks this method")
    planned = set(candidate.header["dataset"]["pairs"] or ()) & set(baseline.header["dataset"]["pairs"] or ())
    for name, reference in methods.items():
        for side, method, severity, words in (
            (candidate, name, config.findings.missing_row, "the candidate"),
            (baseline, reference, config.findings.missing_row, "the baseline"),
        ):
            absent = sorted(planned - set(side.pairs.loc[side.pairs["method"] == method, "pair"]))
            if absent:
                text = f"{words} has no row for {len(absent)} of {len(planned)} pairs: {_names(absent)}"
                yield Finding("missing_row", name, severity, text)


def _failures(
    candidate: Evidence, baseline: Evidence, name: str, reference: str, config: CheckConfig
) -> Iterator[Finding]:
    now = candidate.pairs.loc[candidate.pairs["method"] == name].set_index("pair")["outcome"]
    before = baseline.pairs.loc[baseline.pairs["method"] == reference, "outcome"]
    for kind in sorted(set(now) - set(before) - {str(Outcome.OK)}):
        concerned = sorted(now.index[now == kind])
        gate = "new_estimation_failure" if kind in ESTIMATION_FAILURES else "new_failure_kind"
        text = f"{kind}, which the baseline does not have, on {len(concerned)} pairs: {_names(concerned)}"
        yield Finding(gate, name, getattr(config.findings, gate), text)


def _precision(now: Mapping[str, Any], before: Mapping[str, Any], name: str, config: CheckConfig) -> Iterator[Finding]:
    a, b = now["precision"], before["precision"]
    if _text(a.get("requested")) != _text(b.get("requested")):
        text = f"requested {_text(b.get('requested'))} -> {_text(a.get('requested'))}"
        yield Finding("requested_precision", name, config.findings.requested_precision, text)
        if _differs(a.get("executed"), b.get("executed")):
            text = f"executed {_text(b.get('executed'))} -> {_text(a.get('executed'))}"
            yield Finding("requested_precision", name, config.findings.requested_precision, text)
    elif (a.get("executed") is None) != (b.get("executed") is None):
        yield Finding("executed_precision", name, "note", "recorded on one side only")
    elif _differs(a.get("executed"), b.get("executed")):
        text = f"same request, but executed {_text(b.get('executed'))} -> {_text(a.get('executed'))}"
        yield Finding("executed_precision", name, config.findings.executed_precision, text)


def _differs(a: Any, b: Any) -> bool:
    """True unless both executed alike; shares of layers by precision may differ a little, as a runtime fuses others."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        shares = [(a.get(key, 0.0), b.get(key, 0.0)) for key in {*a, *b}]
        if all(isinstance(value, int | float) for pair in shares for value in pair):
            return any(abs(left - right) > _LAYER_SHARE for left, right in shares)
    return _text(a) != _text(b)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _notes(candidate: Evidence, baseline: Evidence, methods: Mapping[str, str]) -> Iterator[Finding]:
    for name, reference in methods.items():
        now, before = candidate.header["methods"][name], baseline.header["methods"][reference]
        if now["fingerprint"] != before["fingerprint"]:
            changed = _changed(now["fingerprint"], before["fingerprint"])
            yield Finding("model", name, "note", f"another model: {', '.join(changed)} differ")
        settings = _changed(now["config"], before["config"])
        if settings:
            shown = "; ".join(f"{key} {before['config'].get(key)} -> {now['config'].get(key)}" for key in settings)
            if now["config"].get("backend") != before["config"].get("backend"):
                shown = f"backend {before['config'].get('backend')} -> {now['config'].get('backend')}"
            yield Finding("settings", name, "note", shown)
    versions = _changed(candidate.header["versions"], baseline.header["versions"])
    if versions:
        a, b = candidate.header["versions"], baseline.header["versions"]
        shown = ", ".join(f"{key} {b.get(key, 'absent')} -> {a.get(key, 'absent')}" for key in versions)
        yield Finding("versions", "", "note", shown)
    if candidate.header["seeds"] != baseline.header["seeds"]:
        yield Finding("seeds", "", "note", f"{baseline.header['seeds']} -> {candidate.header['seeds']}")


def _noise(candidate: Evidence, baseline: Evidence) -> Iterator[Finding]:
    for side, words in ((candidate, "candidate"), (baseline, "baseline")):
        noise = side.header["noise"]
        if noise.get("noisy"):
            yield Finding("noise", "", "note", f"{words}: {'; '.join(map(str, noise.get('reasons', ())))}")


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in {*a, *b} if a.get(key) != b.get(key))
