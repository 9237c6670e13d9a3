"""A multirun (`bench -m`): its folder, what each of its jobs left there, and the values that a sweeper optimises.

Jobs may run in this process, in others, or on other hosts, as the launcher has it. What they tell each other stands in
the folder of the multirun, which they share: a record a job, written when it begins and when it ends, and a lock that
it holds in between. A job that began, did not end and holds no lock was killed. So nothing depends on what a launcher
makes of an exception or an exit code. Layout::

    jobs/<job>.json     the record: :class:`Job`
    jobs/<job>.log      what it printed, where it did not run in the terminal
    <job>/              the run directory
    comparison/         one table and one page over all of them
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import logging
import math
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, ConfigError, StoreError
from bench.core.files import locked, make_folder, read_json, write_json
from bench.core.records import record
from bench.metrics.columns import column
from bench.run.store import finished_manifest
from bench.schema import RunConfig
from bench.schema.options import LatencyMode

JOBS = "jobs"
COMPARISON = "comparison"
_LONGEST = 80
_LATENCIES = ("latency_", "speedup", "throughput_")


@dataclass(frozen=True)
class Job:
    """One job of a multirun.

    Attributes
    ----------
    name : str
        Of its files: the overrides that tell it from the others.
    number : int
        Place in the order of the sweeper.
    overrides : list of str
        All of the job's; `bench` with them repeats it alone.
    invocation : str
        Which command started it; a multirun may be continued by another.
    run_dir : str or None
        Of a job of `bench run`.
    code : int or None
        Exit code; None while it has not ended.
    error : str
        The sentence of its error.
    objective : dict
        Metric -> value, as the sweeper gets it.
    host : str
    started, ended : str or None
        ISO 8601, UTC.
    """

    name: str
    number: int
    overrides: list[str]
    invocation: str
    run_dir: str | None = None
    code: int | None = None
    error: str = ""
    objective: dict[str, float] = field(default_factory=dict)
    host: str = ""
    started: str | None = None
    ended: str | None = None

    def line(self) -> str:
        """One line for the terminal."""
        values = ", ".join(f"{name} = {value:.4g}" for name, value in self.objective.items())
        what = self.error or values or "done"
        return f"job {self.number} ({self.name}): {'exit code ' + str(self.code) + ': ' if self.code else ''}{what}"


def job_name(overrides: Sequence[str], common: Sequence[str]) -> str:
    """Name of a job's files from the overrides whose keys are not common to all; cut, with a digest, where it is long.

    Examples
    --------
    >>> job_name(["dataset=photos", "protocol=strict", "seed=1"], ["dataset"])
    'protocol-strict_seed-1'
    """
    own = [word for word in overrides if word.partition("=")[0] not in common]
    plain = "_".join(word.lstrip("+~") for word in own) or "run"
    name = re.sub(r"[^\w.]+", "-", plain).strip("-.")
    if len(name) <= _LONGEST and re.fullmatch(r"[\w.=]*", plain):
        return name
    return f"{name[:_LONGEST]}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def entered(folder: Path, job: Job) -> Iterator[Job]:
    """Hold the lock of a job; a second one of the same name waits and then continues the same run directory."""
    with locked(_lock(folder, job.name), wait=True):
        begun = replace(job, host=socket.gethostname(), started=_now())
        write_json(folder / JOBS / f"{job.name}.json", asdict(begun))
        yield begun


def ended(folder: Path, job: Job, code: int, error: str = "", objective: Mapping[str, float] | None = None) -> Job:
    """Write that a job has ended."""
    done = replace(job, code=code, error=error, objective=dict(objective or {}), ended=_now())
    content = asdict(done)
    content["objective"] = {name: value for name, value in done.objective.items() if math.isfinite(value)}
    write_json(folder / JOBS / f"{job.name}.json", content)
    return done


def jobs_of(folder: Path, wait: bool = False) -> list[Job]:
    """Jobs that have begun, in the order of the sweeper; one that was killed has an error that says so.

    Parameters
    ----------
    wait : bool
        Wait for those that run.

    Raises
    ------
    StoreError
        If a record is damaged.
    """
    found = []
    for path in sorted((folder / JOBS).glob("*.json")):
        job = read_job(path)
        if job.code is None:
            running = False
            try:
                with locked(_lock(folder, job.name), wait=wait):
                    job = read_job(path)
            except StoreError:
                running = True
            if job.code is None and not running:
                log = folder / JOBS / f"{job.name}.log"
                said = f"; the end of its output is in {log}" if log.is_file() else ""
                job = replace(job, code=1, error=f"it was killed, or its process died{said}")
        found.append(job)
    return sorted(found, key=lambda job: (job.number, job.name))


def read_job(path: Path) -> Job:
    """Read a job's record."""
    return record(Job, read_json(path), str(path))


