"""The result of a check as Markdown, JUnit XML and JSON, and the texts and cells that all outputs share."""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.check.config import Severity
from bench.check.decide import Comparison
from bench.check.power import as_change, detectable_loss
from bench.core.errors import StoreError
from bench.core.files import write_atomic, write_json
from bench.stats import Decision

if TYPE_CHECKING:
    from bench.check.gate import Report

SCHEMA_VERSION = 1
_ORDER = {Decision.FAIL: 0, Decision.INCONCLUSIVE: 1, Decision.PASS: 2}
_HEADINGS = {0: "PASS: no regression", 1: "REGRESSION", 2: "INCONCLUSIVE: not enough evidence", 3: "NOT COMPARABLE"}


def heading(report: Report) -> str:
    """First line of every report."""
    if report.config.plan and not report.refusals:
        return "PLAN"
    return _HEADINGS[int(report.code)]


def state(one: Comparison) -> str:
    """Verdict in a word for tables."""
    if one.verdict is Decision.PASS and one.improved:
        return "improved"
    return str(one.verdict) if one.decides else f"{one.verdict} (note)"


def number(value: float, unit: str = "") -> str:
    """A value for tables, with its unit."""
    if math.isnan(value):
        return "-"
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}"
    return f"{text} {unit}".rstrip()


def change_text(one: Comparison, value: float) -> str:
    """A change with its sign, relative changes as percentages."""
    if math.isnan(value):
        return "-"
    return f"{value:+.1%}" if one.kind == "ratio" else f"{value:+.4f}"


def ordered(report: Report) -> list[Comparison]:
    """Comparisons, those that need attention first."""
    return sorted(report.comparisons, key=lambda one: (_ORDER[one.verdict], not one.decides))


def _detectable(report: Report, one: Comparison) -> float:
    return as_change(one, detectable_loss(one, report.family_level, report.config.power))


def cells(report: Report, one: Comparison) -> list[str]:
    """Row of the table of comparisons."""
    return [
        one.method,
        one.metric,
        number(one.baseline, one.unit),
        number(one.candidate, one.unit),
        change_text(one, one.change),
        f"{change_text(one, one.low)} to {change_text(one, one.high)}",
        change_text(one, one.limit),
        change_text(one, _detectable(report, one)),
        state(one),
        one.remark,
    ]


def columns(report: Report) -> list[str]:
    """Headings of the table of comparisons."""
    level = f"{1 - 2 * report.config.alpha:.0%}"
    return [
        "method",
        "metric",
        "baseline",
        "candidate",
        "change",
        f"{level} interval",
        "limit",
        f"detectable ({report.config.power:.0%} power)",
        "verdict",
        "remark",
    ]


def counts(report: Report) -> str:
    """One line with the number of verdicts and findings."""
    verdicts = [state(one) for one in report.comparisons]
    kinds = ["fail", "inconclusive", "pass", "improved"]
    parts = [f"{verdicts.count(kind)} {kind}" for kind in kinds if verdicts.count(kind)]
    failing = sum(finding.severity == Severity.fail for finding in report.findings)
    if failing:
        parts.append(f"{failing} failing finding{'s' if failing > 1 else ''}")
    return ", ".join(parts) or "nothing compared"


def summary_lines(report: Report) -> list[str]:
    """What was compared, in full sentences."""
    candidate, baseline = report.candidate, report.baseline
    protocol, dataset = candidate.header["protocol"], candidate.header["dataset"]
    lines = [
        f"candidate {candidate.name} against baseline {baseline.name}; protocol {protocol['name']} "
        f"({protocol['hash']}), data set {dataset['note'] or dataset['name']}"
    ]
    lines += [
        f"not comparable ({one.key}): {one.text}; compare in spite of it with allow=[{one.key}]"
        for one in report.refusals
    ]
    if any(one.key in ("host", "threads") for one in report.refusals):
        lines.append("accuracy alone can be compared with latency.enabled=false")
    lines += [f"compared in spite of ({one.key}): {one.text}" for one in report.overridden]
    return lines + report.remarks


def finding_lines(report: Report) -> list[str]:
    """Findings, failing ones first."""
    ranked = sorted(report.findings, key=lambda finding: finding.severity != Severity.fail)
    return [
        f"{finding.severity}: {finding.kind}{f' ({finding.method})' if finding.method else ''}: {finding.text}"
        for finding in ranked
    ]


def footer_lines(report: Report) -> list[str]:
    """How to read the verdicts, and a hint where the baseline has become stale."""
    if not report.comparisons:
        return []
    config = report.config
    family = sum(one.decides for one in report.comparisons)
    lines = [
        f"pass: the interval lies above the limit. fail: worse than the limit with Holm's correction over {family} "
        f"comparisons (false alarms at most {config.alpha:.0%}). inconclusive: neither; more sequences or repeats "
        "help, see plan=true.",
        f"detectable: the true change that would have failed with {config.power:.0%} probability.",
    ]
    improved = [f"{one.method} {one.metric}" for one in report.comparisons if one.improved]
    if improved:
        lines.append(f"improved: {', '.join(improved)}; if this is meant, write a new baseline.")
    return lines


