"""The one way through the house: pairs, features, matches, homographies, rows, statistics, report."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.core.errors import ConfigError, DiskFullError, StoreError
from bench.core.files import (
    LOCK,
    locked,
    new_directory,
    plain,
    read_parquet,
    seal,
    write_atomic,
    write_json,
    write_parquet,
)
from bench.core.interruption import resumable
from bench.core.names import safe_name, to_csv
from bench.core.types import Context, DataSet, MethodInfo
from bench.data import load
from bench.features.base import built_in_size, check_sizes, runnable
from bench.report.write import write_report
from bench.run.cards import cards_of_run
from bench.run.engines import Engine, Host, Job, Sessions, engine_of
from bench.run.estimators import summarise_sweep
from bench.run.incidents import Incidents
from bench.run.manifest import (
    COMPLETE,
    NAME,
    DatasetRecord,
    Manifest,
    MethodRecord,
    ProtocolRecord,
    read_manifest,
    write_manifest,
)
from bench.run.phases import Phases, account
from bench.run.store import RunStore, finished_manifest, open_finished
from bench.schema import EngineConfig, MethodConfig, RunConfig
from bench.schema.identity import protocol_hash
from bench.schema.options import EngineKind, ResizePolicy
from bench.summary.table import STAGES, check_reference, summarise
from bench.timing import host, noise
from bench.timing.turns import Turn, together

if TYPE_CHECKING:
    from bench.report.matches import MatchDrawing
    from bench.summary.table import Summary

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    path : Path
        The run directory.
    pairs : DataFrame
        A row per method and pair.
    times : DataFrame
        A row per method, image or pair, and stage; times in milliseconds.
    summary : Summary
    manifest : dict
    report : Path
        The page ``report.html``.
    """

    path: Path
    pairs: pd.DataFrame
    times: pd.DataFrame
    summary: Summary
    manifest: dict[str, Any]
    report: Path


def run(config: RunConfig, command: list[str] | None = None) -> Run:
    """Run a benchmark, or continue the one in ``config.run_dir``.

    Parameters
    ----------
    config : RunConfig
        Resolved and validated.
    command : list of str, optional
        What the user typed; stored for the report.

    Raises
    ------
    BenchError
        With what was wrong, where, and what to do next. Everything measured before stays in the run directory.
    """
    phases = Phases()
    methods, left_out = runnable(_methods(config))
    config = _at_built_in_size(config, methods)
    check_sizes(methods, config.protocol.image)
    if config.reference is not None:
        check_reference(config.reference, methods)
    settings = EngineConfig() if _is_finished(config) else config.engine
    ready = engine_of(settings, config.threads, methods)
    dataset = load(config.dataset, Path(config.data_root))
    log.info("%s: %s", dataset.name, dataset.note)
    for warning in dataset.warnings:
        log.warning("%s", warning)
    with ready as engine, run_directory(config.results, config.run_dir) as store:
        hosts = engine.hosts()
        wanted = replace(_manifest(config, command or [], dataset, methods, engine.threads, hosts), left_out=left_out)
        manifest = store.open(wanted, config.allow_mixed, any_host=settings.kind != EngineKind.local)
        if manifest.complete:
            missing = [name for name in _TABLES if not (store.directory / name).is_file()]
            if not missing:
                log.info("%s is finished: nothing is measured again", store.directory)
                return _report(config, dataset, store, manifest, phases)
            if not store.has_measurements():
                raise StoreError(
                    f"{store.directory / missing[0]} is missing and the features it was made of were not kept; restore "
                    "it from a copy, or start a new run without run_dir"
                )
        if manifest is not wanted:
            log.info("continuing %s", store.directory)
        phases.end("start")
        whole = manifest is wanted
        manifest = _continued(wanted, manifest)
        with engine.turn(config.latency) as mine:
            if mine.waited_s:
                phases.end("wait")
            infos, manifest = _extract(config, engine, methods, dataset, store, manifest, phases)
            return _evaluate(config, engine, dataset, infos, store, manifest, phases, whole, mine)


