"""Second half of a run: stored features into rows, one sequence at a time, in this process or in several."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from bench.core.errors import WorkerError
from bench.core.machine import memory_bytes
from bench.core.processes import map_in_children
from bench.core.progress import progress
from bench.core.types import Correspondences, DataSet, EvaluatedImage, Features, Outcome, Pair, PreparedPair
from bench.data.prepare import prepare_pair
from bench.geometry.solve import Solved, solve, solve_correspondences
from bench.report.cards import Budget, Cards, Packer, budget
from bench.run.duration import expected_matching
from bench.run.estimators import SweepRow, sweep_pair
from bench.run.extraction import Item, items_of, prepare_item, stage_rows
from bench.run.manifest import Manifest
from bench.run.pair import Row, measure_pair
from bench.run.store import Extraction, RunStore
from bench.schema import EstimatorSweepConfig, ImageConfig, MatcherConfig, ProtocolConfig
from bench.timing.host import available_cpus

log = logging.getLogger(__name__)
_Rows = list[dict[str, object]]
_ROWS_PER_PROCESS = 100
"""Fewer are evaluated before another process has imported its libraries (about two seconds)."""
_PROCESS_BYTES = 300_000_000
_COPIES = 8
"""Of the largest image's features: two images, as read and in single and double precision."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What matching needs to know of a method.

    Attributes
    ----------
    has_descriptors, pairwise : bool
    matcher : MatcherConfig or None
        Of the method, instead of the protocol's.
    source : str or None
        Name under which the store has its features; None: that of the method.
    max_keypoints : int
        Best of those features that are used; 0: all.
    """

    has_descriptors: bool
    pairwise: bool = False
    matcher: MatcherConfig | None = None
    source: str | None = None
    max_keypoints: int = 0


def entries(manifest: Manifest) -> dict[str, Entry]:
    """Entries of a run's methods, in the order of its tables."""
    found = {}
    for name, method in manifest.methods.items():
        own = method.config.get("matcher")
        matcher = None if own is None else MatcherConfig(**own)
        has_descriptors = bool(method.info.get("has_descriptors", True))
        found[name] = Entry(has_descriptors, bool(method.info.get("pairwise")), matcher)
    return found


@dataclass(frozen=True, slots=True)
class Task:
    """What a process needs to evaluate one sequence."""

    pairs: tuple[Pair, ...]
    items: Mapping[str, Item]
    methods: Mapping[str, Entry]
    protocol: ProtocolConfig
    sweep: EstimatorSweepConfig
    directory: Path
    seed: int
    budget: Budget | None = None
    """Of the cards; None: none are made."""
    frame: ImageConfig | None = None
    """Images in whose pixels errors in source pixels are measured instead; None: the source's."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the evaluation of one sequence gives: rows of the tables of pairs, of the sweep and of the stage times, and
    the cards of the page."""

    rows: list[Row]
    swept: list[SweepRow]
    stages: _Rows
    cards: Cards | None = None


Evaluate = Callable[
    [Mapping[Path, Task], int, Path, float | None], Iterator[tuple[Path, Found, Mapping[str, str] | None]]
]
"""How sequences are evaluated: tasks, processes, run directory, time for one -> part, what was found, conditions."""