def finished_runs(folder: Path) -> list[Path]:
    """Run directories of the jobs of a multirun that are finished, in the order of the sweeper."""
    found = []
    for job in jobs_of(folder):
        if job.run_dir is not None:
            with contextlib.suppress(StoreError):
                finished_manifest(Path(job.run_dir))
                found.append(Path(job.run_dir))
    return list(dict.fromkeys(found))


def _lock(folder: Path, name: str) -> Path:
    return folder / JOBS / f".{name}.lock"


@contextlib.contextmanager
def output_to(path: Path, level: int) -> Iterator[None]:
    """Send what this process and its children print to a file, messages of bench included."""
    make_folder(path.parent)
    saved = {number: os.dup(number) for number in (1, 2)}
    with path.open("a", encoding="utf-8", buffering=1) as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger = logging.getLogger("bench")
        before = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number in saved:
            os.dup2(file.fileno(), number)
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        finally:
            for number, handle in saved.items():
                os.dup2(handle, number)
                os.close(handle)
            logger.removeHandler(handler)
            logger.level, logger.propagate = before


def split_objective(text: str) -> tuple[str, int]:
    """Metric and sign of an objective: ``-latency_median_ms`` is the metric times -1."""
    return text.removeprefix("-"), -1 if text.startswith("-") else 1


def direction(text: str) -> str | None:
    """``maximize`` or ``minimize``: in which direction an objective gets better; None where neither is better.

    Raises
    ------
    ConfigError
        If there is no such metric.
    """
    name, sign = split_objective(text)
    better = _column(name)
    if better == "neither":
        return None
    return "maximize" if (better == "higher") == (sign > 0) else "minimize"


def _column(name: str) -> str:
    try:
        return column(name).better
    except KeyError:
        raise ConfigError(
            f"objective={name}: there is no such metric; `bench list metrics` names them, such as accuracy_3px or "
            "latency_median_ms"
        ) from None


def check_objective(config: RunConfig) -> None:
    """Refuse an objective that no run of this configuration has, before any work.

    Raises
    ------
    ConfigError
    """
    for text in config.objective:
        name, _ = split_objective(text)
        direction(text)
        if name.startswith(_LATENCIES) and config.latency.mode == LatencyMode.off:
            raise ConfigError(f"objective={text} needs times, and latency=off measures none; give latency=quick")
        if name.startswith("throughput_") and not config.latency.throughput_s:
            raise ConfigError(f"objective={text} needs latency.throughput_s above 0, or latency=full")
    if config.objective_method is not None and config.objective_method not in config.methods:
        raise ConfigError(
            f"objective_method={config.objective_method} is none of the methods: {', '.join(config.methods)}"
        )


def objective_of(config: RunConfig, summary: Any) -> tuple[str, dict[str, float]]:
    """The method and the values that a sweeper optimises, over all pairs.

    Parameters
    ----------
    config : RunConfig
        ``objective``, and ``objective_method``; without that the method that the others are compared with.
    summary : bench.summary.table.Summary

    Raises
    ------
    BenchError
        If the run has no value.
    """
    method = config.objective_method or summary.reference
    table = summary.table[(summary.table["split"] == "all") & (summary.table["method"] == method)]
    values = {}
    for text in config.objective:
        name, sign = split_objective(text)
        found = table.loc[table["metric"] == name, "value"]
        if len(found) != 1 or not math.isfinite(float(found.iloc[0])):
            has = ", ".join(table.loc[table["value"].notna(), "metric"])
            raise BenchError(f"objective={text}: {method} has no such value in this run; it has {has}")
        values[text] = sign * float(found.iloc[0])
    return method, values


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
