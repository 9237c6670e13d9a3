"""Runs bad inputs through the entry of the command line, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

ARGUMENTS = Path(__file__).with_name("arguments.txt")


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes
    ----------
    arguments : sequence of str
        As typed after ``bench``; ``{tmp}`` is the folder of files.
    sentence : str
        Regular expression that the standard error must match.
    code : int
        Exit code.
    environment : mapping
        Variables set for it.
    """

    arguments: Sequence[str]
    sentence: str
    code: int = 4
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return shlex.join(self.arguments)


@dataclass(frozen=True)
class Ended:
    """What became of it."""

    code: int
    error: str
    started: bool = False
    """Whether the command's own code was reached, with its work replaced."""

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.error

    def wrong(self, case: Case) -> str | None:
        """What is wrong with it; None: it ended as it should."""
        if self.traceback:
            return "traceback"
        if self.started or self.code == 0:
            return "accepted"
        if self.code != case.code:
            return f"exit code {self.code}"
        if re.search(case.sentence, self.error) is None:
            return f"not the sentence {case.sentence!r}: {self.error[-300:]}"
        said = [line for line in self.error.splitlines() if line.startswith("bench")]
        return None if len(said) == 1 else f"{len(said)} sentences"


def argument_cases() -> list[Case]:
    """The cases of ``arguments.txt``."""
    found = []
    for line in ARGUMENTS.read_text().splitlines():
        if line and not line.startswith("#"):
            typed, _, sentence = line.rpartition(" => ")
            found.append(Case(shlex.split(typed), sentence))
    return found


def filled(case: Case, folder: Path) -> list[str]:
    return [argument.replace("{tmp}", str(folder)) for argument in case.arguments]


@contextlib.contextmanager
def _as_found() -> Iterator[None]:
    """Put back what the entry point changes for the rest of a process."""
    import logging

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)


def run_here(case: Case, folder: Path, work: bool = False) -> Ended:
    """Run in this process.

    Parameters
    ----------
    case : Case
    folder : Path
        Replaces ``{tmp}``; the working directory is an empty folder in it.
    work : bool
        False: the command's code is replaced by one that only notes that it was reached.
    """
    from bench import cli

    started: list[object] = []

    def entry(command: str) -> object:
        return lambda config: started.append(config) or 0

    error, output = io.StringIO(), io.StringIO()
    place = folder / "cwd"
    place.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_as_found())
        stack.enter_context(mock.patch.dict(os.environ, case.environment))
        stack.enter_context(mock.patch.object(sys, "argv", ["bench", *filled(case, folder)]))
        stack.enter_context(contextlib.chdir(place))
        stack.enter_context(contextlib.redirect_stderr(error))
        stack.enter_context(contextlib.redirect_stdout(output))
        if not work:
            stack.enter_context(mock.patch.object(cli, "main_of", entry))
        if not any("hydra.mode" in argument for argument in case.arguments):
            # Hydra composes everything once more to learn of a mode that nobody set.
            stack.enter_context(mock.patch("hydra._internal.hydra.Hydra.get_mode", return_value=None))
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
    return Ended(code, error.getvalue(), bool(started))


def run_apart(case: Case, folder: Path, timeout_s: float = 120) -> Ended:
    """Run as a process of its own."""
    place = folder / "cwd"
    place.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "bench", *filled(case, folder)],
        cwd=place,
        env={**os.environ, **case.environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    return Ended(done.returncode, done.stderr)
