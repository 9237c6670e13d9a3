"""`bench report run_dir=results/<run>`: write tables, plots and the page of a finished run again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from bench.schema.values import FinishedRun, Name


@dataclass
class ReportConfig:
    run_dir: FinishedRun = MISSING
    """Directory of a finished run."""
    reference: Name | None = None
    """Method that the others are compared with; null: as the run says, its first method unless chosen otherwise."""


def main(config: ReportConfig) -> int:
    """Render the run and say where the page is."""
    from bench.report.render import print_tables
    from bench.run.benchmark import render

    finished = render(Path(config.run_dir), config.reference)
    print_tables(finished.summary, finished.manifest)
    print(f"report: {finished.report.resolve()}")
    return 0
