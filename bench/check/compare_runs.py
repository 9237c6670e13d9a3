"""From folders to a comparison: which runs there are, in which order, and the files that come out."""

from __future__ import annotations

import glob
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.check.evidence import Evidence, extraction_times, load
from bench.core.errors import BenchError, ConfigError, StoreError
from bench.core.files import new_directory, read_parquet, write_error
from bench.core.names import folders_matching
from bench.metrics.columns import COUNTS, current, current_names, metrics_of
from bench.metrics.record import filled
from bench.report.comparison import Listed, Written, write_comparison
from bench.run.manifest import read_manifest, stated_protocol
from bench.run.store import PAIR_COLUMNS, TIME_COLUMNS, finished_manifest
from bench.schema import ProtocolConfig
from bench.schema.options import HistoryOrder
from bench.summary.comparison import RunComparison, RunRows, compare_many
from bench.summary.history import RunHistory, default_metrics, history

PROJECT = "superpoint-bench"


@dataclass(frozen=True)
class Compared:
    """A comparison of runs, and where it was written.

    Attributes
    ----------
    comparison : RunComparison
        ``values`` and ``differences`` are tables.
    history : RunHistory or None
        With `by`: ``points`` and ``steps`` are tables.
    left_out : tuple of Listed
        Folders that were asked for and hold no finished run, and why.
    written : Written
        Folder, page, printed tables and sentences.
    """

    comparison: RunComparison
    history: RunHistory | None
    left_out: tuple[Listed, ...]
    written: Written


def compare_runs(
    runs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    results: str | Path = "results",
    reference: str | None = None,
    side_by_side: bool | None = False,
    by: HistoryOrder | str | None = None,
    version_of: str = PROJECT,
    metrics: Sequence[str] = (),
    list_unreadable: bool = False,
    draws: int = 2000,
    seed: int = 0,
    command: Sequence[str] = (),
    title: str = "",
) -> Compared:
    """Compare finished runs and baselines; write one table and one page over all of them.

    Nothing is measured, and no run is changed. Runs that agree (protocol hash, digest of the data set, pairs) are
    compared pair by pair; see :mod:`bench.summary.comparison`.

    Parameters
    ----------
    runs : sequence of path
        Run directories, baseline folders, and patterns such as ``results/*``, in the order of the table.
    out : path, optional
        Folder to write, which must not exist; None: ``<results>/compare_<date_time>``, made for this comparison alone.
    results : path
        Where that folder is made.
    reference : str, optional
        Run (name of its folder, or its path) that the others are compared with; None: the first of those that agree.
    side_by_side : bool or None
        True: runs that do not agree stand beside each other, without differences between them. False: they are
        refused. None: like True where they do not agree, which the table, page and sentences say.
    by : {"version", "commit", "date"}, optional
        A history: runs in this order, and the steps in it.
    version_of : str
        Package whose version orders a history by version.
    metrics : sequence of str
        Only these; none: all, and of a history the main metric, matching, repeatability and the median time.
    list_unreadable : bool
        List named folders that hold no finished run instead of refusing them, as is done with those of a pattern.
    draws, seed : int
        Of the bootstrap.
    command : sequence of str
        As typed, for the page.
    title : str

    Raises
    ------
    ConfigError
        If the runs do not agree, with the differing keys; there is no such run, metric or version; `out` exists.
    StoreError
        If a named folder holds no finished run, a file is damaged, or nothing can be written.
    """
    named, found = _expanded(runs)
    sides, left_out = _read(named, found, list_unreadable, metrics)
    if not sides:
        reasons = "; ".join(f"{one.path}: {one.text}" for one in left_out[:3])
        raise StoreError(
            f"no finished run among {len(left_out)} folders ({reasons}); name finished runs with runs=[A,B]"
        )
    chosen = None if reference is None else _named_run(reference, sides)
    ordered = list(sides.values())
    labels: list[tuple[str, str]] = []
    if by is not None:
        if side_by_side:
            raise ConfigError("by and side_by_side=true are not possible together: a history needs runs that agree")
        labels = _in_order(ordered, HistoryOrder(by), version_of)
        place = {name: i for i, (_, name) in enumerate(labels)}
        ordered.sort(key=lambda run: place[run.name])
        side_by_side = False
    followed = list(metrics)
    if by is not None and not followed:
        followed = default_metrics(ordered)
    comparison = compare_many(ordered, side_by_side is not False, chosen, followed, draws, seed)
    series = None
    if by is not None:
        series = history(comparison, labels, followed, draws=draws, seed=seed)
    folder = _folder(out, Path(results))
    written = write_comparison(folder, comparison, series, left_out, command, title)
    return Compared(comparison, series, tuple(left_out), written)


