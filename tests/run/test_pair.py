"""One pair through a protocol: every column against naive implementations, degenerate inputs, seeds and the budget."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import ConfigError
from bench.core.types import Correspondences, Features, Outcome, PreparedPair, Size
from bench.geometry.solve import keep_shared, order_seed, solve, solve_correspondences
from bench.run.pair import evaluate_pair, measure_pair
from bench.schema import EstimatorConfig, HomographyMetricConfig, KeypointsConfig, MatcherConfig, ProtocolConfig
from tests.metrics import naive_metrics as naive

QUICK = EstimatorConfig(name="opencv_ransac", threshold_px=3.0, max_iterations=200, confidence=0.99, repeats=2)


def protocol(**changes: object) -> ProtocolConfig:
    return ProtocolConfig(name="test", estimator=QUICK, **changes)  # type: ignore[arg-type]


def translated_pair(n: int = 40, seed: int = 0, dx: float = 5.0) -> tuple[PreparedPair, Features, Features]:
    """Target keypoints are the reference's moved by (dx, 0), with the same descriptors in another order."""
    rng = np.random.default_rng(seed)
    prepared, _, _ = naive_scene()
    size = Size(200, 300)
    H = np.eye(3)
    H[0, 2] = dx
    xy = np.round(rng.uniform([0, 0], [280, 199], (n, 2)))
    vectors = rng.normal(size=(n, 8)).astype(np.float32)
    scores = np.linspace(1, 0.1, n).astype(np.float32)
    order = rng.permutation(n)
    ref = Features(xy.astype(np.float32), scores, vectors, size)
    moved = np.clip(xy + np.array([dx, 0.0]), 0, [299, 199])[order].astype(np.float32)
    target = Features(moved, scores, vectors[order], size)
    return replace(prepared, H_ref_to_target=H, size_ref=size, size_target=size), ref, target


def naive_scene() -> tuple[PreparedPair, Features, Features]:
    from bench.core.types import ImageRef, Pair

    pair = Pair(ImageRef("s/1", None), ImageRef("s/2", None), np.eye(3), "s", "v", "s/1-2")  # type: ignore[arg-type]
    empty = Features(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 8), np.float32), Size(50, 50))
    return PreparedPair(pair, np.eye(3), Size(50, 50), Size(50, 50)), empty, empty


def test_a_perfect_pair() -> None:
    row = evaluate_pair(*translated_pair(), protocol(), seed=0)
    assert row["outcome"] == "ok"
    assert row["n_matches"] == row["n_inliers"] == 40
    assert row["corner_error_px"] == pytest.approx(0, abs=1e-4)
    assert len(row["corner_errors_px"]) == 2  # type: ignore[arg-type]
    for name in (
        "accuracy_1px",
        "accuracy_3px",
        "accuracy_5px",
        "inlier_ratio",
        "repeatability",
        "nn_map",
        "repeatability_one_to_one",
        "matching_score",
        "match_precision_1px",
        "match_recall_3px",
    ):
        assert row[name] == 1.0, name
    assert row["mma"] == [1.0] * 15
    assert row["localisation_error_px"] == 0.0
    assert row["dlt_corner_error_px"] == pytest.approx(0, abs=1e-4)
    assert row["n_failed_repeats"] == 0


def test_repeat_zero_is_the_order_of_the_matcher() -> None:
    assert order_seed(7, "v_x/1-2", 0) is None
    seeds = {order_seed(s, p, r) for s in (0, 1) for p in ("v_x/1-2", "v_x/1-3") for r in (1, 2, 3)}
    assert len(seeds) == 12
    assert order_seed(0, "v_x/1-2", 1) == order_seed(0, "v_x/1-2", 1)


def test_rows_do_not_depend_on_what_else_is_evaluated() -> None:
    cases = [translated_pair(seed=s) for s in range(3)]
    timed = ("match_ms", "estimate_ms")

    def rows(order: list[int]) -> dict[int, dict[str, object]]:
        found = {k: evaluate_pair(*cases[k], protocol(), seed=3) for k in order}
        return {k: {key: value for key, value in row.items() if key not in timed} for k, row in found.items()}

    assert rows([0, 1, 2]) == rows([2, 0, 1])


