"""`bench [command] [overrides]`: picks the Hydra app, nothing else."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import guide
from bench.commands import COMMANDS, main_of
from bench.core import interruption

log = logging.getLogger(__name__)
_CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "-c": ("job", "hydra", "all"),
    "--completion": ("bash", "zsh", "fish"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
_TAKES_VALUE = ("--package", "-p", "--config-dir", "-cd")
FAILURE = 1
USAGE_ERROR = 4
INTERNAL_ERROR = 5
READER_GONE = 128 + 13
"""As a shell says of a command that SIGPIPE ended."""


def main() -> None:
    """Entry point of the console script; exits with the command's code (docs/check.md has the table)."""
    if "_ARGCOMPLETE" in os.environ:
        from bench import completion

        completion.answer()
    interruption.watch()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A file name or a label must not end a run because the terminal has another encoding.
            stream.reconfigure(errors="backslashreplace")
    # Figures are written to files: a window system, or the name of one that is not installed, plays no part.
    os.environ["MPLBACKEND"] = "Agg"
    # Hydra then raises instead of printing, so that every error is explained in one place.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    arguments = sys.argv[1:]
    name = arguments[0] if arguments and arguments[0] in COMMANDS else "run"
    code = exit_code(name, lambda: _main(name, arguments[1:] if arguments[:1] == [name] else arguments))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (BrokenPipeError, AttributeError):
        interruption.silence()
        code = code or READER_GONE
    if interruption.received() is None:
        interruption.ignore()
    sys.exit(code)


