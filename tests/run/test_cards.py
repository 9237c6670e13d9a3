"""Cards hold what was measured: the same where the evaluation left them and where they are made afterwards."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.core.files import plain
from bench.core.types import DataSet, Size
from bench.geometry.ground_truth import reprojection_error_px
from bench.geometry.transforms import corners, transform_points
from bench.report.cards import NO_OUTLINE, NOT_STORED, Cards
from bench.run.cards import cards_of_run
from bench.run.drawings import solve_again
from bench.run.manifest import DatasetRecord, Manifest, MethodRecord, ProtocolRecord
from bench.run.store import RunStore
from bench.schema import ProtocolConfig
from tests.run.test_drawings import METHODS, measured


@dataclass(frozen=True)
class Measured:
    protocol: ProtocolConfig
    dataset: DataSet
    store: RunStore
    rows: pd.DataFrame
    manifest: Manifest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    config, dataset, store, rows = measured("strict", tmp_path_factory.mktemp("cards"))
    manifest = Manifest(
        ProtocolRecord("strict", "", config=plain(asdict(config.protocol))),
        DatasetRecord(dataset.name, dataset.digest, pairs=[pair.name for pair in dataset.pairs]),
        config={"dataset": plain(asdict(config.dataset)), "data_root": str(store.directory.parent)},
        methods={name: MethodRecord(info={"has_descriptors": True}) for name in METHODS},
        seeds={"run": 3},
    )
    return Measured(config.protocol, dataset, store, rows, manifest)


def without_cards(run: Measured, folder: Path) -> Path:
    copy = Path(shutil.copytree(run.store.directory, folder / "run"))
    shutil.rmtree(copy / "parts" / "cards")
    return copy


def same(a: Cards, b: Cards) -> bool:
    arrays: tuple[dict[str, Any], ...] = a.arrays(), b.arrays()
    return all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])


def test_cards_of_the_evaluation_show_the_measured_pairs(run: Measured) -> None:
    cards, missing = cards_of_run(run.store.directory, run.manifest)
    assert cards is not None
    assert missing == ""
    assert cards.pairs == tuple(pair.name for pair in run.dataset.pairs)
    assert cards.methods == tuple(METHODS)
    known = run.rows.set_index(["pair", "method"])
    starts = np.concatenate([[0], np.cumsum(cards.drawn.ravel())])
    steps = 256**cards.matches.dtype.itemsize
    for p, pair in enumerate(cards.pairs):
        sides = cards.sizes[cards.ends[p]].ravel()
        for m, method in enumerate(cards.methods):
            row = known.loc[(pair, method)]
            given = solve_again(run.dataset, method, METHODS[method], pair, run.protocol, run.store, seed=3)
            assert given is not None
            n, n_correct = cards.counts[p, m]
            assert n == row["n_matches"]
            correct = reprojection_error_px(given.xy_ref, given.xy_target, given.H_true) <= 3
            assert n_correct == correct.sum()
            assert n_correct / n == pytest.approx(row["match_precision_3px"])
            place = m + p * len(cards.methods)
            stored = slice(starts[place], starts[place + 1])
            xy = (cards.matches[stored] + 0.5) / steps * sides - 0.5
            every = np.hstack([given.xy_ref, given.xy_target])
            distance = np.abs(every[None] - xy[:, None]).max(axis=2)
            assert distance.min(axis=1).max() <= sides.max() / steps
            assert (cards.correct[stored] == correct[distance.argmin(axis=1)]).all()
            assert given.H_estimated is not None
            frame = corners(Size(*given.grey_ref.shape))
            outline = cards.estimates[p, m] / 4096 * sides[2:] - 0.5
            assert np.abs(outline - transform_points(given.H_estimated, frame)).max() <= sides.max() / 8192 + 1e-9
            error = np.linalg.norm(outline - (cards.outlines[p] / 4096 * sides[2:] - 0.5), axis=1).mean()
            assert error == pytest.approx(row["corner_error_px"], abs=0.2)


def test_cards_made_afterwards_are_the_same_and_are_kept(run: Measured, tmp_path: Path) -> None:
    first, _ = cards_of_run(run.store.directory, run.manifest)
    copy = without_cards(run, tmp_path)
    made, missing = cards_of_run(copy, run.manifest, run.dataset)
    assert first is not None
    assert made is not None
    assert missing == ""
    assert same(first, made)
    shutil.rmtree(copy / "features")
    again, _ = cards_of_run(copy, run.manifest)
    assert again is not None
    assert same(first, again)


def test_without_features_images_and_true_outlines_remain(run: Measured, tmp_path: Path) -> None:
    first, _ = cards_of_run(run.store.directory, run.manifest)
    copy = without_cards(run, tmp_path)
    shutil.rmtree(copy / "features")
    made, missing = cards_of_run(copy, run.manifest, run.dataset)
    assert first is not None
    assert made is not None
    assert missing == ""
    assert made.jpegs == first.jpegs
    assert (made.outlines == first.outlines).all()
    assert (made.estimates == NO_OUTLINE).all()
    assert (made.counts == NOT_STORED).all()


def test_without_images_the_reason_is_given(run: Measured, tmp_path: Path) -> None:
    copy = without_cards(run, tmp_path)
    other = replace(run.manifest, dataset=replace(run.manifest.dataset, digest="another"))
    made, missing = cards_of_run(copy, other)
    assert made is None
    assert "has changed since" in missing
