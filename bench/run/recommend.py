"""`bench recommend`: time every configuration, then look at accuracies in rounds, then test and say what to ship.

Layout of the folder, beside the manifest and ``bench.sha256`` of every run::

    timing/<size>_<budget>_<threads>/   a store: extractions of the timed images by every method, exactly so configured
    timing/.../methods.json             what the workers said, and methods that refused
    sizes/<size>/                       a store: features at that size, rows of each sequence
    rows.parquet  times.parquet         all rows that were measured, all times
    configurations.csv                  a row per configuration
    recommendation.json, .md, .html     the answer; plots/

Configurations share features where the timed images show that they may: their keypoints, scores and descriptors are,
byte for byte, the best of those at the largest budget and the first number of threads. Others extract their own.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import BenchError, ConfigError, ModelError
from bench.core.files import plain, read_json, seal, write_atomic, write_json, write_parquet
from bench.core.names import to_csv
from bench.core.types import Context, DataSet, Features, Size
from bench.data import load
from bench.features.base import runnable
from bench.metrics.columns import metrics_of
from bench.metrics.record import threshold_px
from bench.report.recommend import Content, configurations, write
from bench.run.benchmark import run_directory
from bench.run.evaluation import Entry, best_of, evaluate_all, resolve_jobs, stages_of
from bench.run.extraction import Item, extract_all, items_of
from bench.run.manifest import (
    COMPLETE,
    RECOMMENDATION,
    DatasetRecord,
    Manifest,
    MethodRecord,
    ProtocolRecord,
    conditions,
    write_manifest,
)
from bench.run.store import RunStore
from bench.run.worker import Worker
from bench.schema import EstimatorSweepConfig, ImageConfig, ImportedConfig, LatencyConfig, MethodConfig, RecommendConfig
from bench.schema.identity import protocol_hash
from bench.schema.options import Frame
from bench.schema.recommend import sized
from bench.stats import cluster_codes, share_interval
from bench.summary.measures import Measure, measures
from bench.summary.recommend import (
    ALPHA,
    Interval,
    Judged,
    Measured,
    Pruned,
    Recommendation,
    Rule,
    State,
    beyond_limits,
    final_test,
    recommendation,
    rounds,
    screen,
)
from bench.summary.table import latency, speedup
from bench.timing import host, noise

log = logging.getLogger(__name__)
_IN_FRAME = ("accuracy_", "auc_")
"""Metrics made of corner errors, which can be measured in the pixels of another image size."""
_BLOCK = 4


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything of a configuration but its method."""

    size: str
    max_keypoints: int
    threads: int

    @property
    def name(self) -> str:
        return f"{self.size}_{self.max_keypoints}_{self.threads}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A method in a setting.

    Attributes
    ----------
    method : str
    setting : Setting
    source : Setting
        Where its features are taken from: its own setting, or one of more keypoints or other threads whose best
        keypoints are the same bytes.
    """

    method: str
    setting: Setting
    source: Setting

    @property
    def name(self) -> str:
        return f"{self.method}_{self.setting.name}"

    @property
    def candidate(self) -> str:
        """Name of its outputs: configurations of one candidate differ in nothing but time."""
        return f"{self.method}_{replace(self.setting, threads=self.source.threads).name}"

    @property
    def stored(self) -> str:
        """Name under which its features are stored."""
        return f"{self.method}_{self.source.max_keypoints}_{self.source.threads}"


@dataclass(frozen=True)
class Recommended:
    """A finished recommendation.

    Attributes
    ----------
    path : Path
        The folder.
    answer : Recommendation
    table : DataFrame
        A row per configuration.
    rows, times : DataFrame
        Everything that was measured: a row per candidate and pair, a row per configuration, image and stage.
    report : Path
        The page.
    """

    path: Path
    answer: Recommendation
    table: pd.DataFrame
    rows: pd.DataFrame
    times: pd.DataFrame
    report: Path


def recommend(config: RecommendConfig, command: Sequence[str] = ()) -> Recommended:
    """Measure the grid and say what to ship, or continue in ``config.run_dir``.

    Parameters
    ----------
    config : RecommendConfig
        Resolved and validated.
    command : sequence of str
        What the user typed; stored for the report.

    Raises
    ------
    BenchError
        With what was wrong, where, and what to do next. Everything measured before stays in the folder.
    """
    methods, left_out = _methods(config)
    reference = config.reference or next(iter(methods))
    if reference not in methods:
        why = f" cannot run here: {left_out[reference]};" if reference in left_out else " is not a method here;"
        raise ConfigError(f"reference={reference}{why} allowed: {', '.join(methods)}")
    metric = _metric(config)
    dataset = load(config.dataset, Path(config.data_root))
    log.info("%s: %s", dataset.name, dataset.note)
    for warning in dataset.warnings:
        log.warning("%s", warning)
    with run_directory(config.results, config.run_dir, "recommend_") as store:
        manifest = store.open(replace(_manifest(config, command, dataset, methods), left_out=left_out))
        walk = _Walk(config, methods, reference, metric, dataset, store, manifest)
        return walk.run()


def _methods(config: RecommendConfig) -> tuple[dict[str, MethodConfig], dict[str, str]]:
    """Methods that can be configured by size, budget and threads, and why others cannot."""
    methods, left_out = runnable(config.methods)
    for name in [name for name, method in methods.items() if isinstance(method, ImportedConfig)]:
        del methods[name]
        left_out[name] = "its features are computed elsewhere, so it has no time"
        log.warning("not tried: %s, %s", name, left_out[name])
    if not methods:
        raise ConfigError("methods has none that computes features here; choose a preset such as methods=precisions")
    return methods, left_out


def _metric(config: RecommendConfig) -> str:
    """Name of the record of the wanted metric.

    Raises
    ------
    ConfigError
        If the protocol does not measure it, it is no share of which more is better, or it depends on the image size.
    """
    known = {
        name: (metric.name, column)
        for metric in metrics_of(config.protocol)
        for column in metric.columns
        for name, _ in column.names(config.protocol)
        if column.unit == "share" and column.better == "higher" and column.reduction != "other"
    }
    if config.metric not in known:
        raise ConfigError(
            f"metric={config.metric} is not possible with protocol={config.protocol.name}; allowed: {', '.join(known)}"
        )
    if len(config.grid.sizes) > 1 and not config.metric.startswith(_IN_FRAME):
        raise ConfigError(
            f"metric={config.metric} is measured in pixels of each image size, so several sizes cannot be compared by "
            "it; choose an accuracy or AUC, or one size in grid.sizes"
        )
    return known[config.metric][0]


def _manifest(
    config: RecommendConfig, command: Sequence[str], dataset: DataSet, methods: Mapping[str, MethodConfig]
) -> Manifest:
    machine, versions = host.fingerprint(), host.versions()
    asked = {key: value for key, value in asdict(config).items() if key not in _NOT_ASKED}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return Manifest(
        protocol=ProtocolRecord.of(config.protocol),
        dataset=DatasetRecord.of(dataset),
        kind=RECOMMENDATION,
        identity={
            "protocol": protocol_hash(config.protocol),
            "dataset": dataset.digest,
            "configuration": digest,
            "methods that run here": ", ".join(methods),
        },
        sessions=[conditions(machine, versions)],
        title=config.title or "What to ship",
        command=list(command),
        started=_now(),
        config=asdict(config),
        seeds={"run": config.seed, "dataset": getattr(config.dataset, "seed", None)},
        host=machine,
        versions=versions,
        git=host.git_commit(Path(__file__).parent),
        load_before=host.load(),
    )


_NOT_ASKED = ("results", "run_dir", "jobs", "title", "cache", "data_root", "timeouts", "dataset", "protocol")
"""Keys that do not change what is measured, or are in the identity on their own."""


class _Walk:
    """From the first time to the report. What is in the folder already is read instead of measured."""

    def __init__(
        self,
        config: RecommendConfig,
        methods: Mapping[str, MethodConfig],
        reference: str,
        metric: str,
        dataset: DataSet,
        store: RunStore,
        manifest: Manifest,
    ) -> None:
        self.config, self.methods, self.store, self.manifest = config, methods, store, manifest
        self.dataset = _shuffled(dataset, config.seed)
        grid = config.grid
        self.threads = list(dict.fromkeys(host.resolve_threads(count) for count in grid.thread_counts))
        self.budgets = list(dict.fromkeys(grid.max_keypoints))
        self.sizes = list(dict.fromkeys(map(str, grid.sizes)))
        self.largest = max(self.budgets)
        self.first = Configuration(
            reference, setting := Setting(self.sizes[0], self.budgets[0], self.threads[0]), setting
        )
        self.protocol = replace(
            config.protocol, metrics=[metric], keypoints=replace(config.protocol.keypoints, max=self.largest)
        )
        self.infos: dict[str, dict[str, Any]] = {}
        self.refused: dict[str, str] = {}
        self.notes: list[str] = []
        self.died: list[str] = []

    def run(self) -> Recommended:
        frames: list[pd.DataFrame] = []
        found: list[Configuration] = []
        for setting in self._settings():
            rows, configurations_here = self._time(setting, len(frames))
            frames.append(rows)
            found += configurations_here
        if self.first.name not in {one.name for one in found}:
            why = self.refused.get(self.first.name, "it gave no features")
            raise ConfigError(f"the reference {self.first.name} cannot run: {why}; choose another with reference=NAME")
        times = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
        found = [self._shared(one) for one in found]
        disturbed = noise.verdict(noise.machine(times), (self.manifest.load_before or {}).get("cpu_busy"))
        measured = self._timed(found, times)
        eligible = [one for one in found if measured[one.name].state is State.UNDECIDED]
        log.info(
            "%d configurations timed, %d of them are faster than %s and meet the limits",
            len(found),
            len(eligible),
            self.first.name,
        )
        pruned, judged, values, rows = self._accuracies(eligible, measured)
        for one in found:
            measured[one.name] = self._with_accuracy(measured[one.name], pruned, judged, values)
        return self._finish(measured, times, rows, disturbed, len({one.candidate for one in eligible}))

    def _settings(self) -> list[Setting]:
        """The reference's first, then all others."""
        every = [Setting(s, b, t) for t in self.threads for s in self.sizes for b in self.budgets]
        return list(dict.fromkeys([self.first.setting, *every]))

    def _image(self, size: str) -> ImageConfig:
        return sized(self.config.protocol.image, size)

    def _context(self, threads: int) -> Context:
        config = self.config
        return Context(threads, Path(config.cache), Path(config.data_root), config.seed)

    # Times

    def _time(self, setting: Setting, number: int) -> tuple[pd.DataFrame, list[Configuration]]:
        """Time all methods in one setting, each in a process of its own.

        Returns
        -------
        DataFrame
            Rows of times.parquet by configuration; blocks are numbered on over settings.
        list of Configuration
            Those that ran.
        """
        image = self._image(setting.size)
        items = items_of(self.dataset, image)
        count = min(self.config.timing.images, len(items))
        items = [items[i] for i in np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))]
        store = RunStore(self.store.directory / "timing" / setting.name)
        path = store.directory / "methods.json"
        if not path.is_file():
            write_json(path, plain(self._measure_times(setting, image, items, store)))
        said = read_json(path)
        self.died += said["died"]
        self.notes += said["notes"]
        frames, ran = [store.read_parts("times")], []
        for method in self.methods:
            one = Configuration(method, setting, setting)
            if method in said["refused"]:
                self.refused[one.name] = str(said["refused"][method])
                continue
            self.infos[one.name] = said["infos"][method]
            rows = [
                row for item in items for row in stages_of(method, item.key, store.read_extraction(method, item.key))
            ]
            if rows:
                frames.append(pd.DataFrame(rows))
                ran.append(one)
            else:
                self.refused[one.name] = "every extraction failed"
        if not ran:
            return pd.DataFrame(), []
        times = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
        own = times["method"] != "calibration"
        times.loc[own, "method"] = times.loc[own, "method"] + f"_{setting.name}"
        times["block"] += 1000 * number
        return times.assign(setting=setting.name), ran

    def _measure_times(
        self, setting: Setting, image: ImageConfig, items: Sequence[Item], store: RunStore
    ) -> dict[str, Any]:
        from bench.run.extraction import prepare_item

        sizes = dict.fromkeys(prepare_item(item, image).size for item in items)
        refused: dict[str, str] = {}
        with ExitStack() as stack:
            workers = self._workers(stack, [(name, setting) for name in self.methods], store, lambda name, _: name)
            ready = {}
            for name, worker in workers.items():
                try:
                    worker.start()
                    if worker.info().pairwise:
                        raise ModelError("it takes two images, so it has no keypoint budget")
                    for size in sizes:
                        worker.warm_up(size)
                    ready[name] = worker
                except BenchError as error:
                    refused[name] = str(error).splitlines()[0]
                    log.warning("not tried: %s at %s, %s", name, setting.name, refused[name])
                    worker.close()
            incidents = extract_all(
                ready,
                items,
                image,
                LatencyConfig(repeats=self.config.timing.repeats, block=_BLOCK),
                store,
                self.config.seed,
                setting.threads,
            )
            infos = {}
            for name, worker in ready.items():
                if worker.pid() is None:
                    refused[name] = "its worker died"
                else:
                    infos[name] = asdict(worker.info())
        return {"infos": infos, "refused": refused, "died": incidents.died, "notes": incidents.notes}

    def _workers(
        self, stack: ExitStack, wanted: Sequence[tuple[str, Setting]], store: RunStore, name_of: Any
    ) -> dict[str, Worker]:
        """Processes that have begun to import their libraries; the caller starts them one after another."""
        workers = {}
        for method, setting in wanted:
            name = name_of(method, setting)
            made = replace(self.methods[method], max_keypoints=setting.max_keypoints, threads=setting.threads)
            log_path = self.store.directory / "logs" / f"{method}_{setting.name}.log"
            context = self._context(setting.threads)
            workers[name] = Worker(name, made, context, log_path, self.config.timeouts, wait=False)
            stack.callback(workers[name].close)
        return workers

    def _shared(self, one: Configuration) -> Configuration:
        """Let a configuration use the features of the largest budget and the first threads where they are the same."""
        base = Setting(one.setting.size, self.largest, self.threads[0])
        if one.setting == base or f"{one.method}_{base.name}" in self.refused:
            return one
        stores = [RunStore(self.store.directory / "timing" / setting.name) for setting in (one.setting, base)]
        keys = [item.key for item in items_of(self.dataset, self._image(one.setting.size))]
        for key in keys:
            if not all(store.has_extraction(one.method, key) for store in stores):
                continue
            own, other = (store.read_extraction(one.method, key).features for store in stores)
            if not _same(own, best_of(other, one.setting.max_keypoints)):
                note = f"{one.name} gives other features than {base.name} and is extracted on its own"
                log.info("%s", note)
                return one
        return replace(one, source=base)

    def _timed(self, found: Sequence[Configuration], times: pd.DataFrame) -> dict[str, Measured]:
        """Times, memory, and what they rule out before accuracies are looked at."""
        config, measured = self.config, dict[str, Measured]()
        limits = (config.limits.latency_ms, config.limits.memory_mb)
        for one in sorted(found, key=lambda one: one.name != self.first.name):
            info = self.infos[one.name]
            name = one.name
            row = Measured(
                name,
                one.method,
                one.setting.size,
                one.setting.max_keypoints,
                one.setting.threads,
                self._label(one),
                one.candidate,
                str((info.get("precision") or {}).get("label") or ""),
                Interval(*latency(times, name)),
                Interval(*speedup(times, self.first.name, name, config.seed)),
                float((info.get("costs") or {}).get("peak_memory_mb") or np.nan),
            )
            if name == self.first.name:
                row = replace(row, state=State.REFERENCE, why=beyond_limits(row, *limits))
            elif why := beyond_limits(row, *limits):
                row = replace(row, state=State.LEFT_OUT, why=why)
            elif not measured[self.first.name].why and not row.speedup.low > 1:
                slower = row.speedup.high < 1
                what = "slower than the reference" if slower else "not shown to be faster than the reference"
                row = replace(row, state=State.LEFT_OUT, why=what)
            measured[name] = row
        return measured

    def _label(self, one: Configuration) -> str:
        setting = one.setting
        sizes = {_size_of(self.store, setting, one.method, item) for item in self._timed_items(setting)} - {None}
        size = str(next(iter(sizes))) if len(sizes) == 1 else f"short side {setting.size}"
        threads = f"{setting.threads} thread{'' if setting.threads == 1 else 's'}"
        return f"{one.method} at {size}, {setting.max_keypoints} keypoints, {threads}"

    def _timed_items(self, setting: Setting) -> list[Item]:
        store = RunStore(self.store.directory / "timing" / setting.name)
        items = items_of(self.dataset, self._image(setting.size))
        return [item for item in items if any(store.has_extraction(name, item.key) for name in self.methods)]

    # Accuracies

    def _accuracies(
        self, eligible: Sequence[Configuration], measured: Mapping[str, Measured]
    ) -> tuple[list[Pruned], dict[str, Judged], dict[str, _Values], pd.DataFrame]:
        """Rounds and the test."""
        config = self.config
        times_ms: dict[str, float] = {}
        of: dict[str, Configuration] = {}
        for one in eligible:
            ms = measured[one.name].latency_ms.value
            if ms < times_ms.get(one.candidate, np.inf):
                times_ms[one.candidate] = ms
            of.setdefault(one.candidate, one)
        first = replace(self._shared(self.first))
        of[first.candidate] = first
        alive = [name for name in of if name != first.candidate]
        sequences = list(dict.fromkeys(pair.sequence for pair in self.dataset.pairs))
        pruned: list[Pruned] = []
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for seen in rounds(len(sequences)):
                part = _first(self.dataset, sequences[:seen])
                log.info("round of %d sequences: %d candidates and the reference", seen, len(alive))
                rows = self._round(part, [of[name] for name in (first.candidate, *alive)], workers, stack)
                values = self._values(rows, part, (first.candidate, *alive))
                reference = values[first.candidate]
                arrays = {name: values[name].terms for name in alive}
                judged: dict[str, Judged] = {}
                if seen == len(sequences) or not alive:
                    judged = final_test(
                        arrays, reference.terms, reference.codes, config.margin, len(of) - 1, config.seed
                    )
                    break
                found = screen(
                    arrays, reference.terms, reference.codes, times_ms, config.margin, config.keep, config.seed
                )
                for each in found:
                    log.info("pruned after %d sequences: %s, %s", seen, each.name, _why(each, config.margin))
                pruned += found
                gone = {each.name for each in found}
                alive = [name for name in alive if name not in gone]
        values |= {"": reference}
        return pruned, judged, values, rows

    def _round(
        self, part: DataSet, wanted: Sequence[Configuration], workers: dict[str, Worker], stack: ExitStack
    ) -> pd.DataFrame:
        """Extract and evaluate what is missing of some sequences, and read all rows so far."""
        frames = []
        for size in self.sizes:
            here = [one for one in wanted if one.setting.size == size]
            store = RunStore(self.store.directory / "sizes" / size)
            if here:
                self._extract(part, here, store, workers, stack)
                entries = {}
                for one in here:
                    info = self.infos[one.name]
                    entries[one.candidate] = Entry(
                        bool(info["has_descriptors"]),
                        matcher=self.methods[one.method].matcher,
                        source=one.stored,
                        max_keypoints=one.setting.max_keypoints,
                    )
                image = self._image(size)
                protocol, frame = replace(self.protocol, image=image), None
                if size != self.first.setting.size and protocol.homography.per_short_side_px is None:
                    homography = replace(protocol.homography, frame=Frame.source)
                    frame = None if protocol.homography.frame == Frame.source else self._image(self.first.setting.size)
                    protocol = replace(protocol, homography=homography)
                jobs = resolve_jobs(self.config.jobs, len(part.pairs) * len(entries), store)
                evaluate_all(
                    part,
                    entries,
                    protocol,
                    EstimatorSweepConfig(),
                    store,
                    self.config.seed,
                    jobs,
                    self.config.timeouts.evaluate_s,
                    with_cards=False,
                    frame=frame,
                )
            rows = store.read_parts("rows")
            if len(rows):
                frames.append(rows.assign(size=size))
        return pd.concat(frames, ignore_index=True)

    def _extract(
        self,
        part: DataSet,
        wanted: Sequence[Configuration],
        store: RunStore,
        workers: dict[str, Worker],
        stack: ExitStack,
    ) -> None:
        size = wanted[0].setting.size
        image = self._image(size)
        items = items_of(part, image)
        missing = {
            one.stored: (one.method, one.source)
            for one in wanted
            if any(not store.has_extraction(one.stored, item.key) for item in items)
        }
        for threads in dict.fromkeys(source.threads for _, source in missing.values()):
            here = {name: one for name, one in missing.items() if one[1].threads == threads}
            new = [one for name, one in here.items() if name not in workers]
            begun = self._workers(stack, new, store, _stored)
            for name, worker in begun.items():
                worker.start()
                workers[name] = worker
            incidents = extract_all(
                {name: workers[name] for name in here},
                items,
                image,
                LatencyConfig(block=_BLOCK),
                store,
                self.config.seed,
                threads,
            )
            self.died += incidents.died
            self.notes += incidents.notes

    def _values(self, rows: pd.DataFrame, part: DataSet, names: Sequence[str]) -> dict[str, _Values]:
        """Values of the wanted metric of each candidate, pairs in the order of the data set."""
        order = {pair.name: number for number, pair in enumerate(part.pairs)}
        sequences = {name: number for number, name in enumerate(dict.fromkeys(pair.sequence for pair in part.pairs))}
        found = {}
        for name in names:
            own = rows[(rows["method"] == name) & rows["pair"].isin(order.keys())]
            own = own.sort_values("pair", key=lambda pairs: pairs.map(order), kind="stable")
            measure = measures(own, self.protocol).get(self.config.metric)
            if measure is None:
                raise ConfigError(
                    f"{name} has no {self.config.metric} (a detector without descriptors?); choose another metric, or "
                    "drop the method with methods.drop=[NAME]"
                )
            codes = np.array([sequences[str(name)] for name in own["sequence"]], np.int64)
            found[name] = _Values(measure, codes)
        return found

    def _with_accuracy(
        self, row: Measured, pruned: Sequence[Pruned], judged: Mapping[str, Judged], values: Mapping[str, _Values]
    ) -> Measured:
        if row.state is State.REFERENCE:
            own = values[""]
            return replace(row, accuracy=own.interval(), n_sequences=own.n_sequences, n_pairs=len(own.codes))
        if row.state is State.LEFT_OUT:
            return row
        for one in pruned:
            if one.name == row.candidate:
                why = _why(one, self.config.margin)
                return replace(row, state=State.PRUNED, gain=one.gain, n_sequences=one.n_sequences, why=why)
        one_judged, own = judged[row.candidate], values[row.candidate]
        state = State.UNDECIDED
        if one_judged.shown:
            state = State.SHOWN
        elif one_judged.p_holds <= ALPHA:
            state = State.LOSES
        return replace(
            row,
            state=state,
            gain=one_judged.gain,
            p_loses=one_judged.p_loses,
            accuracy=own.interval(),
            n_sequences=own.n_sequences,
            n_pairs=len(own.codes),
        )

    def _finish(
        self,
        measured: Mapping[str, Measured],
        times: pd.DataFrame,
        rows: pd.DataFrame,
        disturbed: Mapping[str, Any],
        family: int,
    ) -> Recommended:
        config, directory = self.config, self.store.directory
        every = list(measured.values())
        limits = (config.limits.latency_ms, config.limits.memory_mb)
        reference = next(one for one in every if one.state is State.REFERENCE)
        reasons = [str(reason) for reason in disturbed["reasons"]] if disturbed["noisy"] else []
        answer = recommendation(
            every, _words(config.metric), config.margin, family, reference.n_sequences, limits, reasons
        )
        records = {
            name: MethodRecord(
                method.label or name,
                plain(asdict(method)),
                next((info for one, info in self.infos.items() if one.startswith(f"{name}_")), {}),
            )
            for name, method in self.methods.items()
        }
        manifest = replace(
            self.manifest,
            methods=records,
            died=list(dict.fromkeys(self.died)),
            notes=list(dict.fromkeys([*self.dataset.warnings, *self.notes])),
            noise=dict(disturbed),
            threads=self.threads[0],
            load_after=host.load(),
            rows_written=len(rows),
            status=COMPLETE,
            finished=self.manifest.finished or _now(),
        )
        table = configurations(every)
        write_parquet(directory / "rows.parquet", rows)
        write_parquet(directory / "times.parquet", times)
        write_atomic(directory / "configurations.csv", to_csv(table, float_format="%.6g").encode())
        content = Content(answer, every, self.refused, config.metric, config.margin, family)
        report = write(directory, manifest.as_dict(), content)
        write_manifest(directory, manifest)
        seal(directory, refresh="logs")
        return Recommended(directory, answer, table, rows, times, report)


