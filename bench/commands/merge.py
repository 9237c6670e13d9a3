"""`bench merge runs=[results/a,results/b,...]`: one run from the runs of all shards of a data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from omegaconf import MISSING

from bench.schema.checks import Found, Items
from bench.schema.values import Folder, Title

RunPattern = Annotated[str, Found("folders", "a run directory, or a pattern such as 'results/shard_*'")]


@dataclass
class MergeConfig:
    """`bench merge`: the runs of all shards (dataset.shard=K/N) become the run that one command would have made."""

    runs: Annotated[list[RunPattern], Items(1, 100_000)] = MISSING
    """Run directories of all shards, in any order, or patterns such as 'results/shard_*'."""
    run_dir: Folder | None = None
    """Directory of the merged run; null: ``<results>/<date_time>``."""
    results: Folder = "results"
    """Run directories are made here."""
    allow_mixed: bool = False
    """Merge shards that other versions of bench or its libraries measured; every row then says in `session` under which
    of the conditions in the manifest. Hosts may differ without it."""
    keep_features: bool = True
    """Copy the stored features; `bench verify`, `bench export` and the drawings of matches need them."""
    title: Title = ""
    """Heading of the report; empty: that of the shards."""


def main(config: MergeConfig) -> int:
    """Merge, report and say where the page is."""
    from bench.report.render import print_tables
    from bench.run.merge import found_runs, merge

    finished = merge(
        found_runs(config.runs),
        None if config.run_dir is None else Path(config.run_dir),
        Path(config.results),
        config.allow_mixed,
        config.title,
        sys.argv[1:],
        config.keep_features,
    )
    for note in finished.manifest["notes"]:
        print(f"note: {note}")
    print_tables(finished.summary, finished.manifest)
    print(f"merged {len(finished.manifest['shards'])} shards; report: {finished.report.resolve()}")
    return 0