def _main(name: str, arguments: list[str]) -> int:
    from bench.core.errors import ConfigError

    try:
        Path.cwd()
    except OSError:
        raise ConfigError("the current folder does not exist any more; change to another one") from None
    if arguments in (["--version"], ["-V"]):
        from bench import __version__

        print(__version__)
        return 0
    if arguments[:1] == ["help"]:
        arguments = ["--help", *arguments[1:]]
    elif arguments and name == "run" and arguments[0].isidentifier() and "run" not in sys.argv[1:2]:
        close = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise ConfigError(f"unknown command {arguments[0]!r}{hint} Allowed: {', '.join(COMMANDS)}")
    overrides = check_options(arguments)
    if arguments and arguments[0].partition("=")[0] == "--completion":
        from bench import completion

        print(completion.shell_code(arguments[0].partition("=")[2] or arguments[1]))
        return 0
    if {"--help", "-h"} & set(arguments):
        print(guide.of_command(name) if name in sys.argv[1:] else guide.overview())
        return 0
    if not COMMANDS[name].schema:
        return main_of(name)(overrides)
    quiet, verbose = ({"--quiet", "-q"} & set(arguments), {"--verbose", "-v"} & set(arguments))
    if quiet and verbose:
        raise ConfigError("--quiet and --verbose are not possible together; give one of them")
    _log(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    sys.argv = [sys.argv[0], *(word for word in arguments if word not in {*quiet, *verbose})]
    return _execute(name, overrides)


def _log(level: int) -> None:
    """Send messages to standard error: warnings alone (``-q``), information, or details with their time (``-v``)."""
    detailed = level == logging.DEBUG
    form = "%(asctime)s %(name)s: %(message)s" if detailed else "%(message)s"
    # Details are ours; those of the libraries would bury them.
    logging.basicConfig(level=max(level, logging.INFO), format=form, stream=sys.stderr)
    logging.getLogger("bench").setLevel(logging.NOTSET if level == logging.INFO else level)
    logging.captureWarnings(True)


def check_options(arguments: Sequence[str]) -> list[str]:
    """Refuse an option that is none, or lacks its value, and return what is left: the overrides.

    Raises
    ------
    ConfigError
        With the option and those there are.
    """
    from bench.core.errors import ConfigError

    overrides, rest = [], list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-") or argument == "-":
            overrides.append(argument)
            continue
        option, equals, value = argument.partition("=")
        if option not in guide.OPTIONS:
            close = difflib.get_close_matches(option, guide.OPTIONS, n=1, cutoff=0.7)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise ConfigError(f"unknown option {option}{hint} Allowed: {', '.join(guide.OPTIONS)}")
        if option in ("-i", "--info"):
            if equals and value not in _CHOICES["--info"]:
                raise ConfigError(f"{argument} is not possible; allowed: {', '.join(_CHOICES['--info'])}")
            if not equals and rest and rest[0] in _CHOICES["--info"]:
                rest.pop(0)
        elif option in _CHOICES or option in _TAKES_VALUE:
            if not equals:
                value = rest.pop(0) if rest else ""
            allowed = _CHOICES.get(option)
            if not value or (allowed and value not in allowed):
                raise ConfigError(f"{option} {value} is not possible; allowed: {', '.join(allowed or ['a value'])}")
            if option in ("--config-dir", "-cd") and not Path(value).is_dir():
                raise ConfigError(f"{option}: no folder {value}; give an existing one with presets in it")
        elif equals:
            raise ConfigError(f"{option} takes no value, got {argument}")
    return overrides


def _execute(command: str, overrides: Sequence[str]) -> int:
    codes: list[int] = []
    errors: list[Exception] = []

    def task(config: Any) -> int:
        from hydra.core.hydra_config import HydraConfig

        sys.argv = typed
        try:
            made = validated(config, HydraConfig.get().overrides.task)
            check_inputs(made)
            log.debug("%s: composed and checked; %s", command, " ".join(HydraConfig.get().overrides.task))
            codes.append(int(main_of(command)(made)))
        except Exception as error:
            # Hydra would print a line of its own before ours.
            errors.append(error)
            codes.append(INTERNAL_ERROR)
        return codes[-1]

    from bench.config import check_inputs, check_overrides, rewritten, validated

    words = rewritten(overrides)
    check_overrides(words, command)
    # The run records what was typed; Hydra reads the list of words that methods.add and methods.drop stand for.
    typed = sys.argv
    sys.argv = [*(word for word in typed if word not in overrides), *words]
    _hydra(command, task)
    for error in errors:
        raise error
    return max(codes, default=0)


def exit_code(command: str, call: Callable[[], int]) -> int:
    """Call a command and turn what it raises into one message and an exit code.

    Parameters
    ----------
    command : str
        Name in :data:`COMMANDS`; the codes 1 to 3 of `bench check` are verdicts, so its errors are all 4.
    call : callable
        Returns the command's exit code.
    """
    try:
        return call()
    except BaseException as error:
        if interruption.received() is not None or isinstance(error, KeyboardInterrupt):
            number = interruption.received() or signal.SIGINT
            _say(f"bench: interrupted; {_continue(command)}")
            return 128 + number
        if isinstance(error, SystemExit):
            # argparse (2), or rich, which leaves with 1 where its output has no reader and then hides that from us.
            gone = isinstance(error.__context__, BrokenPipeError) or interruption.reader_is_gone()
            if error.code not in (None, 0) and gone:
                interruption.silence()
                return READER_GONE
            return 0 if error.code in (None, 0) else USAGE_ERROR
        if isinstance(error, BrokenPipeError) and interruption.reader_is_gone():
            interruption.silence()
            return READER_GONE
        if not isinstance(error, Exception):
            raise
        return _failure(command, error)


def _failure(command: str, error: Exception) -> int:
    from bench.config import explain
    from bench.core.errors import BenchError

    if isinstance(error, BenchError):
        _say(f"bench: {error}")
        return USAGE_ERROR if command == "check" else error.exit_code
    text = explain(error, command)
    if text is not None:
        _say(f"bench: {text}")
        return USAGE_ERROR
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EACCES, errno.ENOTDIR, errno.EISDIR):
        _say(f"bench: {error.strerror}: {str(error.filename)[:200]}; give another file or folder")
        return USAGE_ERROR
    if isinstance(error, MemoryError):
        _say(
            f"bench: the memory of this machine does not suffice ({error}); use smaller images, fewer draws or methods"
        )
        return USAGE_ERROR if command == "check" else FAILURE
    logging.getLogger(__name__).error("internal error; please report it with the lines below", exc_info=error)
    return INTERNAL_ERROR


def _say(text: str) -> None:
    """Print on standard error; a terminal that is gone hears nothing."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        interruption.silence()


def _continue(command: str) -> str:
    """What to type after an interruption."""
    directory = interruption.run_directory()
    if command == "train":
        return "repeat the command to continue: what is in its folder out=... is kept"
    if command != "run":
        return "repeat the command"
    if directory is None:
        return "nothing was measured yet, repeat the command"
    kept = [word for word in sys.argv[1:] if not word.startswith("run_dir=")]
    if {"-m", "--multirun"} & set(kept):
        return (
            f"what was measured is kept in {directory}; continue with run_dir={directory} and the overrides of that run"
        )
    return f"what was measured is kept, continue with: {shlex.join(['bench', *kept, f'run_dir={directory}'])}"


def _hydra(config_name: str, task: Callable[[Any], int]) -> None:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    from bench.config import register
    from bench.core.resources import resource

    register(config_name)
    try:
        hydra.main(version_base="1.3", config_path=str(resource("conf")), config_name=config_name)(task)()
    finally:
        GlobalHydra.instance().clear()
