"""`bench [command] [overrides]`: picks the Hydra app, nothing else."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import guide
from bench.commands import COMMANDS, main_of
from bench.core import interruption

if TYPE_CHECKING:
    from bench.run.multirun import Job

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
            with _using(made):
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
    options = [word for word in typed if word not in overrides]
    if {"-m", "--multirun"} & set(options) and not {"--cfg", "-c", "--info", "-i", "--hydra-help"} & {
        word.partition("=")[0] for word in options
    }:
        return _multirun(command, options, words)
    sys.argv = [*options, *words]
    _hydra(command, task)
    for error in errors:
        raise error
    return max(codes, default=0)


@contextmanager
def _using(config: Any) -> Iterator[None]:
    """While a command works, `bench clean` leaves the caches alone that it may use."""
    from bench.commands.clean import CleanConfig
    from bench.core.resources import cache_folder
    from bench.core.usage import using

    if not hasattr(config, "cache") or isinstance(config, CleanConfig):
        yield
        return
    with using(cache_folder()), using(Path(config.cache)):
        yield


@dataclass(frozen=True)
class _Task:
    """What Hydra calls for each job of a multirun; its launcher may call it in another process or on another host."""

    command: str
    folder: Path
    common: tuple[str, ...]
    options: tuple[str, ...]
    invocation: str
    pid: int
    host: str
    level: int

    def __call__(self, config: Any) -> Any:
        from hydra.core.hydra_config import HydraConfig

        from bench.config import register
        from bench.run import multirun

        register(self.command)
        hydra = HydraConfig.get()
        words = list(hydra.overrides.task)
        name = multirun.job_name(words, self.common)
        place = str(self.folder / name) if self.command == "run" else None
        for word in words:
            place = word.removeprefix("run_dir=") if word.startswith("run_dir=") else place
        job = multirun.Job(name, int(hydra.job.num), words, self.invocation, place)
        optimises = not str(hydra.sweeper.get("_target_", "")).endswith(".BasicSweeper")
        apart = (os.getpid(), socket.gethostname()) != (self.pid, self.host)
        output = self.folder / multirun.JOBS / f"{name}.log"
        with (
            multirun.output_to(output, self.level) if apart else nullcontext(),
            multirun.entered(self.folder, job) as begun,
        ):
            try:
                code, values = self._perform(config, words, place, optimises)
                sentence = ""
            except Exception as error:
                code, sentence = _explained(self.command, error)
                values = {}
                if sentence and apart:
                    _say(f"bench: {sentence}")
            done = multirun.ended(self.folder, begun, code, sentence, values)
        if not apart:
            (log.error if code else log.info)("%s", done.line())
        if not optimises:
            return code
        if sentence:
            # What a sweeper takes for a failed trial; a run that only lost some pairs has values.
            from bench.core.errors import BenchError

            raise BenchError(sentence)
        return list(values.values()) if len(values) > 1 else next(iter(values.values()))

    def _perform(
        self, config: Any, words: list[str], place: str | None, optimises: bool
    ) -> tuple[int, dict[str, float]]:
        from bench.config import check_inputs, validated
        from bench.core.errors import ConfigError

        sys.argv = [self.options[0], *(word for word in self.options[1:] if word not in ("-m", "--multirun")), *words]
        made = validated(config, words)
        if self.command != "run":
            if optimises:
                raise ConfigError("a sweeper that optimises needs `bench -m` with objective=..., no other command")
            check_inputs(made)
            with _using(made):
                return int(main_of(self.command)(made)), {}
        if optimises and not made.objective:
            raise ConfigError(_NO_OBJECTIVE)
        made.run_dir = place
        check_inputs(made)
        from bench.commands.run import measured

        with _using(made):
            return measured(made)


_NO_OBJECTIVE = (
    "the sweeper optimises what a run returns, so say what that is: objective=accuracy_3px, "
    "objective=latency_median_ms, or objective=[accuracy_3px,latency_median_ms]; `bench list metrics` names the others"
)


def _multirun(command: str, options: list[str], words: list[str]) -> int:
    """Run the jobs of `bench -m` by whatever launcher, then say what became of each and compare the runs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from bench.core.files import new_directory
    from bench.run import multirun
    from bench.run.inventory import PREFIX

    parsed = OverridesParser.create().parse_overrides(words)
    given = {each.key_or_group: each for each in parsed}
    if "hydra.sweep.dir" in given:
        folder = Path(str(given["hydra.sweep.dir"].value())).absolute()
    else:
        results = given.get("results")
        parent = "results" if results is None or results.is_sweep_override() else str(results.value())
        folder = new_directory(Path(parent).absolute(), PREFIX)
    try:
        extra = [f"hydra.sweep.dir={_quoted(str(folder))}", *_for_plugins(given)]
        for word in extra:
            log.debug("added: %s", word)
        common = tuple(
            word.partition("=")[0] for word, each in zip(words, parsed, strict=True) if not each.is_sweep_override()
        )
        level = logging.getLogger("bench").getEffectiveLevel()
        task = _Task(
            command, folder, common, tuple(options), uuid.uuid4().hex, os.getpid(), socket.gethostname(), level
        )
        sys.argv = [*options, *(word for word in words if not word.startswith("hydra.sweep.dir=")), *extra]
        interruption.resumable(folder)
        launcher = given["hydra/launcher"].value() if "hydra/launcher" in given else "basic"
        problem: Exception | None = None
        with _told(folder, task.invocation) if launcher != "basic" else nullcontext():
            try:
                _hydra(command, task)
            except Exception as error:
                problem = error
            jobs = [job for job in multirun.jobs_of(folder, wait=True) if job.invocation == task.invocation]
    finally:
        # A job that runs here leaves its own words and folder.
        begun = any((folder / multirun.JOBS).glob("*.json"))
        sys.argv = [*options, *(word for word in words if not word.startswith("hydra.sweep.dir="))]
        interruption.resumable(folder if begun else None)
        if not begun and "hydra.sweep.dir" not in given:
            shutil.rmtree(folder, ignore_errors=True)
    if problem is not None and not jobs:
        raise problem
    again = _again(command, folder)
    code = _concluded(command, folder, jobs, problem, again)
    if command != "run" and code == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _again(command: str, folder: Path) -> str:
    """The command that continues a multirun."""
    words = ["bench", *([] if command == "run" else [command]), *sys.argv[1:]]
    return shlex.join([*words, f"hydra.sweep.dir={os.path.relpath(folder)}"])


