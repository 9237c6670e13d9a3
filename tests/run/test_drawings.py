"""What is drawn is what was measured: matches, outcome and corner error of the row, under every protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.config import compose
from bench.core.types import Context, DataSet, Size
from bench.data import load
from bench.features.base import create
from bench.geometry.ground_truth import corner_error, reprojection_error_px
from bench.run.drawings import draw_run, solve_again
from bench.run.evaluation import Entry, evaluate_all
from bench.run.extraction import items_of, prepare_item
from bench.run.store import Extraction, RunStore
from bench.schema import EstimatorSweepConfig, RunConfig

PRESETS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/protocol").glob("*.yaml"))
SMALL = [
    "dataset=photos",
    "dataset.viewpoint_sequences=1",
    "dataset.illumination_sequences=0",
    "dataset.height=240",
    "dataset.width=320",
    "methods=classical",
    "estimator_sweep.thresholds_px=[3]",
]
QUICK = ("strict", "pytorch_superpoint")
"""The default, and the one whose largest distance does not apply to SIFT and ORB."""
METHODS = {"sift": Entry(has_descriptors=True), "orb": Entry(has_descriptors=True)}


def measured(preset: str, folder: Path) -> tuple[RunConfig, DataSet, RunStore, pd.DataFrame]:
    """Rows of SIFT and ORB on two pairs."""
    config = compose([*SMALL, f"protocol={preset}", f"data_root={folder}", "bootstrap_draws=100"])
    protocol = config.protocol
    if protocol.estimator.name == "poselib":
        pytest.importorskip("poselib")
    protocol.estimator.repeats = min(protocol.estimator.repeats, 2)
    dataset = load(config.dataset, folder)
    dataset = replace(dataset, pairs=dataset.pairs[1:3])
    store = RunStore(folder / f"run_{preset}")
    for name in METHODS:
        if protocol.keypoints.gt_filter:
            config.methods[name].max_keypoints = 0
        extractor = create(name, config.methods[name], Context(1, folder, folder))
        for item in items_of(dataset, protocol.image):
            found = extractor.extract(prepare_item(item, protocol.image))
            store.write_extraction(name, item.key, Extraction(*found, 0, 0))
    rows, _ = evaluate_all(dataset, METHODS, protocol, EstimatorSweepConfig(), store, seed=3, jobs=1)
    return config, dataset, store, rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drawings")


@pytest.mark.parametrize("preset", [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PRESETS])
def test_drawings_show_the_measured_pair(preset: str, folder: Path) -> None:
    config, dataset, store, rows = measured(preset, folder)
    protocol = config.protocol
    drawings = draw_run(dataset, rows, METHODS, protocol, store, seed=3)
    if "corner_error_px" not in rows or rows["corner_error_px"].isna().all():
        assert drawings == []
        return
    assert {drawing.method for drawing in drawings} == set(METHODS)
    by_key = rows.set_index(["method", "pair"])
    for drawing in drawings:
        row = by_key.loc[(drawing.method, drawing.pair)]
        assert drawing.n_matches == row["n_matches"] > 4
        assert (drawing.outcome, drawing.corner_error_px) == (row["outcome"], row["corner_error_px"])
        given = solve_again(dataset, drawing.method, METHODS[drawing.method], drawing.pair, protocol, store, seed=3)
        assert given is not None
        errors = reprojection_error_px(given.xy_ref, given.xy_target, given.H_true)
        assert drawing.n_correct == (errors <= 3).sum()
        if "match_precision_3px" in row and protocol.precision_error == "one_way":
            assert drawing.n_correct / drawing.n_matches == row["match_precision_3px"]
        if protocol.homography.frame == "evaluated":
            size = items_size(dataset, drawing.pair, config)
            error = corner_error(given.H_estimated, given.H_true, size, protocol.homography.corners)
            per = protocol.homography.per_short_side_px
            if per is not None:
                target = items_size(dataset, drawing.pair, config, "target")
                error /= min(target.height, target.width) / per
            assert error == row["corner_error_px"]


def items_size(dataset: DataSet, pair: str, config: RunConfig, role: str = "reference") -> Size:
    """Size of an evaluated image of the pair."""
    key = next(getattr(p, role).key for p in dataset.pairs if p.name == pair)
    items = {item.key: item for item in items_of(dataset, config.protocol.image)}
    return prepare_item(items[key], config.protocol.image).size


def test_a_lost_feature_file_of_a_failed_extraction_is_left_out(folder: Path) -> None:
    config, dataset, store, rows = measured("strict", folder)
    key = dataset.pairs[0].target.key
    path = store.directory / "features/orb" / f"{key}.npz"
    path.unlink()
    store.write_extraction("orb", key, Extraction(None, None, 0, 0, failure="broken"))
    assert solve_again(dataset, "orb", METHODS["orb"], dataset.pairs[0].name, config.protocol, store, seed=3) is None
    drawings = draw_run(dataset, rows, {"orb": METHODS["orb"]}, config.protocol, store, seed=3)
    assert dataset.pairs[0].name not in {drawing.pair for drawing in drawings}
    assert np.all([drawing.image.dtype == np.uint8 for drawing in drawings])