def _is_finished(config: RunConfig) -> bool:
    """Whether there is nothing left to measure, so that no cluster is needed."""
    if config.run_dir is None or not (Path(config.run_dir) / NAME).is_file():
        return False
    return read_manifest(Path(config.run_dir)).complete


_TABLES = ("pairs.parquet", "times.parquet")
TIME_ORDER = ["repeat", "block", "order", "method", "item", "stage"]
"""Of the rows of times.parquet."""


def _at_built_in_size(config: RunConfig, methods: Mapping[str, MethodConfig]) -> RunConfig:
    """The configuration with the size that a model file has built in, where the protocol does not fix one.

    Every method then sees images of that size, under a protocol of another name and hash: its rows never stand in a
    table with those of the protocol as it was.
    """
    size, image = built_in_size(methods), config.protocol.image
    if size is None or image.policy not in (ResizePolicy.short_side, ResizePolicy.original):
        return config
    log.info("the model file is built for %s (HxW): every method gets images cropped to it", size)
    protocol = replace(
        config.protocol,
        name=f"{config.protocol.name}_{size}",
        image=replace(image, policy=ResizePolicy.cover_crop, height=size.height, width=size.width),
    )
    return replace(config, protocol=protocol)


def _manifest(
    config: RunConfig,
    command: list[str],
    dataset: DataSet,
    methods: Mapping[str, MethodConfig],
    threads: int,
    hosts: Sequence[Host],
) -> Manifest:
    """The manifest of a run that has not begun; `hosts` will measure it."""
    return Manifest(
        protocol=ProtocolRecord.of(config.protocol),
        dataset=DatasetRecord.of(dataset),
        identity=_identity(config, dataset, methods),
        sessions=[each.conditions for each in hosts],
        title=config.title,
        command=command,
        started=_now(),
        config=asdict(config),
        seeds={"run": config.seed, "dataset": getattr(config.dataset, "seed", None)},
        threads=threads,
        host=hosts[0].fingerprint,
        versions=hosts[0].versions,
        git=host.git_commit(Path(__file__).parent),
        rows_expected=len(methods) * len(dataset.pairs),
    )


def _continued(wanted: Manifest, earlier: Manifest) -> Manifest:
    """The manifest of this command with what stays true of the earlier one."""
    return replace(
        wanted,
        started=earlier.started or wanted.started,
        sessions=earlier.sessions,
        methods=earlier.methods,
        load_before=earlier.load_before,
        jobs=earlier.jobs,
        turn=earlier.turn,
    )


