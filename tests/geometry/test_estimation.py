"""Every estimator on data with a known homography, and every way to fail."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import ModelError
from bench.core.types import Outcome, Size
from bench.geometry.estimation import collinear, estimate, estimates
from bench.geometry.transforms import corner_error_px, corners, transform_points
from bench.schema import ESTIMATORS, EstimatorConfig

SIZE = Size(480, 640)
H_TRUE = np.array([[1.05, 0.08, -20], [-0.06, 0.97, 15], [8e-5, -5e-5, 1]])


def config(name: str, **values: Any) -> EstimatorConfig:
    if name == "poselib":
        pytest.importorskip("poselib")
    return EstimatorConfig(name=name, **values)


def scene(
    n: int = 300, outliers: float = 0.4, noise_px: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matches with noise and outliers, and which of them are true."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, [639, 479], (n, 2))
    b = transform_points(H_TRUE, a) + rng.normal(0, noise_px, (n, 2))
    true = rng.permutation(n) >= round(outliers * n)
    b[~true] = rng.uniform(0, [639, 479], ((~true).sum(), 2))
    return a.astype(np.float32), b.astype(np.float32), true


ROBUST = [name for name in ESTIMATORS if name not in ("dlt", "none")]


@pytest.mark.parametrize("name", ROBUST)
def test_robust_estimators_find_the_homography(name: str) -> None:
    a, b, true = scene()
    found = estimate(a, b, config(name), None, scores=true + np.linspace(0, 1, len(a)))
    assert found.outcome is Outcome.OK
    assert corner_error_px(found.H, H_TRUE, SIZE) < 3
    assert (found.inliers & true).sum() > 0.8 * true.sum()
    assert (found.inliers & ~true).sum() < 0.05 * len(a)


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n != "none"])
@pytest.mark.parametrize("n", [4, 5, 50])
def test_exact_matches_give_the_exact_homography(name: str, n: int) -> None:
    if name == "opencv_rho" and n == 5:
        pytest.skip("RHO needs more than one match beside its sample")
    a = np.concatenate([corners(SIZE), np.random.default_rng(1).uniform(50, 400, (46, 2))])[:n]
    found = estimate(a, transform_points(H_TRUE, a), config(name), None, scores=np.ones(n))
    assert found.outcome is Outcome.OK
    # OpenCV computes its samples in single precision
    assert corner_error_px(found.H, H_TRUE, SIZE) < 0.05
    if name != "opencv_lmeds":  # its threshold is the noise it estimates, which is nil
        assert found.inliers.all()


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n != "none"])
def test_same_input_same_bits(name: str) -> None:
    a, b, _ = scene(seed=3)
    scores = np.random.default_rng(0).uniform(size=len(a))
    for order_seed in (None, 0, 7):
        first = estimate(a, b, config(name), order_seed, scores)
        for _ in range(3):
            again = estimate(a, b, config(name), order_seed, scores)
            np.testing.assert_array_equal(first.H, again.H)
            np.testing.assert_array_equal(first.inliers, again.inliers)


def test_threads_of_opencv_are_left_alone_and_change_nothing() -> None:
    a, b, _ = scene(seed=4)
    threads = cv2.getNumThreads()
    try:
        results = []
        for n in (1, 4):
            cv2.setNumThreads(n)
            results.append(estimate(a, b, config("usac_magsac"), 1).H)
            assert cv2.getNumThreads() == n
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(*results)


@given(seed=st.integers(0, 2**31), order_seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_inliers_come_back_in_the_order_given(seed: int, order_seed: int) -> None:
    """Without noise the inliers of any order are the true matches, and none that is far off."""
    a, b, true = scene(n=80, outliers=0.2, noise_px=0, seed=seed)
    found = estimate(a, b, config("usac_magsac"), order_seed)
    assert found.inliers[true].all()
    assert not found.inliers[np.hypot(*(transform_points(H_TRUE, a) - b).T) > 5].any()


def test_order_seed_equals_permuting_by_hand() -> None:
    a, b, _ = scene(seed=5, noise_px=2)
    order = np.random.default_rng((11,)).permutation(len(a))
    seeded = estimate(a, b, config("opencv_ransac"), 11)
    by_hand = estimate(a[order], b[order], config("opencv_ransac"), None)
    np.testing.assert_array_equal(seeded.H, by_hand.H)
    np.testing.assert_array_equal(seeded.inliers[order], by_hand.inliers)
    assert (seeded.H != estimate(a, b, config("opencv_ransac"), None).H).any()


@pytest.mark.parametrize("name", ["usac_prosac", "opencv_rho"])
def test_scores_decide_the_order_of_progressive_sampling(name: str) -> None:
    a, b, _ = scene(seed=6)
    scores = np.random.default_rng(2).permutation(len(a)).astype(float)
    ranked = np.argsort(-scores)
    expected = estimate(a[ranked], b[ranked], config(name), None)
    for order_seed in (None, 1, 2):
        np.testing.assert_array_equal(estimate(a, b, config(name), order_seed, scores).H, expected.H)


@pytest.mark.parametrize(("name", "flag"), [("usac_magsac", cv2.USAC_MAGSAC), ("usac_accurate", cv2.USAC_ACCURATE)])
def test_pinned_parameters_are_those_of_the_flag(name: str, flag: int) -> None:
    a, b, _ = scene(seed=8, noise_px=1)
    H, mask = cv2.findHomography(a.astype(float), b.astype(float), flag, 2.0, maxIters=10000, confidence=0.9999)
    found = estimate(a, b, config(name), None)
    np.testing.assert_allclose(found.H, H / H[2, 2], rtol=1e-12)
    np.testing.assert_array_equal(found.inliers, mask.ravel() != 0)


def test_dlt_takes_every_match() -> None:
    a, b, _ = scene(n=40, outliers=0, noise_px=1)
    found = estimate(a, b, config("dlt"), None)
    assert found.inliers.all()
    np.testing.assert_allclose(found.H, estimate(a, b, config("dlt"), 3).H, rtol=1e-9)


def test_none_estimates_nothing() -> None:
    found = estimate(np.zeros((2, 2)), np.zeros((2, 2)), config("none"), None)
    assert found.outcome is Outcome.OK
    assert found.H is None
    assert found.inliers.tolist() == [False, False]


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n != "none"])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_fewer_than_four_matches(name: str, n: int) -> None:
    a = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    found = estimate(a, a, config(name), 0)
    assert found.outcome is Outcome.TOO_FEW_MATCHES
    assert found.H is None
    assert found.inliers.shape == (n,)


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n != "none"])
def test_points_on_a_line_are_degenerate(name: str) -> None:
    t = np.linspace(0, 400, 30)
    line = np.stack([t, 20 + 0.7 * t], axis=1).astype(np.float32)
    plane = scene(30)[0]
    for a, b in ((line, line + 3), (line, plane), (plane, line), (np.ones((9, 2)), plane[:9])):
        assert estimate(a, b, config(name), None).outcome is Outcome.DEGENERATE


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n != "none"])
def test_random_matches_end_in_a_named_outcome(name: str) -> None:
    """No exception, and whatever is called OK is a homography with its inliers in front of the camera."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a, b = rng.uniform(0, [639, 479], (2, int(rng.integers(4, 12)), 2)).astype(np.float32)
        found = estimate(a, b, config(name, max_iterations=200), seed, rng.uniform(size=len(a)))
        assert (found.H is not None) == (found.outcome is Outcome.OK)
        if found.H is not None:
            assert np.isfinite(transform_points(found.H, a[found.inliers])).all()
            assert np.linalg.det(found.H) > 0
            assert found.inliers.any()


