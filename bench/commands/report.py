"""`bench report run_dir=results/<run>`: write tables, plots and the page of a finished run again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from omegaconf import MISSING

from bench.schema.checks import Items
from bench.schema.values import FinishedRun, Name


@dataclass
class ReportConfig:
    run_dir: FinishedRun = MISSING
    """Directory of a finished run."""
    reference: Name | None = None
    """Method that the others are compared with; null: as the run says, its first method unless chosen otherwise."""
    columns: Annotated[list[Name], Items()] = field(default_factory=list)
    """Metrics of the table in summary.tex, such as [accuracy_3px,latency_median_ms], at 8 pt in one or two columns of a
    page; empty: the tables of summary.md, scaled to the page."""


def main(config: ReportConfig) -> int:
    """Render the run and say where the page is."""
    from bench.report.render import print_tables
    from bench.run.benchmark import render

    finished = render(Path(config.run_dir), config.reference, config.columns)
    print_tables(finished.summary, finished.manifest)
    print(f"report: {finished.report.resolve()}")
    return 0
