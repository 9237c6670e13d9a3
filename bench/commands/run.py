"""`bench`: compare methods, print the table, say where the report is."""

from __future__ import annotations

import sys

from bench.report.render import print_tables
from bench.run.benchmark import run
from bench.run.multirun import check_objective, objective_of
from bench.schema import RunConfig


def main(config: RunConfig) -> int:
    """Run the benchmark; 1 if the death of a worker lost pairs."""
    return measured(config)[0]


def measured(config: RunConfig) -> tuple[int, dict[str, float]]:
    """Run the benchmark and print its tables; the exit code, and the values of ``objective``."""
    check_objective(config)
    finished = run(config, sys.argv[1:])
    for note in finished.manifest["notes"]:
        print(f"note: {note}")
    died = finished.manifest["died"]
    if died:
        print(
            f"the worker of {', '.join(died)} died; the pairs concerned count as failed, see {finished.path / 'logs'}"
        )
    # What was found stands last, where one looks.
    print_tables(finished.summary, finished.manifest)
    print(f"report: {finished.report.resolve()}")
    method, values = objective_of(config, finished.summary)
    for text, value in values.items():
        print(f"objective: {text} of {method} = {value:.6g}")
    return 1 if died else 0, values