def plan_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the plan."""
    repeats = report.config.plan_repeats
    head = [
        "method",
        "metric",
        "margin",
        "sequences now",
        "repeats now",
        "order noise",
        *(f"{planned} repeats" for planned in repeats),
    ]
    rows = []
    kinds = {(one.method, one.metric): one for one in report.comparisons}
    for need in report.requirements:
        one = kinds[need.method, need.metric]
        margin = change_text(one, one.limit)
        needed = [str(need.sequences.get(planned, need.sequences.get(need.repeats, ""))) for planned in repeats]
        rows.append(
            [
                need.method,
                need.metric,
                margin,
                str(need.n_clusters),
                str(need.repeats),
                f"{need.order_share:.0%}",
                *needed,
            ]
        )
    return head, rows


def plan_sentence(report: Report) -> str:
    """What the numbers of the plan mean."""
    return (
        f"Sequences needed so that an unchanged candidate passes and a loss of twice the margin fails, each with "
        f"{report.config.power:.0%} probability; order noise: share of the variance that more repeats remove."
    )


def markdown(report: Report) -> str:
    """The report as GitHub Markdown."""
    lines = [f"## bench check: {heading(report)}", "", *(f"- {line}" for line in summary_lines(report))]
    if report.findings:
        lines += ["", "### Findings", "", *(f"- {line}" for line in finding_lines(report))]
    if report.comparisons:
        urgent = [one for one in ordered(report) if one.verdict is not Decision.PASS or one.improved]
        passed = [one for one in ordered(report) if one not in urgent]
        lines += ["", f"### Comparisons: {counts(report)}", ""]
        if urgent:
            lines += [*_table(columns(report), [cells(report, one) for one in urgent]), ""]
        if passed:
            lines += [f"<details><summary>{len(passed)} passed</summary>", ""]
            lines += _table(columns(report), [cells(report, one) for one in passed])
            lines += ["", "</details>", ""]
        lines += [f"- {line}" for line in footer_lines(report)]
    if report.config.plan and report.requirements:
        lines += ["", "### Plan", "", plan_sentence(report), "", *_table(*plan_rows(report))]
    return "\n".join(lines) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *escaped)]


def junit(report: Report) -> bytes:
    """JUnit XML: a test case per method and metric, and one per finding and refusal.

    Regressions are failures, inconclusive comparisons are skipped tests (failures where they fail the check).
    """
    suite = ElementTree.Element("testsuite", name=f"bench check {report.baseline.name}")
    totals = {"tests": 0, "failures": 0, "skipped": 0, "errors": 0}

    def case(name: str, classname: str, outcome: str | None, message: str) -> None:
        element = ElementTree.SubElement(suite, "testcase", name=name, classname=classname)
        totals["tests"] += 1
        if outcome is not None:
            totals[{"failure": "failures", "error": "errors"}.get(outcome, outcome)] += 1
            ElementTree.SubElement(element, outcome, message=message)
        else:
            ElementTree.SubElement(element, "system-out").text = message

    undecided = "failure" if report.config.on_inconclusive == "fail" else "skipped"
    outcomes = {Decision.FAIL: "failure", Decision.INCONCLUSIVE: undecided, Decision.PASS: None}
    for one in report.comparisons:
        head = columns(report)[2:8]
        message = f"{state(one)}: " + ", ".join(
            f"{key} {cell}" for key, cell in zip(head, cells(report, one)[2:8], strict=True)
        )
        outcome = outcomes[one.verdict] if one.decides else None
        case(one.metric, one.method, outcome, message)
    for finding in report.findings:
        case(
            finding.kind,
            finding.method or "run",
            "failure" if finding.severity == Severity.fail else None,
            finding.text,
        )
    for refusal in report.refusals:
        case(refusal.key, "comparable", "error", refusal.text)
    for key, value in totals.items():
        suite.set(key, str(value))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    text: str = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON; NaN and infinities become null. ``schema_version`` changes when a key changes its meaning."""
    comparisons = [
        {**_plain(asdict(one)), "verdict": str(one.verdict), "detectable": _finite(_detectable(report, one))}
        for one in report.comparisons
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "result": report.code.name.lower(),
        "exit_code": int(report.code),
        "candidate": {"name": report.candidate.name, **_identity(report.candidate.header)},
        "baseline": {"name": report.baseline.name, **_identity(report.baseline.header)},
        "config": _plain(asdict(report.config)),
        "refusals": [asdict(one) for one in report.refusals],
        "overridden": [asdict(one) for one in report.overridden],
        "findings": [asdict(one) for one in report.findings],
        "remarks": report.remarks,
        "comparisons": comparisons,
        "plan": [_plain(asdict(need)) for need in report.requirements],
    }


def _identity(header: dict[str, Any]) -> dict[str, Any]:
    dataset = {key: header["dataset"][key] for key in ("name", "digest", "note")}
    protocol = {key: header["protocol"][key] for key in ("name", "version", "hash")}
    return {"protocol": protocol, "dataset": dataset, "host": header["host"], "versions": header["versions"]}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _finite(value) if isinstance(value, float) else value


def write(report: Report) -> Path:
    """Write check.json, check.md and junit.xml, and append the Markdown to ``$GITHUB_STEP_SUMMARY`` if that is set.

    A plan is no verdict: it goes to plan.json and plan.md, and an earlier verdict stays.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    config = report.config
    folder = Path(config.output) if config.output else report.candidate.path / "check" / report.baseline.name
    text = markdown(report)
    name = "plan" if report.config.plan and not report.refusals else "check"
    write_json(folder / f"{name}.json", as_json(report))
    write_atomic(folder / f"{name}.md", text.encode())
    if name == "check":
        write_atomic(folder / "junit.xml", junit(report))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            raise StoreError(f"cannot append to GITHUB_STEP_SUMMARY={summary}: {error.strerror}") from error
    return folder