def test_no_keypoints_is_a_named_failure_with_infinite_error() -> None:
    prepared, empty, _ = naive_scene()
    row = evaluate_pair(prepared, empty, empty, protocol(), seed=0)
    assert row["outcome"] == Outcome.NO_KEYPOINTS
    assert row["corner_errors_px"] == [math.inf, math.inf]
    assert row["n_failed_repeats"] == 2
    assert row["accuracy_5px"] == row["repeatability"] == row["nn_map"] == row["inlier_ratio"] == 0.0
    assert row["dlt_corner_error_px"] == math.inf
    assert math.isnan(row["localisation_error_px"])  # type: ignore[arg-type]


def test_an_empty_image_need_not_know_the_length_of_descriptors() -> None:
    prepared, ref, target = translated_pair()
    bare = Features(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 1), np.float32), target.size)
    row = evaluate_pair(prepared, ref, bare, protocol(), seed=0)
    assert row["outcome"] == Outcome.NO_KEYPOINTS
    assert (row["n_matches"], row["nn_map"], row["matching_score"], row["match_ms"]) == (0, 0.0, 0.0, None)


def test_a_largest_distance_is_for_unit_descriptors_only() -> None:
    prepared, ref, target = translated_pair()
    noisy = replace(target, descriptors=target.descriptors + np.float32(0.01))  # type: ignore[operator]
    strict = protocol(matcher=MatcherConfig(max_distance=1e-6))
    assert evaluate_pair(prepared, ref, noisy, strict, seed=0)["n_matches"] == 40

    def unit(f: Features) -> Features:
        d = f.descriptors
        return replace(f, descriptors=(d / np.linalg.norm(d, axis=1, keepdims=True)).astype(np.float32))  # type: ignore[operator]

    assert evaluate_pair(prepared, unit(ref), unit(noisy), strict, seed=0)["n_matches"] == 0
    near = protocol(matcher=MatcherConfig(max_distance=0.7))
    assert evaluate_pair(prepared, unit(ref), unit(noisy), near, seed=0)["n_matches"] == 40


def test_the_nearest_matches_are_kept_in_their_order() -> None:
    prepared, ref, target = translated_pair()
    rng = np.random.default_rng(1)
    noise = rng.normal(size=target.descriptors.shape).astype(np.float32) * np.float32(0.05)  # type: ignore[union-attr]
    target = replace(target, descriptors=target.descriptors + noise)  # type: ignore[operator]
    every = solve(prepared, ref, target, protocol())
    kept = solve(prepared, ref, target, protocol(matcher=MatcherConfig(max_matches=10)))
    assert every.matches is not None and kept.matches is not None
    nearest = sorted(np.argsort(every.matches.distances, kind="stable")[:10])
    assert kept.matches.indices.tolist() == every.matches.indices[nearest].tolist()
    assert kept.matches.distances.tolist() == every.matches.distances[nearest].tolist()
    equal = solve(prepared, *translated_pair()[1:], protocol(matcher=MatcherConfig(max_matches=10)))
    assert equal.matches is not None  # all distances are 0: the first ten
    assert equal.matches.indices[:, 0].tolist() == list(range(10))


def test_a_one_way_matcher_keeps_the_nearest_from_either_side() -> None:
    found = solve(*translated_pair(), protocol(matcher=MatcherConfig(kind="nn", max_matches=7)))
    assert found.matches is not None
    assert (len(found.matches.indices), len(found.returned.indices)) == (7, 7)


def test_the_best_correspondences_of_a_pairwise_method_are_kept() -> None:
    prepared, ref, target = translated_pair(n=8)
    scores = np.array([1, 5, 3, 5, 2, 5, 4, 0], np.float32)
    given = Correspondences(ref.keypoints, target.keypoints, scores)
    kept = solve_correspondences(prepared, given, protocol(matcher=MatcherConfig(max_matches=4))).correspondences
    assert kept is not None
    assert kept.scores.tolist() == [5, 5, 5, 4]
    assert kept.xy_ref.tolist() == ref.keypoints[[1, 3, 5, 6]].tolist()