def _concluded(command: str, folder: Path, jobs: list[Job], problem: Exception | None, again: str) -> int:
    """Table and page of the runs of a multirun, and one line for each job that failed; the exit code."""
    from bench.run import multirun

    if command == "run":
        runs = multirun.finished_runs(folder)
        if len(runs) > 1:
            _compare(runs, folder / multirun.COMPARISON, shlex.split(again)[1:])
        elif runs:
            print(f"report: {runs[0] / 'report.html'}")
    failed = [job for job in jobs if job.code]
    code = max((job.code or 0 for job in jobs), default=0)
    if problem is not None and not any(job.error for job in failed):
        number, sentence = _explained(command, problem)
        _say(f"bench: the launcher ended before its jobs: {sentence or type(problem).__name__}")
        code = max(code, number)
    said = f"bench: {len(jobs) - len(failed)} of {len(jobs)} jobs finished"
    if code:
        _say(f"{said}{', failed:' if failed else ''}")
    else:
        log.info("%s", said)
    for job in failed:
        _say(f"  {job.line()}")
    if code:
        _say(f"bench: what was measured is kept; continue with: {again}")
    return code


def _compare(runs: list[Path], out: Path, command: list[str]) -> None:
    """One table and one page over the runs of a multirun; an earlier one, of fewer runs, goes."""
    from bench.check.compare_runs import compare_runs
    from bench.report.comparison import print_comparison

    shutil.rmtree(out, ignore_errors=True)
    found = compare_runs(runs, out=out, side_by_side=None, list_unreadable=True, command=command)
    print_comparison(found.written)
    print(f"comparison: {found.written.page.resolve()}")