def _extract(
    config: RunConfig,
    engine: Engine,
    methods: Mapping[str, MethodConfig],
    dataset: DataSet,
    store: RunStore,
    manifest: Manifest,
    phases: Phases,
) -> tuple[dict[str, MethodInfo], Manifest]:
    from bench.run.extraction import Plan, extract_blocks, items_of

    items = items_of(dataset, config.protocol.image)
    known = manifest.methods
    context = Context(engine.threads, Path(config.cache), Path(config.data_root), config.seed)
    throughput: dict[str, Any] = {}
    sessions = _sessions(store, manifest)
    passes = config.latency.repeats * -(-len(items) // config.latency.block)
    images = [item.image for item in items]
    job = Job(methods, context, config.protocol.image, config.latency, config.timeouts, store.directory, images, passes)
    with engine.load(job) as loaded:
        infos = loaded.infos()
        for name, info in infos.items():
            if name in known and known[name].info.get("fingerprint") != plain(info.fingerprint):
                raise StoreError(
                    f"the model of {name} has changed since {store.directory} was started; "
                    "start a new run without run_dir"
                )
        described = _described(methods, infos, known)
        manifest = replace(manifest, methods=described, load_before=manifest.load_before or engine.idle())
        write_manifest(store.directory, replace(manifest, sessions=sessions.known))
        phases.end("load")
        pairwise = [name for name, info in infos.items() if info.pairwise]
        incidents = Incidents.of(store.directory)
        plan = Plan(list(methods), items, config.latency, store, config.seed, dataset.pairs, pairwise)
        extract_blocks(plan, lambda blocks: loaded.measure(blocks, incidents), store, sessions.place)
        phases.end("extract")
        if config.latency.throughput_s > 0:
            throughput = loaded.throughput(items, config.latency.throughput_s)
        infos |= loaded.infos()
    manifest = replace(
        manifest,
        sessions=sessions.known,
        died=incidents.died,
        notes=[*dataset.warnings, *engine.notes, *incidents.notes],
        throughput=throughput,
        methods=_described(methods, infos, known),
        load_after=engine.idle(),
        host={**manifest.host, "library_threads": [dict(pool) for pool in host.library_threads()]},
    )
    write_manifest(store.directory, manifest)
    phases.end("close")
    return infos, manifest


def _sessions(store: RunStore, manifest: Manifest) -> Sessions:
    """The run's conditions; the manifest on disk lists another one before a row names it."""

    def added(known: list[dict[str, str]]) -> None:
        write_manifest(store.directory, replace(read_manifest(store.directory), sessions=known))

    return Sessions(list(manifest.sessions), store.session, added)


def _described(
    methods: Mapping[str, MethodConfig], infos: Mapping[str, MethodInfo], known: Mapping[str, MethodRecord]
) -> dict[str, MethodRecord]:
    """Records of the methods; what an earlier try read from the runtime is kept, since a continued run with nothing
    left to extract compiles nothing."""
    found = {}
    for name, info in infos.items():
        content = plain(asdict(info))
        before = known[name].info if name in known else {}
        if "executed" in before.get("precision", {}) and "executed" not in content["precision"]:
            content |= {key: before[key] for key in ("precision", "threads")}
            content["costs"] = {**content["costs"], **before["costs"]}
        found[name] = MethodRecord(methods[name].label or info.name, plain(asdict(methods[name])), content)
    return found


def _evaluate(
    config: RunConfig,
    engine: Engine,
    dataset: DataSet,
    infos: Mapping[str, MethodInfo],
    store: RunStore,
    manifest: Manifest,
    phases: Phases,
    whole: bool,
    mine: Turn,
) -> Run:
    from bench.run.evaluation import entries, evaluate_all, resolve_jobs

    # The workers are gone: what is timed from here on is matching and estimation, and the manifest says beside what.
    jobs = engine.jobs(config.jobs, lambda: resolve_jobs(config.jobs, manifest.rows_expected or 0, store))
    sessions = _sessions(store, manifest)
    manifest = replace(manifest, jobs=max(jobs, manifest.jobs or 1))
    write_manifest(store.directory, manifest)
    pairs, swept = evaluate_all(
        dataset,
        entries(manifest),
        config.protocol,
        config.estimator_sweep,
        store,
        config.seed,
        jobs,
        config.timeouts.evaluate_s,
        evaluate=engine.evaluate,
        session_of=sessions.place,
    )
    manifest = replace(manifest, sessions=sessions.known)
    phases.end("evaluate")
    if len(pairs) != manifest.rows_expected:
        raise StoreError(
            f"{store.directory}: {len(pairs)} rows written, {manifest.rows_expected} expected; "
            "delete its folder parts/rows and repeat the command with this run_dir"
        )
    mixed = len(manifest.sessions) > 1
    pairs = marked(pairs, mixed)
    times = marked(_times(store, dataset, infos, config, pairs), mixed)
    write_parquet(store.directory / "pairs.parquet", pairs)
    write_parquet(store.directory / "times.parquet", times)
    if len(swept):
        table = summarise_sweep(swept, config.protocol, config.bootstrap_draws, config.seed)
        write_parquet(store.directory / "sweep.parquet", swept)
        write_atomic(store.directory / "sweep.csv", to_csv(table, float_format="%.6g").encode())
        log.info("estimators and thresholds beside the protocol's: %s", store.directory / "sweep.csv")
    taken = together(manifest.turn, mine.record())
    manifest = replace(
        manifest,
        rows_written=len(pairs),
        turn=taken,
        noise=noise.verdict(noise.machine(times), (manifest.load_before or {}).get("cpu_busy"), taken),
        status=COMPLETE,
        finished=_now(),
    )
    # Last: with this the run is finished, and nothing is measured again.
    write_manifest(store.directory, manifest)
    phases.end("tables")
    own = times["stage"].isin(STAGES) & (times["method"] != "calibration")
    return _report(config, dataset, store, manifest, phases, times.loc[own, "ms"].sum() / 1e3 if whole else None)


def marked(rows: pd.DataFrame, mixed: bool) -> pd.DataFrame:
    """In a run of several sessions every row says of which it is; rows of the first were written without."""
    if not mixed:
        return rows.drop(columns="session", errors="ignore")
    return rows.assign(session=rows.get("session", pd.Series(0, rows.index)).fillna(0).astype(np.int64))


def _report(
    config: RunConfig,
    dataset: DataSet,
    store: RunStore,
    manifest: Manifest,
    phases: Phases,
    stages_s: float | None = None,
) -> Run:
    """Report a finished run, drop its features if they are not to be kept, and close the list of checksums.

    Where the time went is logged and kept in ``logs/phases.json``; the page is the same whenever it is made.
    """
    from bench.run.drawings import draw_run
    from bench.run.evaluation import entries

    drawings = None
    if not (store.directory / "report.html").is_file() and store.has_measurements():
        pairs = read_parquet(store.directory / "pairs.parquet")
        drawings = draw_run(dataset, pairs, entries(manifest), config.protocol, store, config.seed)
    phases.end("drawings")
    finished = render_with(store.directory, drawings, dataset, config.reference)
    phases.end("report")
    if "evaluate" in phases.seconds:
        log.info("%s", account(phases.seconds, stages_s))
        spent = {name: round(seconds, 3) for name, seconds in phases.seconds.items()}
        write_json(store.directory / "logs" / "phases.json", {"seconds": spent, "stages_s": plain(stages_s)})
    if not config.keep_features:
        store.drop_features()
    seal(store.directory, refresh="logs")
    return finished


def read(directory: Path, reference: str | None = None) -> Run:
    """Read and summarise a finished run; nothing is measured again or written.

    Parameters
    ----------
    directory : Path
    reference : str, optional
        Method that the others are compared with, instead of the one that the run's configuration names.

    Raises
    ------
    StoreError
        If `directory` holds no finished run.
    ConfigError
        If the run has no such method.
    """
    found = open_finished(directory)
    found.manifest.protocol_config()
    content = found.manifest.as_dict()
    summary = summarise(found.pairs, found.times, content, reference=reference)
    return Run(directory, found.pairs, found.times, summary, content, directory / "report.html")


def render(directory: Path, reference: str | None = None, latex_columns: Sequence[str] = ()) -> Run:
    """Summarise and report a finished run from its files; nothing is measured or drawn again.

    Parameters
    ----------
    directory : Path
        The run directory.
    reference : str, optional
        As for :func:`read`.
    latex_columns : sequence of str
        Metrics of summary.tex; none: the tables of summary.md.

    Raises
    ------
    StoreError
        If `directory` holds no finished run, or another process works in it.
    ConfigError
        If the run has no such method or metric, or the table would be wider than a page.
    """
    finished_manifest(directory)
    with locked(directory / LOCK):
        found = render_with(directory, reference=reference, latex_columns=latex_columns)
        seal(directory)
    return found


def render_with(
    directory: Path,
    drawings: Sequence[MatchDrawing] | None = None,
    dataset: DataSet | None = None,
    reference: str | None = None,
    latex_columns: Sequence[str] = (),
) -> Run:
    """:func:`render` with drawings of matches, in a directory that nobody else works in."""
    found = read(directory, reference)
    cards = cards_of_run(directory, finished_manifest(directory), dataset)
    report = write_report(
        directory, found.manifest, found.pairs, found.times, found.summary, drawings, cards, latex_columns
    )
    return replace(found, report=report)


def _methods(config: RunConfig) -> dict[str, MethodConfig]:
    methods: dict[str, MethodConfig] = dict(config.methods)
    if not methods:
        raise ConfigError(
            "methods is empty; choose a preset such as methods=default or add one with +method@methods.X=X"
        )
    for name, method in methods.items():
        safe_name(name, "the method")
        if not isinstance(method, MethodConfig):
            raise ConfigError(
                f"methods.{name} has no schema; its YAML needs `defaults: [schema_custom, _self_]` or another schema "
                "of conf/method"
            )
        if config.protocol.keypoints.gt_filter:
            method.max_keypoints = 0  # the budget applies after the filter, per pair
    return methods


@contextmanager
def run_directory(results: str, run_dir: str | None, prefix: str = "") -> Iterator[RunStore]:
    """The run directory under its lock, a new one in `results` without `run_dir`; one that was made here goes again if
    nothing was measured."""
    directory = new_directory(Path(results), prefix) if run_dir is None else Path(run_dir)
    made = run_dir is None or not directory.exists()
    store = RunStore(directory)
    with locked(directory / LOCK):
        resumable(directory)
        try:
            yield store
        except BaseException as error:
            if made and not store.has_measurements():
                shutil.rmtree(directory, ignore_errors=True)
                resumable(None)
            elif isinstance(error, DiskFullError):
                raise DiskFullError(f"{error} with run_dir={directory}: it continues where it stopped") from error
            raise


def _identity(config: RunConfig, dataset: DataSet, methods: Mapping[str, MethodConfig]) -> dict[str, str]:
    """What must be equal for a run to be continued."""
    neither = {"optional": None, "only_with": None}  # says whether a method runs, not how
    return {
        "protocol": protocol_hash(config.protocol),
        "dataset": dataset.digest,
        "methods": _digest({name: asdict(method) | neither for name, method in methods.items()}),
        # Whom it waits for does not change what is measured.
        "latency": _digest({key: value for key, value in asdict(config.latency).items() if key != "when_busy"}),
        "estimator_sweep": _digest(asdict(config.estimator_sweep)),
        "seed": str(config.seed),
    }


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _times(
    store: RunStore, dataset: DataSet, infos: Mapping[str, MethodInfo], config: RunConfig, pairs: pd.DataFrame
) -> pd.DataFrame:
    """Rows of times.parquet: the first pass from the extractions that were evaluated, later passes and calibration from
    the parts, matching and estimation from the pairs."""
    from bench.run.evaluation import stages_of
    from bench.run.extraction import items_of

    rows: list[dict[str, object]] = []
    images = [item.key for item in items_of(dataset, config.protocol.image)]
    stages = store.read_parts("stages")
    if len(stages):
        # An image of several sequences was read in each.
        stages = stages.drop_duplicates(["method", "item", "stage"])
    known = {name: set(group["item"]) for name, group in stages.groupby("method")} if len(stages) else {}
    for name, info in infos.items():
        for key in [pair.name for pair in dataset.pairs] if info.pairwise else images:
            if key not in known.get(name, ()):
                rows += stages_of(name, key, store.read_extraction(name, key))
    frames = [stages, pd.DataFrame(rows), store.read_parts("times")]
    for stage in ("match", "estimate"):
        column = f"{stage}_ms"
        if column in pairs:
            timed = pairs.loc[pairs[column].notna(), ["method", "pair", column]]
            frames.append(
                pd.DataFrame(
                    {"method": timed["method"], "item": timed["pair"], "stage": stage, "ms": timed[column]}
                ).assign(repeat=0, block=-1, order=-1, height=0, width=0, session=pairs.get("session", 0))
            )
    times = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    return times.sort_values(TIME_ORDER, kind="stable", ignore_index=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
