"""The one way through the house: pairs, features, matches, homographies, rows, statistics, report."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.core.errors import ConfigError, DataError, FeatureError, ModelError, StoreError
from bench.core.files import plain, read_json, read_parquet, write_atomic, write_json, write_parquet
from bench.core.interruption import resumable
from bench.core.names import safe_name, to_csv
from bench.core.types import Context, DataSet, MethodInfo
from bench.features.base import Checks, runnable
from bench.metrics.columns import current
from bench.run.store import RunStore
from bench.schema import ImportedConfig, MethodConfig, RunConfig, TimeoutsConfig
from bench.schema.identity import protocol_hash
from bench.timing import host, noise

if TYPE_CHECKING:
    from bench.report.matches import MatchDrawing
    from bench.run.worker import Worker
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
    from bench.data import load

    methods, left_out = runnable(_methods(config))
    dataset = load(config.dataset, Path(config.data_root))
    log.info("%s: %s", dataset.name, dataset.note)
    store = RunStore(_run_directory(config))
    identity = _identity(config, dataset, methods)
    resumable(store.directory)
    continued = store.open(identity)
    if continued:
        log.info("continuing %s", store.directory)
    context = Context(host.resolve_threads(config.threads), Path(config.cache), Path(config.data_root), config.seed)
    manifest: dict[str, Any] = {
        "schema_version": 1,
        "status": "running",
        "identity": identity,
        "title": config.title,
        "command": command or [],
        "started": _now(),
        "config": asdict(config),
        "protocol": {
            "name": config.protocol.name,
            "version": config.protocol.version,
            "hash": protocol_hash(config.protocol),
            "config": asdict(config.protocol),
        },
        "dataset": {
            "name": dataset.name,
            "digest": dataset.digest,
            "note": dataset.note,
            "sequences_expected": dataset.sequences_expected,
            "pairs_expected": dataset.pairs_expected,
            "pairs": [pair.name for pair in dataset.pairs],
        },
        "seeds": {"run": config.seed, "dataset": getattr(config.dataset, "seed", None)},
        "threads": context.threads,
        "host": host.fingerprint(),
        "versions": host.versions(),
        "git": host.git_commit(Path(__file__).parent),
        "left_out": left_out,
        "rows_expected": len(methods) * len(dataset.pairs),
    }
    try:
        infos = _extract(config, methods, dataset, context, store, manifest)
    except (ConfigError, DataError, FeatureError, ModelError):
        if not continued and not store.has_measurements():
            shutil.rmtree(store.directory, ignore_errors=True)
        raise
    return _evaluate(config, dataset, infos, store, manifest)


def _extract(
    config: RunConfig,
    methods: Mapping[str, MethodConfig],
    dataset: DataSet,
    context: Context,
    store: RunStore,
    manifest: dict[str, Any],
) -> dict[str, MethodInfo]:
    from bench.run.extraction import extract_all, items_of

    items = items_of(dataset, config.protocol.image)
    before = read_json(store.manifest_path)
    manifest["started"] = before.get("started", manifest["started"])
    with _workers(methods, context, store, config.timeouts) as workers:
        infos = {name: worker.info() for name, worker in workers.items()}
        for name, method in methods.items():
            if isinstance(method, ImportedConfig):
                workers[name].call(Checks.check, [item.image for item in items])
        for name, info in infos.items():
            known = before.get("methods", {}).get(name, {}).get("info", {}).get("fingerprint")
            if known is not None and known != plain(info.fingerprint):
                raise StoreError(
                    f"the model of {name} has changed since {store.directory} was started; "
                    "start a new run without run_dir"
                )
        manifest["methods"] = {name: _describe(methods[name], info) for name, info in infos.items()}
        manifest["load_before"] = before.get("load_before", host.load())
        write_json(store.manifest_path, plain(manifest))
        incidents = extract_all(workers, items, config.protocol.image, config.latency, store, config.seed)
        manifest |= {"died": incidents.died, "notes": incidents.notes}
        if config.latency.throughput_s > 0:
            from bench.run.throughput import measure

            manifest["throughput"] = measure(workers, items, config.protocol.image, config.latency.throughput_s)
        for name, worker in workers.items():
            if worker.pid() is not None:
                infos[name] = worker.info()
    manifest["methods"] = {name: _describe(methods[name], info) for name, info in infos.items()}
    _keep_known(manifest["methods"], before.get("methods", {}))
    manifest["load_after"] = host.load()
    manifest["host"]["library_threads"] = [dict(pool) for pool in host.library_threads()]
    write_json(store.manifest_path, plain(manifest))
    return infos


def _keep_known(methods: dict[str, Any], known: Mapping[str, Any]) -> None:
    """Keep what an earlier try read from the runtime: a continued run with nothing left to extract compiles nothing."""
    for name, method in methods.items():
        before = known.get(name, {}).get("info", {})
        if "executed" in before.get("precision", {}) and "executed" not in method["info"]["precision"]:
            method["info"] |= {key: before[key] for key in ("precision", "threads")}
            method["info"]["costs"] = {**method["info"]["costs"], **before["costs"]}


def _evaluate(
    config: RunConfig, dataset: DataSet, infos: Mapping[str, MethodInfo], store: RunStore, manifest: dict[str, Any]
) -> Run:
    from bench.run.drawings import draw_run
    from bench.run.estimators import summarise_sweep
    from bench.run.evaluation import evaluate_all

    has_descriptors = {name: info.has_descriptors for name, info in infos.items()}
    pairs, swept = evaluate_all(
        dataset,
        has_descriptors,
        config.protocol,
        config.estimator_sweep,
        store,
        config.seed,
        config.jobs,
        config.timeouts.evaluate_s,
    )
    manifest["rows_written"] = len(pairs)
    if len(pairs) != manifest["rows_expected"]:
        raise StoreError(
            f"{store.directory}: {len(pairs)} rows written, {manifest['rows_expected']} expected; "
            "delete its folder parts/rows and repeat the command with this run_dir"
        )
    times = _times(store, dataset, list(infos), config, pairs)
    calibration = times.loc[times["method"] == "calibration", "ms"].to_numpy(np.float64)
    manifest["noise"] = noise.verdict(calibration, manifest["load_before"].get("cpu_busy"))
    manifest["status"] = "complete"
    manifest["finished"] = _now()
    write_parquet(store.directory / "pairs.parquet", pairs)
    write_parquet(store.directory / "times.parquet", times)
    if len(swept):
        table = summarise_sweep(swept, config.protocol, config.bootstrap_draws, config.seed)
        write_parquet(store.directory / "sweep.parquet", swept)
        write_atomic(store.directory / "sweep.csv", to_csv(table, float_format="%.6g").encode())
        log.info("estimators and thresholds beside the protocol's: %s", store.directory / "sweep.csv")
    write_json(store.manifest_path, plain(manifest))
    drawings = draw_run(dataset, pairs, list(infos), config.protocol, store, config.seed)
    finished = render(store.directory, drawings)
    if not config.keep_features:
        store.drop_features()
    return finished


def render(directory: Path, drawings: Sequence[MatchDrawing] | None = None) -> Run:
    """Summarise and report a finished run from its files; nothing is measured again.

    Parameters
    ----------
    directory : Path
        The run directory.
    drawings : sequence of MatchDrawing, optional
        None keeps the drawings made before.

    Raises
    ------
    StoreError
        If `directory` holds no finished run.
    """
    from bench.report.write import write_report
    from bench.summary.table import summarise

    manifest = read_json(directory / "manifest.json")
    if manifest.get("status") != "complete":
        raise StoreError(f"{directory} holds a run that is not finished; continue it with run_dir={directory}")
    pairs, times = current(read_parquet(directory / "pairs.parquet")), read_parquet(directory / "times.parquet")
    summary = summarise(pairs, times, manifest)
    report = write_report(directory, manifest, pairs, times, summary, drawings)
    return Run(directory, pairs, times, summary, manifest, report)


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


def _run_directory(config: RunConfig) -> Path:
    if config.run_dir is not None:
        return Path(config.run_dir)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    path = Path(config.results) / stamp
    number = 1
    while path.exists():
        number += 1
        path = Path(config.results) / f"{stamp}_{number}"
    return path


def _identity(config: RunConfig, dataset: DataSet, methods: Mapping[str, MethodConfig]) -> dict[str, str]:
    """What must be equal for a run to be continued."""
    return {
        "protocol": protocol_hash(config.protocol),
        "dataset": dataset.digest,
        "methods": _digest({name: asdict(method) | {"optional": None} for name, method in methods.items()}),
        "latency": _digest(asdict(config.latency)),
        "estimator_sweep": _digest(asdict(config.estimator_sweep)),
        "seed": str(config.seed),
    }


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def _workers(
    methods: Mapping[str, MethodConfig], context: Context, store: RunStore, timeouts: TimeoutsConfig
) -> Iterator[dict[str, Worker]]:
    from bench.core.progress import progress
    from bench.run.worker import Worker

    with ExitStack() as stack, progress("load methods", len(methods)) as step:
        # Libraries are imported side by side, models are loaded one after another: their time to load is a result.
        workers = {}
        for name, method in methods.items():
            log_path = store.directory / "logs" / f"{name}.log"
            workers[name] = Worker(name, method, context, log_path, timeouts, wait=False)
            stack.callback(workers[name].close)
        for name, worker in workers.items():
            worker.start()
            step(name)
        yield workers


def _describe(config: MethodConfig, info: MethodInfo) -> dict[str, Any]:
    return {"label": config.label or info.name, "config": asdict(config), "info": asdict(info)}


def _times(
    store: RunStore, dataset: DataSet, methods: list[str], config: RunConfig, pairs: pd.DataFrame
) -> pd.DataFrame:
    """Rows of times.parquet: the first pass from the stored extractions, later passes and calibration from the parts,
    matching and estimation from the pairs."""
    from bench.run.extraction import items_of, stage_rows

    rows: list[dict[str, object]] = []
    for item in items_of(dataset, config.protocol.image):
        for name in methods:
            done = store.read_extraction(name, item.key)
            if done.features is not None and done.times is not None:
                rows += stage_rows(name, item.key, done.times, done.features.size, 0, done.block, done.order)
    frames = [pd.DataFrame(rows), store.read_parts("times")]
    for stage in ("match", "estimate"):
        column = f"{stage}_ms"
        if column in pairs:
            timed = pairs.loc[pairs[column].notna(), ["method", "pair", column]]
            frames.append(
                pd.DataFrame({"method": timed["method"], "item": timed["pair"], "stage": stage, "ms": timed[column]})
                .assign(repeat=0, block=-1, order=-1, height=0, width=0)
            )  # fmt: skip
    times = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    order = ["repeat", "block", "order", "method", "item", "stage"]
    return times.sort_values(order, kind="stable", ignore_index=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