def _for_plugins(given: dict[str, Any]) -> list[str]:
    """What Hydra's plugins need to do what is meant: the direction of each objective, Ray's own choice of memory."""
    from bench.core.errors import ConfigError

    words = []
    launcher = given["hydra/launcher"].value() if "hydra/launcher" in given else ""
    sweeper = given["hydra/sweeper"].value() if "hydra/sweeper" in given else ""
    if launcher == "ray" and "hydra.launcher.ray.init.object_store_memory" not in given:
        # The launcher gives 75 MiB, and Ray refuses any number where it joins a cluster that is there.
        words.append("+hydra.launcher.ray.init.object_store_memory=null")
    if sweeper and sweeper != "basic":
        objective = list(map(str, given["objective"].value())) if "objective" in given else []
        if not objective:
            raise ConfigError(_NO_OBJECTIVE)
        if sweeper == "optuna":
            words += _direction(objective, given.get("hydra.sweeper.direction"))
    return words


def _direction(objective: list[str], override: Any) -> list[str]:
    """The override that tells Optuna which way each objective gets better; none where the user gave it."""
    from bench.core.errors import ConfigError
    from bench.run import multirun

    better = [multirun.direction(each) for each in objective]
    if override is None:
        for each, way in zip(objective, better, strict=True):
            if way is None:
                raise ConfigError(
                    f"objective={each}: neither more nor less of it is better; say what is meant with "
                    "hydra.sweeper.direction=maximize or minimize"
                )
        return [f"hydra.sweeper.direction={better[0] if len(better) == 1 else '[' + ','.join(map(str, better)) + ']'}"]
    value = override.value()
    said = list(map(str, value)) if isinstance(value, list) else [str(value)]
    if len(said) != len(better) or any(way not in (None, each) for way, each in zip(better, said, strict=True)):
        ways = ", ".join(f"{each}: {way}" for each, way in zip(objective, better, strict=True) if way)
        raise ConfigError(
            f"{override.input_line} is not what the objective asks for ({ways}); leave it out, or turn a metric round "
            "with a minus: objective=[-NAME]"
        )
    return []


@contextmanager
def _told(folder: Path, invocation: str) -> Iterator[None]:
    """Say which jobs of other processes have ended, as they do."""
    from bench.core.errors import BenchError
    from bench.run import multirun

    log.info("jobs write what they print to %s", folder / multirun.JOBS)
    done, told = threading.Event(), set[str]()

    def watch() -> None:
        while True:
            last = done.wait(1.0)
            try:
                for path in sorted((folder / multirun.JOBS).glob("*.json")):
                    job = multirun.read_job(path)
                    if job.invocation == invocation and job.code is not None and job.name not in told:
                        told.add(job.name)
                        (log.error if job.code else log.info)("%s", job.line())
            except (OSError, BenchError):
                pass
            if last:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _quoted(text: str) -> str:
    """As a value of an override, whatever is in it."""
    escaped = text.replace("'", r"\'")
    return f"'{escaped}'"


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
    code, sentence = _explained(command, error)
    if code != INTERNAL_ERROR:
        _say(f"bench: {sentence}")
    return code


def _explained(command: str, error: Exception) -> tuple[int, str]:
    """Exit code and sentence of an error; the traceback of one that is not explained is logged."""
    from bench.config import explain
    from bench.core.errors import BenchError

    if isinstance(error, BenchError):
        return USAGE_ERROR if command == "check" else error.exit_code, str(error)
    text = explain(error, command)
    if text is not None:
        return USAGE_ERROR, text
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EACCES, errno.ENOTDIR, errno.EISDIR):
        return USAGE_ERROR, f"{error.strerror}: {str(error.filename)[:200]}; give another file or folder"
    if isinstance(error, MemoryError):
        return (
            USAGE_ERROR if command == "check" else FAILURE,
            f"the memory of this machine does not suffice ({error}); use smaller images, fewer draws or methods",
        )
    logging.getLogger(__name__).error("internal error; please report it with the lines below", exc_info=error)
    first = (str(error).splitlines() or [""])[0]
    return INTERNAL_ERROR, f"internal error: {type(error).__name__}: {first[:200]}"


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
    if directory is not None and {"-m", "--multirun"} & set(sys.argv):
        return f"what was measured is kept, continue with: {_again(command, directory)}"
    if command != "run":
        return "repeat the command"
    if directory is None:
        return "nothing was measured yet, repeat the command"
    kept = [word for word in sys.argv[1:] if not word.startswith("run_dir=")]
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
