"""The result of a check on the console."""

from __future__ import annotations

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
from bench.report.console import TextColumn, TextSection, print_table, terminal
from bench.stats import Decision

if TYPE_CHECKING:
    from rich.console import Console

    from bench.check.gate import Report

_COLOURS = {"fail": "bold red", "inconclusive": "yellow", "improved": "green"}
_CODE_STYLES = {0: "bold green", 1: "bold red", 2: "bold yellow", 3: "bold red"}
_DISPENSABLE = ("remark", "detectable", "baseline", "candidate")
"""Columns left out, in this order, where the terminal is too narrow."""


def _column(number: int, head: str) -> TextColumn:
    rank = next((len(_DISPENSABLE) - i for i, name in enumerate(_DISPENSABLE) if head.startswith(name)), 0)
    return TextColumn(head, number >= 2, rank)


def print_report(report: Report) -> None:
    """Print the report; without ``all_rows`` only the comparisons that did not simply pass."""
    console = terminal()
    for line in summary_lines(report):
        console.print(line, markup=False)
    for line in finding_lines(report):
        console.print(line, markup=False, style="bold red" if line.startswith("fail") else None)
    if report.config.plan and not report.refusals:
        head, rows = plan_rows(report)
        print_table([_column(i, text) for i, text in enumerate(head)], [TextSection(rows)], console=console)
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
        section = TextSection([cells(report, one) for one in shown], styles=[_COLOURS.get(state(one)) for one in shown])
        heads = [_column(i, text) for i, text in enumerate(columns(report))]
        print_table(heads, [section], console=console)
    for line in footer_lines(report):
        console.print(line, markup=False)