def test_mirrored_and_horizon_crossing_estimates_are_degenerate() -> None:
    a = scene(30)[0]
    assert estimate(a, a * [-1, 1] + [639, 0], config("dlt"), None).outcome is Outcome.DEGENERATE
    H = np.array([[1, 0, 0], [0, 1, 0], [-0.004, 0, 1]])  # horizon at x = 250
    p = np.c_[a, np.ones(len(a))] @ H.T
    assert estimate(a, p[:, :2] / p[:, 2:], config("dlt"), None).outcome is Outcome.DEGENERATE


def test_origin_behind_the_camera_is_no_reason_to_refuse() -> None:
    """H[2, 2] < 0 after the usual normalisation, yet all matches are in front."""
    H = np.array([[1.0, 0.1, -200], [0.05, 1.0, 0], [0.004, 0, -0.4]])  # horizon at x = 100
    a = np.random.default_rng(0).uniform([300, 0], [639, 479], (60, 2))
    b = transform_points(H, a)
    for name in ("dlt", "usac_magsac", "opencv_ransac"):
        found = estimate(a, b, config(name), None)
        assert found.outcome is Outcome.OK
        np.testing.assert_allclose(transform_points(found.H, a), b, atol=0.05)


def test_collinear() -> None:
    assert collinear([[0, 0], [1, 1]])
    assert collinear([[5, 5]] * 10)
    assert collinear([[0, 0], [100, 0], [50, 5e-4]])
    assert not collinear([[0, 0], [100, 0], [50, 0.01]])
    assert not collinear([[0, 0], [0, 0], [3, 1], [1, 3]])


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 30), angle=st.floats(0, 2 * np.pi))
def test_collinear_in_any_direction_in_single_precision(seed: int, n: int, angle: float) -> None:
    rng = np.random.default_rng(seed)
    line = [300, 200] + rng.uniform(-200, 200, (n, 1)) * [np.cos(angle), np.sin(angle)]
    assert collinear(line.astype(np.float32))
    assert not collinear(np.concatenate([line, [line[0] + [40, 0], line[0] + [0, 40]]]))


