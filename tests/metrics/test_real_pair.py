"""SIFT on a real sequence: an image against itself is perfect under every protocol, a real pair is plausible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.config import compose
from bench.core.types import Context, Features, Pair, PreparedPair
from bench.data import load
from bench.data.prepare import prepare_image, prepare_pair
from bench.features.base import create
from bench.run.pair import evaluate_pair
from bench.schema import ProtocolConfig


def case(
    shared: Path, tmp_path: Path, name: str, same: bool
) -> tuple[PreparedPair, Features, Features, ProtocolConfig]:
    config = compose([f"protocol={name}", "dataset=hpatches", f"dataset.root={shared / 'data/hpatches'}"])
    pair: Pair = next(p for p in load(config.dataset, tmp_path).pairs if p.name == "v_dogman/1-2")
    if same:
        pair = replace(pair, target=pair.reference, H_ref_to_target=np.eye(3))
    protocol = config.protocol
    image_ref = prepare_image(pair.reference, protocol.image)
    image_target = prepare_image(pair.target, protocol.image, image_ref)
    method = create("sift", config.methods["sift"], Context(threads=1, cache=tmp_path, data_root=tmp_path))
    features = [method.extract(image)[0] for image in (image_ref, image_target)]
    return prepare_pair(pair, image_ref, image_target, protocol.image), features[0], features[1], protocol


@pytest.mark.parametrize("name", ["strict", "paper", "rpautrat", "gluefactory", "silk"])
def test_an_image_against_itself(shared: Path, tmp_path: Path, name: str) -> None:
    row = evaluate_pair(*case(shared, tmp_path, name, same=True), 0)
    assert row["outcome"] == "ok"
    assert row["corner_error_px"] < 1e-3  # type: ignore[operator]
    for key in ("repeatability", "match_precision_3px", "match_recall_3px"):
        assert row.get(key, 1.0) == 1.0, key
    # SIFT repeats a keypoint with several orientations; equal descriptors at one place may answer for one another.
    for key in ("nn_map", "matching_score", "repeatability_one_to_one", "inlier_ratio"):
        assert row.get(key, 1.0) > 0.99, key  # type: ignore[operator]


def test_a_real_pair(shared: Path, tmp_path: Path) -> None:
    found = case(shared, tmp_path, "strict", same=False)
    row = evaluate_pair(*found, 0)
    assert row["outcome"] == "ok"
    assert row["corner_error_px"] < 5  # type: ignore[operator]
    assert 0.3 < row["repeatability"] < 1  # type: ignore[operator]
    assert row["repeatability_one_to_one"] <= row["repeatability"]  # type: ignore[operator]
    assert 0 < row["localisation_error_px"] < 3  # type: ignore[operator]
    assert row["mma"] == sorted(row["mma"])  # type: ignore[type-var]
    assert row["match_precision_1px"] <= row["match_precision_3px"] == pytest.approx(row["mma"][2])  # type: ignore[index]
    again = evaluate_pair(*found, 0)
    assert {k: v for k, v in row.items() if not k.endswith("_ms")} == {
        k: v for k, v in again.items() if not k.endswith("_ms")
    }
