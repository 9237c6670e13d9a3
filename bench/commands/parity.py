"""`bench parity`: what the other precisions of SuperPoint change."""

from __future__ import annotations

import datetime
import logging
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.padding import Padding
from rich.text import Text

from bench.core.errors import ConfigError
from bench.core.files import new_directory
from bench.core.types import Context, DataSet
from bench.data import load
from bench.features.base import runnable
from bench.parity.compare import Comparison, choose, compare, methods_of
from bench.parity.config import ParityConfig
from bench.parity.page import words, write_report
from bench.parity.summary import Frames, frames
from bench.parity.tables import main_table
from bench.report.console import TextColumn, TextSection, print_table, terminal
from bench.run.store import finished_manifest
from bench.schema.identity import protocol_hash
from bench.timing import host

log = logging.getLogger(__name__)
FOLDER = "parity"
"""Name of the folder inside a run's directory."""


def folder_of(config: ParityConfig, dataset: DataSet) -> Path:
    """Directory of the report: a new one, or the folder ``parity`` of a run of the same protocol and data set.

    Raises
    ------
    StoreError
        If ``run_dir`` holds no finished run.
    ConfigError
        If that run used another protocol or data set.
    """
    if config.run_dir is None:
        return new_directory(Path(config.results), "parity_")
    directory = Path(config.run_dir)
    manifest = finished_manifest(directory)
    ran = (manifest.protocol.name, manifest.protocol.hash, manifest.dataset.name)
    asked = (config.protocol.name, protocol_hash(config.protocol), dataset.name)
    if ran != asked:
        raise ConfigError(
            f"run_dir={directory} is a run of protocol {ran[0]} ({ran[1][:12]}) on {ran[2]}, this command asks for "
            f"{asked[0]} ({asked[1][:12]}) on {asked[2]}; repeat it with the same protocol and dataset"
        )
    return directory / FOLDER


def describe(config: ParityConfig, dataset: DataSet, threads: int) -> dict[str, Any]:
    """Conditions of the report, with the keys of a run's manifest."""
    return {
        "schema_version": 1,
        "kind": "parity",
        "title": f"Drift from {config.reference}",
        "reference": config.reference,
        "command": ["parity", *sys.argv[1:]],
        "started": _now(),
        "config": asdict(config),
        "protocol": {
            "name": config.protocol.name,
            "version": config.protocol.version,
            "hash": protocol_hash(config.protocol),
            "config": asdict(config.protocol),
        },
        "dataset": {"name": dataset.name, "digest": dataset.digest, "note": dataset.note},
        "seeds": {"run": config.seed, "dataset": getattr(config.dataset, "seed", None)},
        "repeats": max(config.repeats, config.protocol.estimator.repeats),
        "threads": threads,
        "host": host.fingerprint(),
        "versions": host.versions(),
        "git": host.git_commit(Path(__file__).parent),
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _runnable(config: ParityConfig) -> tuple[ParityConfig, dict[str, str]]:
    """Leave out what this host cannot run; raises ConfigError where the reference or every other method is among it."""
    kept, left_out = runnable(methods_of(config))
    if config.reference in left_out:
        raise ConfigError(
            f"reference={config.reference} cannot run here: {left_out[config.reference]}; choose another of "
            f"{', '.join(kept)}"
        )
    if len(kept) < 2:
        why = "; ".join(f"{name}, {reason}" for name, reason in left_out.items())
        raise ConfigError(f"no method is left to compare with the reference {config.reference}: {why}")
    return replace(config, methods=dict(kept)), left_out


def main(config: ParityConfig) -> int:
    """Compare, write the report, print the table, say where the page is."""
    config, left_out = _runnable(config)
    dataset = load(config.dataset, Path(config.data_root))
    folder = folder_of(config, dataset)
    dataset = choose(dataset, config.max_sequences, config.max_pairs)
    log.info("%s: %s", dataset.name, dataset.note)
    context = Context(host.resolve_threads(config.threads), Path(config.cache), Path(config.data_root), config.seed)
    manifest = describe(config, dataset, context.threads)
    try:
        comparison = compare(config, dataset, context, folder / "logs")
    except BaseException:
        if config.run_dir is None:  # made above, with nothing in it but logs
            shutil.rmtree(folder, ignore_errors=True)
        raise
    comparison.refused = left_out | comparison.refused
    methods = methods_of(config)
    manifest["methods"] = {
        name: {"label": methods[name].label or name, "config": asdict(methods[name]), "info": asdict(info)}
        for name, info in comparison.infos.items()
    }
    manifest["finished"] = _now()
    thresholds = config.protocol.homography.thresholds_px
    made = frames(comparison, thresholds)
    related = [("report of the run", "../report.html")] if config.run_dir is not None else []
    page = write_report(folder, manifest, comparison, made, thresholds, related)
    _print(made, comparison, manifest, thresholds)
    print(f"page: {page.resolve()}")
    return 0


def _print(made: Frames, comparison: Comparison, manifest: dict[str, Any], thresholds_px: list[float]) -> None:
    console = terminal()
    table = main_table(made, manifest, thresholds_px)
    wanted = ["method", "lost_0px", "gained_0px", "turn_max", "jaccard", "shift", "floor"]
    flips = [head.key for head in table.heads if head.key.startswith("flip_")]
    shown = table.select([*wanted, *flips])
    # Lost keypoints and the verdicts on homographies stay longest.
    order = ["lost_0px", *flips[:1], "floor", "gained_0px", *flips[1:], "jaccard", "turn_max", "shift"]
    columns = [
        TextColumn(head.text, head.numeric, order.index(head.key) if head.key in order else 0) for head in shown.heads
    ]
    rows = [[f"{cell.text} {cell.interval}".strip() for cell in row] for part in shown.sections for row in part.rows]
    print_table(columns, [TextSection(rows)], title=table.title, console=console)
    for heading, said in words(made, comparison, manifest):
        console.print(heading, style="bold", markup=False)
        for sentence in said:
            console.print(Padding(Text(sentence), (0, 0, 0, 2)) if console.is_terminal else Text(f"  {sentence}"))
