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
from bench.stats import Decision

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from bench.check.gate import Report

_COLOURS = {"fail": "bold red", "inconclusive": "yellow", "improved": "green"}
_CODE_STYLES = {0: "bold green", 1: "bold red", 2: "bold yellow", 3: "bold red"}
_PIPED_WIDTH = 200
_DISPENSABLE = ("remark", "detectable", "baseline", "candidate")
"""Columns left out, in this order, where the terminal is too narrow."""


def print_report(report: Report) -> None:
    """Print the report; without ``all_rows`` only the comparisons that did not simply pass."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    for line in summary_lines(report):
        console.print(line, markup=False)
    for line in finding_lines(report):
        console.print(line, markup=False, style="bold red" if line.startswith("fail") else None)
    if report.config.plan and not report.refusals:
        head, rows = plan_rows(report)
        console.print(_table(console, head, rows, [None] * len(rows)))
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
        rows = [cells(report, one) for one in shown]
        console.print(_table(console, columns(report), rows, [_COLOURS.get(state(one)) for one in shown]))
    for line in footer_lines(report):
        console.print(line, markup=False)


def _table(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str | None]) -> Table:
    """A table without the columns that the terminal has no room for."""
    from rich import box
    from rich.measure import Measurement
    from rich.table import Table

    for left_out in range(len(_DISPENSABLE) + 1):
        kept = [i for i, name in enumerate(head) if not name.startswith(_DISPENSABLE[:left_out])]
        table = Table(box=box.SIMPLE_HEAD)
        for i in kept:
            table.add_column(head[i], no_wrap=True, justify="left" if i < 2 else "right")
        for row, style in zip(rows, styles, strict=True):
            table.add_row(*(row[i] for i in kept), style=style)
        if Measurement.get(console, console.options, table).maximum <= console.width:
            break
    return table
