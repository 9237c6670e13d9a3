"""SIFT on real images: an image against itself is perfect under every protocol, a real pair is plausible."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.config import compose
from bench.core.types import Context, DataSet, Features, Pair, PreparedPair
from bench.data import load
from bench.data.prepare import prepare_image, prepare_pair
from bench.features.base import create
from bench.run.pair import evaluate_pair
from bench.schema import HPatchesConfig, ProtocolConfig
from bench.schema.presets import preset

SIFT = functools.cache(lambda: compose().methods["sift"])


def case(pair: Pair, tmp_path: Path, name: str) -> tuple[PreparedPair, Features, Features, ProtocolConfig]:
    protocol = preset(name)
    image_ref = prepare_image(pair.reference, protocol.image)
    image_target = prepare_image(pair.target, protocol.image, image_ref)
    method = create("sift", SIFT(), Context(threads=1, cache=tmp_path, data_root=tmp_path))
    features = [method.extract(image)[0] for image in (image_ref, image_target)]
    return prepare_pair(pair, image_ref, image_target, protocol.image), features[0], features[1], protocol


@pytest.mark.parametrize("name", ["strict", "paper", "rpautrat", "gluefactory", "silk"])
def test_an_image_against_itself(views: DataSet, tmp_path: Path, name: str) -> None:
    pair = replace(views.pairs[0], target=views.pairs[0].reference, H_ref_to_target=np.eye(3))
    row = evaluate_pair(*case(pair, tmp_path, name), 0)
    assert row["outcome"] == "ok"
    assert row["corner_error_px"] < 1e-3  # type: ignore[operator]
    for key in ("repeatability", "match_precision_3px", "match_recall_3px"):
        assert row.get(key, 1.0) == 1.0, key
    # SIFT repeats a keypoint with several orientations; equal descriptors at one place may answer for one another.
    for key in ("nn_map", "matching_score", "repeatability_one_to_one", "inlier_ratio"):
        assert row.get(key, 1.0) > 0.99, key  # type: ignore[operator]


@pytest.mark.parametrize("data", ["views", "shared"])
def test_a_real_pair(request: pytest.FixtureRequest, tmp_path: Path, data: str) -> None:
    source = request.getfixturevalue(data)
    if data == "shared":
        source = load(
            HPatchesConfig(root=str(source / "data/hpatches"), subset="all", sequences=["v_dogman"]), tmp_path
        )
    found = case(source.pairs[0], tmp_path, "strict")
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
