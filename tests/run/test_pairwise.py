"""Pairwise methods: their units, what is stored, and a failed pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.config import compose
from bench.core.errors import FeatureError
from bench.core.types import Correspondences, DataSet, ImageRef, Pair, Size, StageTimes
from bench.data import load
from bench.geometry.transforms import transform_points
from bench.run.evaluation import Entry, evaluate_all
from bench.run.extraction import _Units, items_of, prepare_item
from bench.run.store import Extraction, RunStore
from bench.schema import EstimatorSweepConfig, ImageConfig

PAIRS = {"flow": Entry(has_descriptors=False, pairwise=True)}


def correspondences(n: int = 40) -> Correspondences:
    xy = np.random.default_rng(0).uniform(20, 200, (n, 2)).astype(np.float32)
    return Correspondences(xy, xy + 1, np.linspace(1, 0, n, dtype=np.float32))


def test_a_pair_comes_with_the_last_of_its_images_and_exactly_once() -> None:
    images = [ImageRef(f"s/{k}", Path()) for k in range(5)]
    every = [(0, 1), (0, 2), (3, 1), (0, 4), (4, 3)]
    pairs = tuple(Pair(images[a], images[b], np.eye(3), "s", "v", f"s/{a}-{b}") for a, b in every)
    items = items_of(DataSet("d", pairs, 1, 5, "", ""), ImageConfig())
    units = _Units({item.key: item for item in items}, pairs)
    order = [item.key for item in items]
    seen: list[str] = []
    for start in range(0, len(items), 2):
        chunk = items[start : start + 2]
        for unit in units.of(True, chunk):
            assert max(order.index(key) for key in unit.images) in (start, start + 1)
            seen.append(unit.key)
        assert [unit.images for unit in units.of(False, chunk)] == [(item.key,) for item in chunk]
    assert sorted(seen) == sorted(pair.name for pair in pairs)


def test_correspondences_are_stored_and_read_back(tmp_path: Path) -> None:
    store, found = RunStore(tmp_path), correspondences()
    written = Extraction(None, StageTimes(1, 2, 3), 4, 5, correspondences=found, size=Size(240, 320))
    store.write_extraction("flow", "s/1-2", written)
    read = store.read_extraction("flow", "s/1-2")
    assert read.features is None and read.failure is None and read.correspondences is not None
    for name in ("xy_ref", "xy_target", "scores"):
        np.testing.assert_array_equal(getattr(read.correspondences, name), getattr(found, name))
    assert (read.times, read.block, read.order, read.size) == (StageTimes(1, 2, 3), 4, 5, Size(240, 320))


def test_a_broken_contract_is_named() -> None:
    good = correspondences()
    with pytest.raises(FeatureError, match=r"xy_target must be \(40, 2\) float32"):
        Correspondences(good.xy_ref, good.xy_target[:3], good.scores)
    with pytest.raises(FeatureError, match="xy_ref contains NaN"):
        Correspondences(good.xy_ref * np.float32(np.nan), good.xy_target, good.scores)


def test_rows_of_a_pairwise_method(tmp_path: Path) -> None:
    small = ["dataset.viewpoint_sequences=1", "dataset.illumination_sequences=0", "dataset.height=240"]
    config = compose([*small, "dataset.width=320", "protocol.image.short_side=240", "protocol.estimator.repeats=2"])
    dataset = load(config.dataset, tmp_path)
    dataset = DataSet("d", dataset.pairs[:2], 1, 2, "", "")
    store = RunStore(tmp_path / "run")
    right, broken = dataset.pairs
    items = {item.key: item for item in items_of(dataset, config.protocol.image)}
    size = prepare_item(items[right.reference.key], config.protocol.image).size
    xy = correspondences().xy_ref
    true = transform_points(right.H_ref_to_target, xy).astype(np.float32)
    given = Correspondences(xy, true, np.ones(len(xy), np.float32))
    store.write_extraction(
        "flow", right.name, Extraction(None, StageTimes(0, 1, 0), 0, 0, correspondences=given, size=size)
    )
    store.write_extraction("flow", broken.name, Extraction(None, None, 0, 1, "it broke"))
    rows, _ = evaluate_all(dataset, PAIRS, config.protocol, EstimatorSweepConfig(), store, seed=0, jobs=1)
    by_pair = rows.set_index("pair")
    assert by_pair["outcome"].to_dict() == {right.name: "ok", broken.name: "extraction_failed"}
    assert by_pair["n_matches"].to_dict() == {right.name: len(xy), broken.name: 0}
    assert by_pair.loc[right.name, ["accuracy_1px", "match_precision_1px", "inlier_ratio"]].tolist() == [1.0, 1.0, 1.0]
    assert by_pair.loc[broken.name, ["accuracy_5px", "match_precision_3px"]].tolist() == [0.0, 0.0]
    assert np.isinf(by_pair.loc[broken.name, "corner_error_px"])
    assert by_pair[["n_keypoints_ref", "repeatability", "nn_map", "match_recall_3px"]].isna().all(axis=None)