def test_thresholds_and_errors_that_follow_the_short_side() -> None:
    """A target image of 200 x 300 px, measured as one of 100 x 150."""
    prepared, ref, target = translated_pair()
    H = prepared.H_ref_to_target.copy()
    H[0, 2] += 1.5  # the truth lies a pixel and a half beside what the keypoints say
    prepared = replace(prepared, H_ref_to_target=H)
    scaled = protocol(homography=HomographyMetricConfig(per_short_side_px=100))
    same = replace(scaled, estimator=replace(QUICK, threshold_px=QUICK.threshold_px / 2, per_short_side_px=100))
    plain, halved, both = (evaluate_pair(prepared, ref, target, p, seed=0) for p in (protocol(), scaled, same))
    assert plain["corner_errors_px"] == pytest.approx([1.5] * 2, abs=1e-3)
    assert halved["corner_errors_px"] == [error / 2 for error in plain["corner_errors_px"]]  # type: ignore[attr-defined]
    assert both["corner_errors_px"] == halved["corner_errors_px"]
    assert (plain["accuracy_1px"], halved["accuracy_1px"]) == (0.0, 1.0)
    assert halved["mma"] == plain["mma"]


def test_one_keypoint_is_too_few_matches() -> None:
    row = evaluate_pair(*translated_pair(n=1), protocol(), seed=0)
    assert row["outcome"] == Outcome.TOO_FEW_MATCHES
    assert row["corner_error_px"] == math.inf
    assert row["matching_score"] == 1.0


def test_keypoints_on_a_line_are_degenerate() -> None:
    prepared, ref, target = translated_pair()
    flat = [
        replace(f, keypoints=np.c_[f.keypoints[:, 0], np.full(len(f), 9.0)].astype(np.float32)) for f in (ref, target)
    ]
    row = evaluate_pair(prepared, flat[0], flat[1], protocol(), seed=0)
    assert row["outcome"] in (Outcome.DEGENERATE, Outcome.ESTIMATION_FAILED)
    assert row["corner_errors_px"] == [math.inf, math.inf]
    assert row["dlt_corner_error_px"] == math.inf


def test_detectors_have_no_matching_columns() -> None:
    prepared, ref, target = translated_pair()
    bare = [replace(f, descriptors=None) for f in (ref, target)]
    row = evaluate_pair(prepared, bare[0], bare[1], protocol(), seed=0)
    full = evaluate_pair(prepared, ref, target, protocol(), seed=0)
    assert list(row) == list(full)
    filled = {key for key, value in row.items() if value is not None}
    assert filled == {
        "pair",
        "sequence",
        "split",
        "outcome",
        "n_keypoints_ref",
        "n_keypoints_target",
        "repeatability",
        "repeatability_one_to_one",
        "localisation_error_px",
    }
    assert row["outcome"] == "ok"


def test_empty_repeatability_by_protocol() -> None:
    prepared, empty, _ = naive_scene()
    kept = evaluate_pair(prepared, empty, empty, protocol(repeatability_empty="zero"), seed=0)
    dropped = evaluate_pair(prepared, empty, empty, protocol(repeatability_empty="drop"), seed=0)
    assert kept["repeatability"] == 0.0
    assert math.isnan(dropped["repeatability"])  # type: ignore[arg-type]


def test_ground_truth_filter_comes_before_the_budget() -> None:
    prepared, ref, target = translated_pair(dx=100.0)
    kept_ref, kept_target = keep_shared(prepared, ref, target, 5)
    visible = np.flatnonzero(ref.keypoints[:, 0] + 100 <= 299)
    assert np.array_equal(kept_ref.keypoints, ref.keypoints[visible[:5]])
    assert np.array_equal(kept_ref.descriptors, ref.descriptors[visible[:5]])
    assert (kept_target.keypoints[:, 0] >= 100).all()
    keypoints = KeypointsConfig(max=5, gt_filter=True)
    row = evaluate_pair(prepared, ref, target, protocol(keypoints=keypoints, gt_leak=True), seed=0)
    assert row["n_keypoints_ref"] == row["n_keypoints_target"] == 5
    everything = protocol(keypoints=KeypointsConfig(max=0, gt_filter=True), gt_leak=True)
    assert evaluate_pair(prepared, ref, target, everything, seed=0)["n_keypoints_ref"] == len(visible)


def test_the_leak_must_be_declared() -> None:
    with pytest.raises(ConfigError, match="gt_leak"):
        protocol(keypoints=KeypointsConfig(gt_filter=True))


