"""Evaluation of stored features: what is read, and that nothing depends on the number of processes."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.config import compose
from bench.core.types import Context, DataSet, MethodInfo
from bench.data import load
from bench.features.base import Extractor, create
from bench.run import evaluation
from bench.run.benchmark import _times
from bench.run.evaluation import Entry, evaluate_all, resolve_jobs
from bench.run.extraction import items_of, prepare_item
from bench.run.store import Extraction, RunStore
from bench.schema import EstimatorSweepConfig, ImageConfig, RunConfig
from bench.schema.options import Frame, ResizePolicy

METHODS = {"sift": Entry(has_descriptors=True), "orb": Entry(has_descriptors=True)}


@dataclass
class Stored:
    """SIFT and ORB of three sequences of six small images."""

    config: RunConfig
    dataset: DataSet
    infos: dict[str, MethodInfo]
    folder: Path

    def evaluate(self, name: str, jobs: int) -> tuple[RunStore, pd.DataFrame]:
        """Evaluate in a run directory that shares the features."""
        store = RunStore(self.folder / name)
        store.directory.mkdir()
        (store.directory / "features").symlink_to(self.folder / "features")
        rows, _ = evaluate_all(
            self.dataset, METHODS, self.config.protocol, EstimatorSweepConfig(), store, seed=3, jobs=jobs
        )
        return store, rows


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("evaluation")
    sizes = ["viewpoint_sequences=2", "illumination_sequences=1", "height=120", "width=160"]
    overrides = ["dataset=photos", "methods=classical", *(f"dataset.{size}" for size in sizes)]
    config = compose([*overrides, "protocol.image.policy=original", "protocol.estimator.repeats=2"])
    dataset = load(config.dataset, folder)
    store, infos = RunStore(folder), {}
    for name in METHODS:
        extractor = create(name, config.methods[name], Context(1, folder, folder))
        assert isinstance(extractor, Extractor)
        infos[name] = extractor.info()
        for number, item in enumerate(items_of(dataset, config.protocol.image)):
            found = extractor.extract(prepare_item(item, config.protocol.image))
            store.write_extraction(name, item.key, Extraction(*found, number // 4, number % 4))
    return Stored(config, dataset, infos, folder)


def test_every_file_of_features_is_read_once(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the rows and for the stage times together; images are part of five pairs each."""
    opened: Counter[str] = Counter()
    read = Path.read_bytes

    def counted(path: Path) -> bytes:
        opened.update([str(path.relative_to(stored.folder))] if path.suffix == ".npz" else [])
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    store, rows = stored.evaluate("once", jobs=1)
    times = _times(store, stored.dataset, stored.infos, stored.config, rows)
    images = items_of(stored.dataset, stored.config.protocol.image)
    assert opened == {f"once/features/{name}/{item.key}.npz": 1 for name in METHODS for item in images}
    assert len(rows) == len(METHODS) * len(stored.dataset.pairs)
    first = times[times["stage"] == "infer"]
    assert sorted(zip(first["method"], first["item"], strict=True)) == sorted(
        (name, item.key) for name in METHODS for item in images
    )


def evaluated(stored: Stored, name: str, entries: dict[str, Entry], source: bool, frame: ImageConfig | None) -> Any:
    """Corner errors of each method, as (pairs, repeats)."""
    protocol = stored.config.protocol
    if source:
        protocol = replace(protocol, homography=replace(protocol.homography, frame=Frame.source))
    store = RunStore(stored.folder / name)
    store.directory.mkdir()
    (store.directory / "features").symlink_to(stored.folder / "features")
    rows, _ = evaluate_all(
        stored.dataset, entries, protocol, EstimatorSweepConfig(), store, 3, 1, with_cards=False, frame=frame
    )
    assert not (store.directory / "parts/cards").exists()
    return {name: np.stack(list(own["corner_errors_px"])) for name, own in rows.groupby("method")}


def test_errors_in_the_frame_of_another_size_are_scaled_exactly(stored: Stored) -> None:
    """Images of 120 px measured in the pixels of 240 px: each error counts double, in their own frame once."""
    image = stored.config.protocol.image
    plain = evaluated(stored, "plain", METHODS, False, None)
    own = evaluated(stored, "own", METHODS, True, image)
    doubled = evaluated(stored, "double", METHODS, True, replace(image, policy=ResizePolicy.short_side, short_side=240))
    for name, errors in plain.items():
        np.testing.assert_allclose(own[name], errors, rtol=1e-9)
        np.testing.assert_allclose(doubled[name], 2 * errors, rtol=1e-9)


def test_several_budgets_read_one_extraction(stored: Stored) -> None:
    entries = {f"sift_{n}": Entry(True, source="sift", max_keypoints=n) for n in (0, 20, 10**6)}
    found = evaluated(stored, "budgets", entries, False, None)
    whole = evaluated(stored, "whole", {"sift": Entry(True)}, False, None)["sift"]
    np.testing.assert_array_equal(found["sift_0"], whole)
    np.testing.assert_array_equal(found["sift_1000000"], whole)
    assert not np.array_equal(found["sift_20"], whole)


def test_stage_times_are_those_of_the_features_where_their_parts_are_missing(stored: Stored) -> None:
    """As in a run that an older version evaluated."""
    store, rows = stored.evaluate("parts", jobs=1)
    arguments = stored.dataset, stored.infos, stored.config, rows
    times = _times(store, *arguments)
    for path in sorted((store.directory / "parts/stages").iterdir())[:2]:
        path.unlink()
    pd.testing.assert_frame_equal(_times(store, *arguments), times, check_exact=True)


def test_processes_are_bound_by_cores_work_and_memory(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cores = RunStore(stored.folder), len(os.sched_getaffinity(0))
    assert resolve_jobs(3, 1, store) == 3
    assert resolve_jobs(0, 199, store) == 1
    assert 1 <= resolve_jobs(0, 10**6, store) <= cores
    monkeypatch.setattr(evaluation, "available_cpus", lambda: 64)
    monkeypatch.setattr(evaluation, "memory_bytes", lambda: 64 * 10**9)
    assert resolve_jobs(0, 10**6, store) == 64
    assert resolve_jobs(0, 1000, store) == 10
    monkeypatch.setattr(evaluation, "memory_bytes", lambda: 2 * 10**9)
    assert resolve_jobs(0, 10**6, store) == 3
    monkeypatch.setattr(evaluation, "memory_bytes", lambda: 10**8)
    assert resolve_jobs(0, 10**6, store) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity masks")
def test_a_process_bound_to_one_core_evaluates_alone(stored: Stored) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert resolve_jobs(0, 10**6, RunStore(stored.folder)) == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.slow
def test_rows_do_not_depend_on_the_number_of_processes(stored: Stored) -> None:
    alone, together = (stored.evaluate(f"jobs_{jobs}", jobs)[1] for jobs in (1, 2))
    timed = ["match_ms", "estimate_ms"]
    assert together[timed].notna().to_numpy().all()
    pd.testing.assert_frame_equal(together.drop(columns=timed), alone.drop(columns=timed), check_exact=True)