def _folder(out: str | Path | None, results: Path) -> Path:
    if out is None:
        return new_directory(results, "compare_")
    folder = Path(out)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        raise ConfigError(
            f"out: {folder} exists; choose another folder, it is made for this comparison alone"
        ) from None
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def _expanded(runs: Sequence[str | Path]) -> tuple[list[Path], list[Path]]:
    """Folders that were named, and folders that a pattern found; each once, in order."""
    named: list[Path] = []
    found: list[Path] = []
    for entry in runs:
        path = Path(entry)
        if path.is_dir() or not glob.has_magic(str(entry)):
            named.append(path)
            continue
        matches = sorted(folders_matching(str(entry)), key=str)
        if not matches:
            raise ConfigError(
                f"runs: no folder fits {str(entry)!r}; give folders of runs, or a pattern such as results/*"
            )
        found += matches
    known = {path.resolve() for path in named}
    for path in named:
        if not path.is_dir():
            raise ConfigError(
                f"runs: no folder {path}; give run directories, baselines, or a pattern such as results/*"
            )
    twice = next((path for i, path in enumerate(named) if path.resolve() in {p.resolve() for p in named[:i]}), None)
    if twice is not None:
        raise ConfigError(f"runs: {twice} stands twice")
    rest: dict[Path, Path] = {path.resolve(): path for path in found if path.resolve() not in known}
    return named, list(rest.values())


def _read(
    named: Sequence[Path], found: Sequence[Path], list_unreadable: bool, metrics: Sequence[str]
) -> tuple[dict[Path, RunRows], list[Listed]]:
    names = _short_names([*named, *found])
    # A baseline holds rounded numbers: runs beside it are rounded alike, so that a run equals its own baseline.
    rounded = any((path / "baseline.json").is_file() for path in (*named, *found))
    sides: dict[Path, RunRows] = {}
    left_out: list[Listed] = []
    for path in (*named, *found):
        try:
            sides[path] = _from_evidence(path, names[path]) if rounded else _from_run(path, names[path], metrics)
        except BenchError as error:
            status = _status(path)
            if path in named and not list_unreadable:
                raise
            left_out.append(Listed(names[path], status, str(error)))
    return sides, left_out


def _status(path: Path) -> str:
    """Why a folder holds no finished run, in a word or two."""
    if not (path / "manifest.json").is_file() and not (path / "baseline.json").is_file():
        return "no run"
    try:
        return "damaged" if read_manifest(path).complete else "unfinished"
    except StoreError:
        return "no run or damaged"