def resolve_jobs(requested: int, n_rows: int, store: RunStore) -> int:
    """Processes of an evaluation: `requested`, or for 0 as many as cores, memory and work are there for.

    Parameters
    ----------
    requested : int
    n_rows : int
        Pairs times methods.
    store : RunStore
        A process holds the features of a pair, of all methods, and copies of them while it matches.
    """
    if requested > 0:
        return requested
    largest: dict[str, int] = {}
    for path in (store.directory / "features").rglob("*.npz"):
        method = path.relative_to(store.directory / "features").parts[0]
        largest[method] = max(largest.get(method, 0), path.stat().st_size)
    needed = _PROCESS_BYTES + _COPIES * sum(largest.values())
    return max(1, min(available_cpus(), memory_bytes() // 2 // needed, n_rows // _ROWS_PER_PROCESS))


def evaluate_all(
    dataset: DataSet,
    methods: Mapping[str, Entry],
    protocol: ProtocolConfig,
    sweep: EstimatorSweepConfig,
    store: RunStore,
    seed: int,
    jobs: int,
    timeout_s: float | None = None,
    with_cards: bool = True,
    frame: ImageConfig | None = None,
    evaluate: Evaluate | None = None,
    session_of: Callable[[Mapping[str, str] | None], int] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Match, estimate and measure every pair with every method; finished sequences of an earlier try are kept.

    Parameters
    ----------
    methods : mapping
        By name.
    sweep : EstimatorSweepConfig
        Further estimators on the same matches.
    jobs : int
        Processes; the rows do not depend on it, apart from times.
    timeout_s : float, optional
        With several processes: time for one sequence.
    with_cards : bool
        Make the cards of the page.
    frame : ImageConfig, optional
        For a protocol that measures corner errors in source pixels: measure them in the pixels of the images that these
        settings make of the sources.
    evaluate : callable, optional
        Of an engine; without: this host.
    session_of : callable, optional
        Place of the conditions of a sequence in the manifest; without: that of the store.

    Returns
    -------
    pairs : DataFrame
        Rows of pairs.parquet, ordered by the data set's pairs, then by `methods`.
    sweep : DataFrame
        Rows of sweep.parquet; empty without a sweep.

    Raises
    ------
    WorkerError
        If a process dies or is silent; finished sequences are kept.
    """
    items = {item.key: item for item in items_of(dataset, protocol.image)}
    sequences = list(dict.fromkeys(pair.sequence for pair in dataset.pairs))
    of_cards = cards_budget(dataset, protocol.image, len(methods)) if with_cards else None
    tasks = {}
    for number, sequence in enumerate(sequences):
        path = store.part("rows", f"{number:05d}")
        if not path.is_file():
            pairs = tuple(pair for pair in dataset.pairs if pair.sequence == sequence)
            needed = {image.key for pair in pairs for image in (pair.reference, pair.target)}
            tasks[path] = Task(
                pairs,
                {key: items[key] for key in sorted(needed)},
                methods,
                protocol,
                sweep,
                store.directory,
                seed,
                of_cards,
                frame,
            )
    if protocol.keypoints.max == 0 and protocol.matcher.kind != "none":
        waiting = [pair for task in tasks.values() for pair in task.pairs]
        _say_expected(waiting, methods, store, min(jobs, max(len(tasks), 1)))
    with progress("evaluate", len(sequences)) as step:
        for _ in range(len(sequences) - len(tasks)):
            step("")
        for path, found, conditions in (evaluate or _evaluated_here)(tasks, jobs, store.directory, timeout_s):
            session = None if session_of is None else session_of(conditions)
            if found.swept:
                store.write_part("sweep", path.stem, [row.cells() for row in found.swept], session)
            if found.cards is not None:
                store.write_cards(path.stem, found.cards)
            if found.stages:
                store.write_part("stages", path.stem, found.stages, session)
            # Last: a sequence with this part is finished.
            store.write_part("rows", path.stem, [row.cells() for row in found.rows], session)
            step(found.rows[0].sequence)
    return store.read_parts("rows"), store.read_parts("sweep")


def cards_budget(dataset: DataSet, config: ImageConfig, n_methods: int) -> Budget:
    """What a card may hold; of a shard as in the whole, so that merging changes none."""
    whole = dataset if dataset.whole is None else replace(dataset, pairs=dataset.whole.pairs)
    return budget(len(items_of(whole, config)), len(whole.pairs), n_methods)


def _say_expected(pairs: Sequence[Pair], methods: Mapping[str, Entry], store: RunStore, jobs: int) -> None:
    matched = [name for name, entry in methods.items() if entry.has_descriptors and not entry.pairwise]
    expected = expected_matching(pairs, matched, lambda method, key: store.read_extraction(method, key).features)
    if expected.keypoints:
        log.info("%s", expected.sentence(len(pairs) * len(matched), jobs))


def evaluate_pairs(
    dataset: DataSet, methods: Mapping[str, Entry], protocol: ProtocolConfig, store: RunStore, seed: int
) -> list[Row]:
    """Rows of every pair of a data set from stored features, in this process; nothing is written.

    Parameters
    ----------
    methods : mapping
        By name.
    """
    items = {item.key: item for item in items_of(dataset, protocol.image)}
    rows: list[Row] = []
    for pair in dataset.pairs:
        needed = {image.key: items[image.key] for image in (pair.reference, pair.target)}
        task = Task((pair,), needed, methods, protocol, EstimatorSweepConfig(), store.directory, seed)
        rows += evaluate_sequence(task).rows
    return rows


def evaluate_here(
    tasks: Mapping[Path, Task], jobs: int, directory: Path, timeout_s: float | None
) -> Iterator[tuple[Path, Found]]:
    """Evaluate sequences on this host, in this process or in `jobs` of them; each comes as it is finished.

    Raises
    ------
    WorkerError
        If a process dies or is silent.
    """
    if jobs == 1 or len(tasks) <= 1:
        for path, task in tasks.items():
            yield path, evaluate_sequence(task)
        return
    log_path = directory / "logs" / "evaluation.log"
    try:
        yield from map_in_children(evaluate_sequence, tasks, jobs, "an evaluation process", log_path, timeout_s)
    except WorkerError as error:
        raise WorkerError(
            f"{error}\n  the sequences finished so far are kept; continue with run_dir={directory}, with fewer jobs "
            "if memory was short"
        ) from error


def _evaluated_here(
    tasks: Mapping[Path, Task], jobs: int, directory: Path, timeout_s: float | None
) -> Iterator[tuple[Path, Found, None]]:
    for path, found in evaluate_here(tasks, jobs, directory, timeout_s):
        yield path, found, None


def evaluate_sequence(task: Task) -> Found:
    """Rows, stage times and cards of one sequence."""
    import cv2
    from threadpoolctl import threadpool_limits

    # One thread: sums in BLAS are then taken in the same order whatever `jobs` is.
    cv2.setNumThreads(1)
    images = {key: prepare_item(item, task.protocol.image) for key, item in task.items.items()}
    found = Found([], [], [])
    stored = _Stored(RunStore(task.directory), task.pairs, found.stages)
    packer = None if task.budget is None else Packer(tuple(task.methods), task.budget, task.seed)
    with threadpool_limits(1):
        for pair in task.pairs:
            _evaluate_pair(pair, images, stored, task, found, packer)
            stored.done_with(pair)
    return found if packer is None else replace(found, cards=packer.finish())


def _evaluate_pair(
    pair: Pair, images: Mapping[str, EvaluatedImage], stored: _Stored, task: Task, found: Found, packer: Packer | None
) -> None:
    image_ref, image_target = images[pair.reference.key], images[pair.target.key]
    prepared = prepare_pair(pair, image_ref, image_target, task.protocol.image)
    if task.frame is not None:
        shown = prepare_item(task.items[pair.target.key], task.frame).T_source_to_evaluated
        prepared = replace(prepared, T_target=image_target.T_source_to_evaluated @ np.linalg.inv(shown))
    if packer is not None:
        packer.begin(pair.name, image_ref, image_target, prepared.H_ref_to_target)
    for name, entry in task.methods.items():
        solved, failed = solve_stored(prepared, name, entry, task.protocol, stored)
        row, estimates = measure_pair(solved, task.seed)
        if packer is not None:
            packer.add(name, solved, None if estimates is None else estimates.homographies[0])
        found.rows.append(replace(row, method=name, outcome=Outcome.EXTRACTION_FAILED if failed else row.outcome))
        if task.sweep.estimators:
            found.swept.extend(sweep_pair(name, solved, task.sweep, task.seed))


def best_of(features: Features | None, max_keypoints: int) -> Features | None:
    """The best `max_keypoints` of an image's features (0: all), which come sorted from the best to the worst."""
    if features is None or not 0 < max_keypoints < len(features):
        return features
    n, d = max_keypoints, features.descriptors
    return Features(features.keypoints[:n], features.scores[:n], None if d is None else d[:n], features.size)


class Extractions(Protocol):
    """Where extractions are read from."""

    def read_extraction(self, method: str, key: str) -> Extraction: ...


class _Stored:
    """Extractions of one sequence, each read once and held until the last pair that needs it is done."""

    def __init__(self, store: RunStore, pairs: Sequence[Pair], stages: _Rows) -> None:
        self._store = store
        self._pairs_left = Counter(key for pair in pairs for key in _keys(pair))
        self._held: dict[str, dict[str, Extraction]] = {}
        self._stages = stages

    def read_extraction(self, method: str, key: str) -> Extraction:
        held = self._held.setdefault(key, {})
        if method not in held:
            held[method] = found = self._store.read_extraction(method, key)
            self._stages += stages_of(method, key, found)
        return held[method]

    def done_with(self, pair: Pair) -> None:
        self._pairs_left.subtract(_keys(pair))
        for key in _keys(pair):
            if self._pairs_left[key] <= 0:
                self._held.pop(key, None)


def _keys(pair: Pair) -> set[str]:
    """What may be stored for a pair: its images, and the pair itself for pairwise methods."""
    return {pair.reference.key, pair.target.key, pair.name}


def stages_of(method: str, key: str, found: Extraction) -> _Rows:
    """Rows of times.parquet for a stored extraction; none where it failed."""
    if found.size is None or found.times is None:
        return []
    rows = stage_rows(method, key, found.times, found.size, 0, found.block, found.order)
    return [{**row, "session": found.session} for row in rows]


def solve_stored(
    prepared: PreparedPair, method: str, entry: Entry, protocol: ProtocolConfig, store: Extractions
) -> tuple[Solved, bool]:
    """Solve a pair from what the store holds of it.

    Returns
    -------
    Solved
        With nothing found where an extraction failed.
    bool
        Whether one failed.
    """
    pair = prepared.pair
    if entry.pairwise:
        found = store.read_extraction(method, pair.name).correspondences
        return solve_correspondences(prepared, found or Correspondences.none(), protocol), found is None
    f_ref, f_target = (
        best_of(store.read_extraction(entry.source or method, key).features, entry.max_keypoints)
        for key in (pair.reference.key, pair.target.key)
    )
    failed = f_ref is None or f_target is None
    if f_ref is None or f_target is None:
        f_ref, f_target = (
            Features.none(size, entry.has_descriptors) for size in (prepared.size_ref, prepared.size_target)
        )
    return solve(prepared, f_ref, f_target, protocol, entry.matcher), failed
