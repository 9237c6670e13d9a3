"""`bench [command] [overrides]`: picks the Hydra app, nothing else."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Command:
    """A primary config of ``conf/`` and the function that takes it."""

    config: str
    module: str
    help: str


COMMANDS = {
    "run": Command("run", "bench.run", "compare methods (the default)"),
    "report": Command("report", "bench.rerender", "write tables, plots and the page of a finished run again"),
    "check": Command("check", "bench.check.main", "regression gate: candidate run against a baseline"),
    "baseline": Command("baseline", "bench.check.baseline", "write a baseline from a run"),
    "parity": Command("parity", "bench.parity.main", "drift report between two precisions of one model"),
    "sweep": Command("sweep", "bench.timing.sweep", "latency over image sizes, threads and batches"),
    "convert": Command("convert", "bench.models.convert_command", "write OpenVINO models and check their parity"),
    "fetch": Command("fetch", "bench.data.fetch", "download and verify a data set or a model"),
    "export": Command("export", "bench.features.export", "write the features of a run for other tools"),
    "train": Command("train", "bench.train.main", "train MagicPoint and SuperPoint"),
}
USAGE_ERROR = 4
INTERNAL_ERROR = 5


def usage() -> str:
    """Text of ``bench --help`` that does not depend on a command."""
    lines = [f"  {name:<9} {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "bench [command] [overrides]",
            "",
            *lines,
            "",
            "Every command takes --help (its options and presets), --cfg job (the composed configuration)",
            "and -m (a sweep over comma-separated values). `bench --version` prints the version.",
            "",
        ]
    )


def main() -> None:
    """Entry point of the console script; exits with the command's code."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from bench import __version__

        print(__version__)
        sys.exit(0)
    name = "run"
    if arguments and arguments[0] in COMMANDS:
        name = arguments.pop(0)
        sys.argv = [sys.argv[0], *arguments]
    elif arguments and arguments[0].isidentifier():
        print(f"bench: unknown command {arguments[0]!r}; allowed: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    if any(argument in ("--help", "-h") for argument in arguments) and name == "run":
        print(usage())
    sys.exit(_execute(COMMANDS[name]))


def _execute(command: Command) -> int:
    from bench.config import explain
    from bench.errors import BenchError

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(True)
    # Hydra then raises instead of printing, so that every error is explained in one place.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    codes: list[int] = []
    errors: list[Exception] = []

    def task(config: Any) -> int:
        from bench.config import validated

        try:
            codes.append(int(_entry(command)(validated(config))))
        except Exception as error:
            # Hydra would print a line of its own before ours.
            errors.append(error)
            codes.append(INTERNAL_ERROR)
        return codes[-1]

    try:
        _hydra(command.config, task)
        for error in errors:
            raise error
    except KeyboardInterrupt:
        print(
            "bench: interrupted; what was measured is kept, continue with run_dir=<the run's directory>",
            file=sys.stderr,
        )
        return 130
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return USAGE_ERROR if type(error).__name__ == "ConfigError" else 1
    except Exception as error:
        text = explain(error, command.config)
        if text is None:
            logging.getLogger(__name__).exception("internal error; please report it with the lines below")
            return INTERNAL_ERROR
        print(f"bench: {text}", file=sys.stderr)
        return USAGE_ERROR
    return max(codes, default=0)


def _entry(command: Command) -> Callable[[Any], int]:
    entry: Callable[[Any], int] = importlib.import_module(command.module).main
    return entry


def _hydra(config_name: str, task: Callable[[Any], int]) -> None:
    import hydra

    from bench.config import register
    from bench.resources import resource

    register(config_name)
    hydra.main(version_base="1.3", config_path=str(resource("conf")), config_name=config_name)(task)()
