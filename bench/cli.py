"""`bench [command] [overrides]`: picks the Hydra app, nothing else."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

COMMANDS = {
    "run": "compare methods (the default)",
    "report": "write tables, plots and the page of a finished run again",
    "check": "regression gate: candidate run against a baseline",
    "baseline": "write a baseline from a run",
    "parity": "drift report between two precisions of one model",
    "sweep": "latency over image sizes, threads and batches",
    "convert": "write OpenVINO models and check their parity",
    "fetch": "download and verify a data set or a model",
    "export": "write the features of a run for other tools",
    "train": "train MagicPoint and SuperPoint",
}
"""Name -> what it does. The name is also that of its primary config in ``conf/`` and its module in `bench.commands`."""
USAGE_ERROR = 4
INTERNAL_ERROR = 5


def usage() -> str:
    """Text of ``bench --help`` that does not depend on a command."""
    lines = [f"  {name:<9} {text}" for name, text in COMMANDS.items()]
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
    sys.exit(_execute(name))


def _execute(command: str) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(True)
    # Hydra then raises instead of printing, so that every error is explained in one place.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    codes: list[int] = []
    errors: list[Exception] = []

    def task(config: Any) -> int:
        from hydra.core.hydra_config import HydraConfig

        from bench.config import validated

        try:
            typed = HydraConfig.get().overrides.task
            codes.append(int(_entry(command)(validated(config, typed))))
        except Exception as error:
            # Hydra would print a line of its own before ours.
            errors.append(error)
            codes.append(INTERNAL_ERROR)
        return codes[-1]

    def whole() -> int:
        _hydra(command, task)
        for error in errors:
            raise error
        return max(codes, default=0)

    return exit_code(command, whole)


def exit_code(command: str, call: Callable[[], int]) -> int:
    """Call a command and turn what it raises into one message and an exit code.

    Parameters
    ----------
    command : str
        Name in :data:`COMMANDS`; the gate's own codes 1 to 3 are verdicts, so its errors are all 4.
    call : callable
        Returns the command's exit code.
    """
    from bench.config import explain
    from bench.core.errors import BenchError

    try:
        return call()
    except KeyboardInterrupt:
        print(
            "bench: interrupted; what was measured is kept, continue with run_dir=<the run's directory>",
            file=sys.stderr,
        )
        return 130
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return USAGE_ERROR if command in ("check", "baseline") else error.exit_code
    except Exception as error:
        text = explain(error, command)
        if text is None:
            logging.getLogger(__name__).exception("internal error; please report it with the lines below")
            return INTERNAL_ERROR
        print(f"bench: {text}", file=sys.stderr)
        return USAGE_ERROR


def _entry(command: str) -> Callable[[Any], int]:
    entry: Callable[[Any], int] = importlib.import_module(f"bench.commands.{command}").main
    return entry


def _hydra(config_name: str, task: Callable[[Any], int]) -> None:
    import hydra

    from bench.config import register
    from bench.core.resources import resource

    register(config_name)
    hydra.main(version_base="1.3", config_path=str(resource("conf")), config_name=config_name)(task)()