def test_source_frame_needs_and_uses_the_transform() -> None:
    prepared, ref, target = translated_pair()
    wrong = replace(prepared, H_ref_to_target=np.array([[1, 0, 8.0], [0, 1, 0], [0, 0, 1]]))
    settings_ = HomographyMetricConfig(frame="source")
    with pytest.raises(ConfigError, match="T_target"):
        evaluate_pair(wrong, ref, target, protocol(homography=settings_), seed=0)
    halved = replace(wrong, T_target=np.diag([0.5, 0.5, 1.0]))
    assert evaluate_pair(wrong, ref, target, protocol(), 0)["corner_error_px"] == pytest.approx(3, abs=1e-3)
    row = evaluate_pair(halved, ref, target, protocol(homography=settings_), 0)
    assert row["corner_error_px"] == pytest.approx(6, abs=1e-3)


def test_only_the_metrics_of_the_protocol_are_computed() -> None:
    row = evaluate_pair(*translated_pair(), protocol(metrics=["mma"]), seed=0)
    assert "repeatability" not in row
    assert "corner_error_px" not in row
    assert row["mma"] == [1.0] * 15


@settings(max_examples=150, deadline=None)
@given(scene=naive.scenes(), kind=st.sampled_from(["mutual_nn", "nn"]), t=st.sampled_from([1.0, 3.0]))
def test_matching_columns_against_naive(scene: tuple[PreparedPair, Features, Features], kind: str, t: float) -> None:
    prepared, ref, target = scene
    config = protocol(matcher=MatcherConfig(kind=kind), repeatability_px=t, metrics=["descriptors", "matches", "mma"])
    row = evaluate_pair(prepared, ref, target, config, seed=0)
    H, a, b = prepared.H_ref_to_target, ref.keypoints, target.keypoints
    inverse = np.linalg.inv(H)
    both = len(ref) and len(target)
    forward = naive.nearest_neighbours(ref.descriptors, target.descriptors) if both else []
    backward = naive.nearest_neighbours(target.descriptors, ref.descriptors) if both else []
    right = [e <= t for e in naive.errors_of([(i, j) for i, (j, _) in enumerate(forward)], a, b, H)]
    left = [e <= t for e in naive.errors_of([(j, i) for j, (i, _) in enumerate(backward)], b, a, inverse)]
    expected_map = naive.average_precision([d for _, d in forward], right) / 2
    expected_map += naive.average_precision([d for _, d in backward], left) / 2
    assert row["nn_map"] == pytest.approx(expected_map, abs=1e-9)
    pairs = [(i, j) for i, (j, _) in enumerate(forward) if kind == "nn" or backward[j][0] == i]
    assert row["n_matches"] == len(pairs)
    returned = [(j, i) for j, (i, _) in enumerate(backward)] if kind == "nn" else [(j, i) for i, j in pairs]
    mask_ref, mask_target = naive.shared(a, b, H, prepared.size_ref, prepared.size_target)

    def direction(found: list[tuple[int, int]], errors: list[float], mask: list[bool]) -> float:
        good = sum(1 for (i, _), e in zip(found, errors, strict=True) if e <= t and mask[i])
        return good / sum(mask) if any(mask) else 0.0

    score = direction(pairs, naive.errors_of(pairs, a, b, H), mask_ref)
    score += direction(returned, naive.errors_of(returned, b, a, inverse), mask_target)
    assert row["matching_score"] == pytest.approx(score / 2, abs=1e-9)
    errors = naive.errors_of(pairs, a, b, H)
    assert row["match_precision_3px"] == pytest.approx(sum(e <= 3 for e in errors) / len(errors) if errors else 0.0)
    assert row["mma"][4] == pytest.approx(sum(e <= 5 for e in errors) / len(errors) if errors else 0.0)  # type: ignore[index]


def test_the_cells_of_a_row_are_the_columns_of_the_table_in_their_order() -> None:
    solved = solve(*translated_pair(), protocol(metrics=["mma"]))
    row, _ = measure_pair(solved, seed=0)
    fixed = ["pair", "sequence", "split", "outcome", "n_keypoints_ref", "n_keypoints_target", "n_matches", "match_ms"]
    assert list(row.cells()) == [*fixed, *row.measured]
    named = replace(row, method="mine", outcome=Outcome.EXTRACTION_FAILED)
    assert list(named.cells()) == ["method", *row.cells()]
    assert type(named.cells()["outcome"]) is str and named.cells()["outcome"] == "extraction_failed"
    with pytest.raises(FrozenInstanceError):
        row.outcome = Outcome.OK  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(named)) == named  # as it comes from a process of its own
