"""The result of a check on the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.check.report import (
    cells,
    columns,
    counts,
    finding_lines,
    footer_lines,
    heading,
    ordered,
    plan_rows,
    plan_sentence,
    state,
    summary_lines,
)
from bench.report.console import TextColumn, TextSection, print_table, terminal, width_of
from bench.stats import Decision

if TYPE_CHECKING:
    from rich.console import Console

    from bench.check.decide import Comparison
    from bench.check.gate import Report

_COLOURS = {"fail": "bold red", "inconclusive": "yellow", "improved": "green"}
_CODE_STYLES = {0: "bold green", 1: "bold red", 2: "bold yellow", 3: "bold red"}
_DISPENSABLE = ("detectable", "remark", "90% interval", "limit")
"""Columns left out, in this order, where the terminal is too narrow."""
_WIDE = 130
"""From this width the method has a column of its own; below it is the title of its rows."""


def _column(head: str) -> TextColumn:
    text = head in ("method", "metric", "remark")
    kind = "90% interval" if head.endswith("% interval") else head
    rank = next((len(_DISPENSABLE) - i for i, name in enumerate(_DISPENSABLE) if kind.startswith(name)), 0)
    return TextColumn(head, not text, rank, folds_to=24 if head == "remark" else 0)


def print_report(report: Report) -> None:
    """Print the report; without ``all_rows`` only the comparisons that did not simply pass."""
    console = terminal()
    for line in summary_lines(report):
        console.print(line, markup=False)
    for line in finding_lines(report):
        console.print(line, markup=False, style="bold red" if line.startswith("fail") else None)
    if report.config.plan and not report.refusals:
        head, rows = plan_rows(report)
        print_table(list(map(_column, head)), [TextSection(rows)], console=console)
        console.print(plan_sentence(report), markup=False)
    elif report.comparisons:
        _print_comparisons(console, report)
    code = int(report.code)
    console.print(f"{heading(report)} (exit code {code})", style=_CODE_STYLES[code], markup=False)


def _print_comparisons(console: Console, report: Report) -> None:
    everything = report.config.all_rows
    shown = [one for one in ordered(report) if everything or one.verdict is not Decision.PASS or one.improved]
    console.print(counts(report), markup=False)
    if shown:
        heads = list(map(_column, columns(report)))
        width = width_of(console)
        if width is None or width >= _WIDE:
            sections = [_section(report, shown)]
        else:
            heads = heads[1:]
            methods = dict.fromkeys(one.method for one in shown)
            sections = [_section(report, [one for one in shown if one.method == name], name) for name in methods]
        print_table(heads, sections, console=console)
    for line in footer_lines(report):
        console.print(line, markup=False)


def _section(report: Report, shown: Sequence[Comparison], method: str = "") -> TextSection:
    """Rows of some comparisons; those of one method under its name, without a column for it."""
    rows = [cells(report, one)[1 if method else 0 :] for one in shown]
    return TextSection(rows, method, [_COLOURS.get(state(one)) for one in shown])