@dataclass(frozen=True, slots=True)
class _Values:
    """A metric of one candidate, and the sequence of each pair."""

    measure: Measure
    codes: NDArray[np.int64]

    @property
    def terms(self) -> NDArray[np.float64]:
        return self.measure.terms

    @property
    def n_sequences(self) -> int:
        return len(np.unique(self.codes))

    def interval(self) -> Interval:
        found = share_interval(self.terms, cluster_codes(self.codes)[0])
        return Interval(found.value, found.low, found.high)


def _stored(method: str, setting: Setting) -> str:
    return f"{method}_{setting.max_keypoints}_{setting.threads}"


def _same(a: Features | None, b: Features | None) -> bool:
    """Whether two extractions are the same bytes."""
    if a is None or b is None:
        return a is b
    arrays = ((getattr(one, name) for name in ("keypoints", "scores", "descriptors")) for one in (a, b))
    return all(
        (x is None) == (y is None) and (x is None or (x.dtype == y.dtype and x.tobytes() == y.tobytes()))
        for x, y in zip(*arrays, strict=True)
    )


def _size_of(store: RunStore, setting: Setting, method: str, item: Item) -> Size | None:
    own = RunStore(store.directory / "timing" / setting.name)
    return own.read_extraction(method, item.key).size if own.has_extraction(method, item.key) else None


def _shuffled(dataset: DataSet, seed: int) -> DataSet:
    """The data set with its sequences in seeded order."""
    names = list(dict.fromkeys(pair.sequence for pair in dataset.pairs))
    order = [names[i] for i in np.random.default_rng((seed, 7)).permutation(len(names))]
    return _first(dataset, order)


def _first(dataset: DataSet, sequences: Sequence[str]) -> DataSet:
    """Some sequences of a data set, in the order given."""
    by_sequence: dict[str, list[Any]] = {}
    for pair in dataset.pairs:
        by_sequence.setdefault(pair.sequence, []).append(pair)
    return replace(dataset, pairs=tuple(pair for name in sequences for pair in by_sequence[name]))


def _why(one: Pruned, margin: float) -> str:
    if one.rule is Rule.LOSES:
        return f"loses more than {margin:g}"
    if one.rule is Rule.BEATEN:
        return f"{one.by} is better and not slower"
    return "others are more promising"


def _words(metric: str) -> str:
    """``accuracy at 3 px`` for ``accuracy_3px``."""
    t = threshold_px(metric)
    return f"{metric.rpartition('_')[0].replace('_', ' ')} at {t:g} px" if t else metric.replace("_", " ")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


__all__ = ["Recommended", "recommend"]
