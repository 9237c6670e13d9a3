"""What a run found, in two to five sentences that never say more than the paired intervals.

Each method is compared with the reference by the main metric of the protocol. The words have fixed meanings, from the
95 % interval of the paired difference, Holm's p-values over the methods compared, the noise floor of the estimator and
the margin of the metric's record:

======================== ===============================================================================================
the same on every pair   every value of every pair is equal; a fact about these pairs, not an estimate
loses nothing measurable not larger than the noise floor, and "worse by the margin" is refuted (p <= 0.05)
non-inferior by m        "worse by the margin m" is refuted (p <= 0.05); a difference is not shown
not distinguishable      neither a difference nor its absence is shown
better, worse by d       the interval excludes 0, p <= 0.05, and the difference exceeds the noise floor
======================== ===============================================================================================

Speeds are ratios with their intervals, without a word; times of a noisy host are left to the tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from bench.core.frames import records
from bench.metrics.columns import column
from bench.metrics.record import threshold_px
from bench.metrics.text import format_difference, format_interval, format_value

if TYPE_CHECKING:
    import pandas as pd

MIN_SEQUENCES = 6
"""Five sequences that all point the same way have p = 1/16 in a two-sided sign test."""
_HEADLINE_PX = 3.0
_FAMILIES = ("accuracy_", "auc_", "mma_", "repeatability")
_LISTED = 3
"""Methods of one finding up to which each gets its own numbers; more get the range."""
_DECIDED = 0.05


class Finding(StrEnum):
    """What the comparison of a method with the reference says."""

    SAME = "same"
    NOTHING_LOST = "nothing lost"
    NON_INFERIOR = "non-inferior"
    NOT_DISTINGUISHABLE = "not distinguishable"
    BETTER = "better"
    WORSE = "worse"
    UNKNOWN = "unknown"


def main_metric(metrics: Iterable[str]) -> str | None:
    """The metric that a table is about: accuracy, AUC, MMA or repeatability, the first there is, nearest to 3 px.

    Examples
    --------
    >>> main_metric(["auc_5px", "accuracy_1px", "accuracy_3px"])
    'accuracy_3px'
    """
    present = list(dict.fromkeys(metrics))
    for family in _FAMILIES:
        found = [name for name in present if re.fullmatch(rf"{family}([\d.]+px)?", name)]
        if found:
            return min(found, key=lambda name: abs(threshold_px(name) - _HEADLINE_PX))
    return None


def finding(row: Mapping[str, Any], n_sequences: float = math.inf) -> Finding:
    """Put one row of ``Summary.differences`` under the words above.

    Parameters
    ----------
    row : mapping
    n_sequences : float
        Below :data:`MIN_SEQUENCES` only equality of every pair can be stated.
    """
    verdict = str(row["verdict"])
    if verdict == "identical":
        return Finding.SAME
    if n_sequences < MIN_SEQUENCES or math.isnan(row["low"]) or math.isnan(row["high"]):
        return Finding.UNKNOWN
    if verdict in ("better", "worse"):
        return Finding(verdict)
    if row["p_noninferiority"] <= _DECIDED:
        small = abs(row["difference"]) <= row["noise_floor"]
        return Finding.NOTHING_LOST if small else Finding.NON_INFERIOR
    return Finding.NOT_DISTINGUISHABLE


class Findings(Protocol):
    """What a verdict reads of a :class:`bench.summary.table.Summary`."""

    @property
    def table(self) -> pd.DataFrame: ...

    @property
    def differences(self) -> pd.DataFrame: ...

    @property
    def reference(self) -> str: ...


def verdict(summary: Findings, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Say in two to five sentences what a run found.

    Parameters
    ----------
    summary : Findings
    manifest : mapping
        Of the run; labels of the methods, ``noise``, ``died`` and ``left_out`` are read. All may be missing.

    Returns
    -------
    tuple of str
        Accuracy and speed against the reference by finding, methods that are not compared, and what the times are
        worth. Plain text.
    """
    return (*_accuracy(summary, manifest), *_not_compared(summary, manifest), *_times(summary, manifest))


def _accuracy(summary: Findings, manifest: Mapping[str, Any]) -> list[str]:
    """One sentence each for: nothing lost, not distinguishable, better or worse, too few sequences."""
    metric = _metric(summary)
    if metric is None:
        return ["The run measured no accuracy, matching accuracy or repeatability."]
    own = _rows(summary.table, metric)
    against, heading = _names([summary.reference], manifest), _heading(metric)
    if summary.reference not in own:
        return [f"{against} has no {heading}, so nothing is compared with it."]
    rows = _compared(summary, metric)
    if not rows:
        return [f"{against} reaches {heading} {_value(metric, own[summary.reference])}; nothing is compared with it."]
    n_sequences = min(float(own[m]["n_sequences"]) for m in (summary.reference, *rows))
    groups: dict[Finding, list[str]] = {}
    for method, row in rows.items():
        groups.setdefault(finding(row, n_sequences), []).append(method)

    def clause(which: Finding, words: str) -> str:
        methods = groups.get(which, [])
        verbs = _SINGULAR if len(methods) == 1 else _PLURAL
        numbers = _listed([_difference(metric, rows[m]) for m in methods], [rows[m]["difference"] for m in methods])
        n_pairs = int(own[summary.reference]["n_pairs"])
        sentence = words.format(against=against, heading=heading, numbers=numbers, n_pairs=n_pairs, **verbs)
        return f"{_names(methods, manifest)} {sentence}{_speeds(summary, manifest, methods)}" if methods else ""

    margin = format_value("share", next((row["margin"] for row in rows.values()), math.nan))
    shown = f"({heading} {{numbers}})"
    sentences = [
        [
            clause(Finding.SAME, "{have} the same {heading} as {against} on each of {n_pairs} pairs"),
            clause(Finding.NOTHING_LOST, f"{{lose}} nothing measurable against {{against}} {shown}"),
            clause(Finding.NON_INFERIOR, f"{{are}} non-inferior to {{against}} by {margin} {shown}"),
        ],
        [clause(Finding.NOT_DISTINGUISHABLE, f"{{are}} not distinguishable from {{against}} {shown}")],
        [
            clause(Finding.BETTER, f"{{are}} better than {{against}} {shown}"),
            clause(Finding.WORSE, f"{{are}} worse than {{against}} {shown}"),
        ],
        [
            clause(
                Finding.UNKNOWN,
                f"{{are}} not compared with {{against}}: not enough evidence, {n_sequences:.0f} "
                f"sequence{'' if n_sequences == 1 else 's'}",
            )
        ],
    ]
    return [f"{'; '.join(parts)}." for parts in ([c for c in clauses if c] for clauses in sentences) if parts]


