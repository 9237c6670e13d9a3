"""`bench compare runs=[A,B]`: one table and one page over finished runs; with by=version a history and its steps."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.schema.options import FailOn, HistoryOrder
from bench.schema.values import Draws, Folder, Items, Name, RunFolders, Seed, Title


@dataclass
class CompareConfig:
    """`bench compare`: one table and one page over finished runs, their paired differences, or their history."""

    runs: Annotated[list[RunFolders], Items(1)] = MISSING
    """Folders of runs or baselines, and patterns such as results/*."""
    reference: Name | None = None
    """Run that the others are compared with; null: the first of those that agree."""
    side_by_side: bool = False
    """Put runs that do not agree in protocol or data beside each other, without differences between them."""
    by: HistoryOrder | None = None
    """A history: runs in order of version, commit or date, and the first run after which something changed."""
    version_of: Name = "superpoint-bench"
    """Package whose version orders a history, such as openvino."""
    metrics: Annotated[list[Name], Items()] = field(default_factory=list)
    """Metrics to keep; empty: all, of a history the main metric, matching, repeatability and the median time."""
    fail_on: FailOn = FailOn.never
    """What ends the command with code 1: a step of the history, or a difference of a headline metric or time."""
    out: Folder | None = None
    """Folder to write, which must not exist; null: results/compare_DATE_TIME."""
    title: Title = ""
    draws: Draws = 2000
    """Of the bootstrap of ratios and medians."""
    seed: Seed = 0
    results: Folder = "results"

    def __post_init__(self) -> None:
        if self.fail_on is FailOn.step and self.by is None:
            raise ConfigError("fail_on=step needs a history: give by=version, by=commit or by=date")
        if self.by is not None and self.side_by_side:
            raise ConfigError("by and side_by_side=true are not possible together: a history needs runs that agree")


def main(config: CompareConfig) -> int:
    """Compare, write, print; 1 if `fail_on` says so, else 0."""
    from bench.check.compare_runs import compare_runs
    from bench.report.comparison import decided_differences, print_comparison

    found = compare_runs(
        config.runs,
        out=config.out,
        results=Path(config.results),
        reference=config.reference,
        side_by_side=config.side_by_side,
        by=config.by,
        version_of=config.version_of,
        metrics=config.metrics,
        draws=config.draws,
        seed=config.seed,
        command=sys.argv[1:],
        title=config.title,
    )
    print_comparison(found.written)
    print(f"comparison: {found.written.page.resolve()}")
    if config.fail_on is FailOn.step:
        return int(found.history is not None and len(found.history.steps) > 0)
    return int(config.fail_on is FailOn.difference and decided_differences(found.comparison) > 0)
