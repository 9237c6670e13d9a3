"""Rows of images and pairs against answers known beforehand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench.core.types import Features, ImageRef, Pair, PreparedPair, Size
from bench.geometry.transforms import translation
from bench.parity.measure import image_drift, pair_row, solve_pair, tensor_rows
from bench.schema import EstimatorConfig, ProtocolConfig

SIZE = Size(240, 320)


def features(xy: np.ndarray, scores: np.ndarray | None = None, descriptors: np.ndarray | None = None) -> Features:
    n = len(xy)
    if descriptors is None:
        descriptors = np.eye(n, 128, dtype=np.float32)
    if scores is None:
        scores = np.linspace(1, 0.1, n)
    return Features(xy.astype(np.float32), scores.astype(np.float32), descriptors.astype(np.float32), SIZE)


def scattered(n: int = 60) -> np.ndarray:
    """Keypoints at least 8 px apart, far enough from the border to be shifted."""
    cells = np.random.default_rng(3).permutation(20 * 14)[:n]
    return np.stack([20 + 14 * (cells % 20), 20 + 14 * (cells // 20)], axis=1).astype(np.float64)


def prepared(H: np.ndarray) -> PreparedPair:
    image = ImageRef("s/1", Path("1.png"))
    return PreparedPair(Pair(image, ImageRef("s/2", Path("2.png")), H, "s", "v", "s/1-2"), H, SIZE, SIZE)


def protocol(name: str = "usac_magsac") -> ProtocolConfig:
    return ProtocolConfig(name="test", estimator=EstimatorConfig(name=name))


def test_tensors_are_joined_by_name() -> None:
    a = {"prob": np.zeros((1, 4, 4), np.float32), "logits": np.ones(2, np.float32)}
    rows = tensor_rows(a, {"prob": a["prob"] + 1, "other": np.ones(3)})
    assert [row["tensor"] for row in rows] == ["prob"]
    assert rows[0]["shape"] == "1x4x4" and rows[0]["p99.9_abs"] == 1.0


def test_equal_features_have_no_drift() -> None:
    found = image_drift(features(scattered()), features(scattered()))
    assert found.row["shared_0px"] == 60 and found.row["lost_0px"] == found.row["gained_0px"] == 0
    assert found.row["score_rank_correlation"] == pytest.approx(1.0)
    assert found.row["cosine_min"] == pytest.approx(1.0)


def test_moved_keypoints_do_not_count_as_turned_descriptors() -> None:
    xy, moved = scattered(), scattered()
    moved[:6] += (1, 0)
    turned = np.eye(60, 128, dtype=np.float32)
    turned[:6] = turned[:6, ::-1]
    row = image_drift(features(xy), features(moved, descriptors=turned)).row
    assert (row["lost_0px"], row["gained_0px"]) == (6, 6)
    assert (row["lost_1px"], row["moved_1px"], row["moved_2px"]) == (0, 6, 6)
    assert row["cosine_min"] == pytest.approx(1.0)


def test_detectors_have_no_cosines() -> None:
    bare = Features(scattered().astype(np.float32), np.ones(60, np.float32), None, SIZE)
    found = image_drift(bare, bare)
    assert len(found.cosines) == 0 and math.isnan(found.row["cosine_min"])
    assert math.isnan(found.row["score_rank_correlation"])
    assert solve_pair(prepared(np.eye(3)), bare, bare, protocol(), 0, 3) is None


def test_equal_features_shift_by_the_noise_floor() -> None:
    rng = np.random.default_rng(4)
    xy = scattered()
    noisy = features(xy + translation(5, 3)[:2, 2] + rng.normal(0, 0.7, xy.shape))
    solved = solve_pair(prepared(translation(5, 3)), features(xy), noisy, protocol("opencv_ransac"), 0, 6)
    assert solved is not None and len(solved.homographies) == 6
    row = pair_row(prepared(translation(5, 3)), solved, solved, protocol("opencv_ransac"))
    assert row["match_jaccard"] == 1.0 and row["first_shift_px"] == 0.0
    assert row["corner_shift_px"] == row["noise_floor_px"]
    for t in (1, 3, 5):
        assert row[f"flip_{t}px"] == row[f"noise_flip_{t}px"]
        assert row[f"first_flip_{t}px"] == 0


def test_a_shift_of_all_keypoints_is_seen_in_the_corners() -> None:
    xy, pair = scattered(), prepared(translation(5, 3))
    exact = solve_pair(pair, features(xy), features(xy + np.array([5, 3])), protocol(), 0, 4)
    shifted = solve_pair(pair, features(xy), features(xy + np.array([9, 6])), protocol(), 0, 4)
    assert exact is not None and shifted is not None
    row = pair_row(pair, exact, shifted, protocol())
    assert row["match_jaccard"] == 0.0
    assert row["corner_shift_px"] == pytest.approx(5.0, abs=1e-3)
    assert row["noise_floor_px"] == pytest.approx(0.0, abs=1e-3)
    assert (row["flip_3px"], row["noise_flip_3px"], row["first_flip_3px"]) == (1.0, 0.0, -1)
    assert row["accuracy_other_3px"] == 0.0 and row["accuracy_reference_3px"] == 1.0


def test_a_protocol_without_estimator_compares_matches_only() -> None:
    solved = solve_pair(prepared(np.eye(3)), features(scattered()), features(scattered()), protocol("none"), 0, 4)
    assert solved is not None
    row = pair_row(prepared(np.eye(3)), solved, solved, protocol("none"))
    assert row["match_jaccard"] == 1.0 and "corner_shift_px" not in row