_SINGULAR = {"are": "is", "have": "has", "lose": "loses"}
_PLURAL = {"are": "are", "have": "have", "lose": "lose"}


def _not_compared(summary: Findings, manifest: Mapping[str, Any]) -> list[str]:
    """Methods that the sentences on accuracy do not name, and why."""
    metric = _metric(summary)
    own = _rows(summary.table, metric)
    failures, pairs = _rows(summary.table, "failures"), _rows(summary.table, "n_matches")
    methods = list(dict.fromkeys(str(m) for m in summary.table["method"]))
    lost = [m for m in methods if m in pairs and failures[m]["value"] >= failures[m]["n_pairs"]]
    died = [str(m) for m in manifest.get("died") or () if m not in lost]
    without = [m for m in methods if metric is not None and m not in own and m != summary.reference]
    found = [
        f"{_names(lost, manifest)} failed on every pair" if lost else "",
        f"the worker of {_names(died, manifest)} died, and the pairs concerned count as failed" if died else "",
        f"{_names(without, manifest)} {'has' if len(without) == 1 else 'have'} no {_heading(metric)}"
        if without and metric is not None
        else "",
        *(f"{name} did not run here ({why})" for name, why in (manifest.get("left_out") or {}).items()),
    ]
    text = "; ".join(part for part in found if part)
    return [f"{text}."] if text else []


def _times(summary: Findings, manifest: Mapping[str, Any]) -> list[str]:
    if not _compared(summary, "speedup"):
        return []
    noise = manifest.get("noise") or {}
    if _noisy(manifest):
        reasons = "; ".join(str(reason).rstrip(".") for reason in noise.get("reasons") or ())
        return [f"Times: noisy host{f' ({reasons})' if reasons else ''}, so no speed is stated."]
    return ["Times: quiet host." if "noisy" in noise else "Times: whether the host was quiet is not recorded."]


def _noisy(manifest: Mapping[str, Any]) -> bool:
    return bool((manifest.get("noise") or {}).get("noisy"))


def _metric(summary: Findings) -> str | None:
    """The main metric of the reference; of any method where the reference has none."""
    table = summary.table[summary.table["split"] == "all"]
    return main_metric(table.loc[table["method"] == summary.reference, "metric"]) or main_metric(table["metric"])


def _rows(table: pd.DataFrame, metric: str | None) -> dict[str, Any]:
    """Rows of one metric over all pairs, by method."""
    return {str(row["method"]): row for row in records(table[(table["metric"] == metric) & (table["split"] == "all")])}


def _compared(summary: Findings, metric: str) -> dict[str, Any]:
    frame = summary.differences
    return _rows(frame[frame["reference"] == summary.reference], metric)


def _names(methods: Sequence[str], manifest: Mapping[str, Any]) -> str:
    known = manifest.get("methods") or {}
    return _joined([str((known.get(m) or {}).get("label") or m) for m in methods])


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def _listed(texts: Sequence[str], values: Sequence[float]) -> str:
    """Each text, or the first and the last of them by value where there are many."""
    if len(texts) <= _LISTED:
        return _joined(texts)
    ranked = [text for _, text in sorted(zip(values, texts, strict=True))]
    return f"{ranked[0]} to {ranked[-1]}"


def _speeds(summary: Findings, manifest: Mapping[str, Any], methods: Sequence[str]) -> str:
    """``and are 1.08x [1.07x, 1.11x] as fast``; empty on a noisy host or where not every method was timed."""
    rows = _rows(summary.table, "speedup")
    timed = [rows[m] for m in methods if m in rows and not math.isnan(rows[m]["low"])]
    if _noisy(manifest) or not timed or len(timed) < len(methods):
        return ""
    numbers = _listed([_value("speedup", row) for row in timed], [row["value"] for row in timed])
    return f", and {'is' if len(timed) == 1 else 'are'} {numbers} as fast"


def _value(metric: str, row: Mapping[str, Any]) -> str:
    unit = column(metric).unit
    return f"{format_value(unit, row['value'])} {format_interval(unit, row['low'], row['high'])}".rstrip()


def _difference(metric: str, row: Mapping[str, Any]) -> str:
    unit = column(metric).unit
    return f"{format_difference(unit, row['difference'])} {format_interval(unit, row['low'], row['high'])}".rstrip()


def _heading(metric: str) -> str:
    shown = column(metric)
    if "@" not in shown.label:
        return metric.replace("_", " ")
    return shown.label if shown.label.endswith("px") else f"{shown.label} px"