def _short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Folder names, with as many of the folders above as it takes to tell them apart."""
    found: dict[Path, str] = {}
    for path in paths:
        parts = path.resolve().parts
        for depth in range(1, len(parts)):
            name = "/".join(parts[-depth:])
            others = [other.resolve().parts for other in paths if other is not path]
            if all("/".join(other[-depth:]) != name for other in others):
                break
        found[path] = name
    return found


def _from_run(path: Path, name: str, metrics: Sequence[str]) -> RunRows:
    """A run, of its tables only the columns that are needed."""
    if not (path / "manifest.json").is_file():
        raise StoreError(f"{path} holds no run: there is no manifest.json in it")
    manifest = finished_manifest(path)
    protocol = manifest.protocol_config()
    wanted = _columns(protocol, metrics)
    pairs = current(read_parquet(path / "pairs.parquet", PAIR_COLUMNS, only=lambda key: _now(key) in wanted))
    if manifest.rows_written is not None and len(pairs) != manifest.rows_written:
        raise StoreError(
            f"{path / 'pairs.parquet'} has {len(pairs)} rows, the manifest says {manifest.rows_written}; delete "
            "the file and start the run again to rebuild it"
        )
    times = read_parquet(path / "times.parquet", TIME_COLUMNS, only=lambda key: key in TIME_COLUMNS)
    return RunRows(name, manifest.as_dict(), protocol, pairs, extraction_times(times))


def _now(key: str) -> str:
    return current_names([key]).get(key, key)


def _columns(protocol: ProtocolConfig, metrics: Sequence[str]) -> set[str]:
    """Columns of pairs.parquet that the metrics are made of."""
    found = {*PAIR_COLUMNS, "n_failed_repeats"}
    for column in [*COUNTS, *(column for metric in metrics_of(protocol) for column in metric.columns)]:
        for name, threshold in column.names(protocol):
            if not metrics or name in metrics:
                found |= {filled(source, threshold) for source in column.sources}
    return found


def _from_evidence(path: Path, name: str) -> RunRows:
    """A baseline, or a run beside one, in the rounded numbers of a baseline."""
    side = load(path)
    manifest = _manifest_of(side)
    config = manifest["protocol"].get("config")
    if not config:
        raise StoreError(f"{path} does not state the constants of its protocol; write it again with `bench baseline`")
    protocol = stated_protocol(manifest["protocol"]["name"], config)
    times = side.times if "taken" in side.times else side.times.assign(taken=float("nan"))
    return RunRows(name, manifest, protocol, side.pairs, times)


def _manifest_of(side: Evidence) -> dict[str, Any]:
    """The header of a baseline in the shape of a manifest."""
    header = side.header
    host = dict(header.get("host") or {})
    host["hash"] = host.pop("fingerprint", None)
    return {
        **{key: header.get(key) or {} for key in ("protocol", "dataset", "seeds", "noise", "versions", "git")},
        "host": host,
        "threads": header.get("threads"),
        "config": {"latency": {"mode": header.get("latency_mode")}},
        "methods": {
            name: {
                "label": method.get("label") or name,
                "config": method.get("config") or {},
                "info": {key: method.get(key) or {} for key in ("precision", "fingerprint")},
            }
            for name, method in header["methods"].items()
        },
    }


def _named_run(reference: str, sides: Mapping[Path, RunRows]) -> str:
    for path, run in sides.items():
        if reference in (run.name, str(path), path.name) or Path(reference).resolve() == path.resolve():
            return run.name
    known = ", ".join(run.name for run in sides.values())
    raise ConfigError(f"reference={reference} is none of the runs compared; they are: {known}")


def _in_order(runs: Sequence[RunRows], by: HistoryOrder, version_of: str) -> list[tuple[str, str]]:
    """Label and name of each run, oldest first; equal labels in the order in which the runs were started."""
    started = {run.name: str(run.manifest.get("started") or "") for run in runs}
    if by is HistoryOrder.date:
        if lacking := [name for name, text in started.items() if not text]:
            raise ConfigError(f"by=date: {', '.join(lacking)} says no date; use by=version or by=commit")
        ordered = sorted(started, key=lambda name: (started[name], name))
        return [(started[name][:19].replace("T", " "), name) for name in ordered]
    if by is HistoryOrder.version:
        versions = {run.name: (run.manifest.get("versions") or {}).get(version_of) for run in runs}
        if lacking := [name for name, version in versions.items() if not version]:
            known = sorted({key for run in runs for key in run.manifest.get("versions") or {}})
            raise ConfigError(
                f"by=version: {', '.join(lacking[:3])} does not say which {version_of} it ran; choose another package "
                f"with version_of=..., of: {', '.join(known) or 'none'}"
            )
        ordered = sorted(versions, key=lambda name: (_version_key(str(versions[name])), started[name], name))
        return [(str(versions[name]), name) for name in ordered]
    commits = {run.name: (run.manifest.get("git") or {}).get("commit") for run in runs}
    if lacking := [name for name, commit in commits.items() if not commit]:
        raise ConfigError(f"by=commit: {', '.join(lacking[:3])} says no commit; use by=version or by=date")
    place = _commit_places([str(commit) for commit in commits.values()])
    dirty = {run.name: bool((run.manifest.get("git") or {}).get("dirty")) for run in runs}
    ordered = sorted(commits, key=lambda name: (place.get(str(commits[name]), 0), started[name], name))
    return [(f"{str(commits[name])[:10]}{'+' if dirty[name] else ''}", name) for name in ordered]


def _version_key(text: str) -> tuple[object, ...]:
    """Versions as PEP 440 orders them; what is none comes first, by the numbers in it."""
    from packaging.version import InvalidVersion, Version

    try:
        return (1, Version(text))
    except InvalidVersion:
        return (
            0,
            tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", text)),
        )


def _commit_places(commits: Sequence[str]) -> dict[str, int]:
    """Place of each commit in the history of the working directory's repository, oldest first.

    Empty where it does not know them all: then the runs are in the order in which they were started.
    """
    unique = list(dict.fromkeys(commits))
    if not all(re.fullmatch(r"[0-9a-f]{7,64}", commit) for commit in unique):
        return {}
    try:
        done = subprocess.run(
            ["git", "rev-list", "--topo-order", "--reverse", *unique],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    place = {commit: number for number, commit in enumerate(done.stdout.split())}
    return {commit: place[commit] for commit in unique} if all(commit in place for commit in unique) else {}