def test_missing_poselib_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_poselib(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "poselib":
            raise ImportError("No module named 'poselib'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_poselib)
    a, b, _ = scene(20)
    with pytest.raises(ModelError, match=r"pip install 'superpoint-bench\[poselib\]'"):
        estimate(a, b, EstimatorConfig(name="poselib"), None)


def test_unequal_numbers_of_points() -> None:
    with pytest.raises(ValueError, match="5 reference points and 4"):
        estimate(np.zeros((5, 2)), np.zeros((4, 2)), config("dlt"), None)


def test_refusals_lose_no_usable_homography(shared: Path) -> None:
    """On real matches, whatever is called degenerate would have had an infinite corner error or none below 50 px."""
    from bench.core.types import Features
    from bench.geometry.estimation import _ESTIMATORS
    from bench.geometry.nearest import match
    from bench.schema import MatcherConfig

    def sift(path: Path) -> Features:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        keypoints, descriptors = cv2.SIFT_create(500).detectAndCompute(grey, None)
        xy = np.array([k.pt for k in keypoints], np.float32)
        return Features(xy, np.zeros(len(xy), np.float32), descriptors, Size(*grey.shape))

    folder = shared / "data/hpatches/v_churchill"
    ref = sift(folder / "1.ppm")
    refused = 0
    for k in (2, 4, 6):
        target = sift(folder / f"{k}.ppm")
        matches = match(ref, target, MatcherConfig()).indices
        a, b = ref.keypoints[matches[:, 0]].astype(float), target.keypoints[matches[:, 1]].astype(float)
        H = np.loadtxt(folder / f"H_1_{k}")
        for name in ("opencv_ransac", "opencv_lmeds", "usac_magsac", "dlt"):
            if estimate(a, b, config(name, max_iterations=500), None).outcome is Outcome.DEGENERATE:
                refused += 1
                raw = _ESTIMATORS[name](a, b, config(name, max_iterations=500))
                assert raw is not None
                assert min(corner_error_px(s * raw[0], H, ref.size) for s in (1, -1)) > 50
    assert refused > 0


@pytest.mark.parametrize("name", ["usac_magsac", "opencv_rho", "dlt", "none"])
@pytest.mark.parametrize("n", [0, 3, 60])
def test_several_orders_are_those_of_one_at_a_time(name: str, n: int) -> None:
    a, b, _ = scene(n)
    scores, seeds = np.random.default_rng(n).random(n), [None, 3, 4]
    together = list(estimates(a, b, config(name), seeds, scores))
    for seed, found in zip(seeds, together, strict=True):
        alone = estimate(a, b, config(name), seed, scores)
        assert found.outcome is alone.outcome
        assert found.inliers.tolist() == alone.inliers.tolist()
        assert (found.H is None) == (alone.H is None)
        assert found.H is None or found.H.tobytes() == alone.H.tobytes()  # type: ignore[union-attr]
