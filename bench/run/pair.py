"""One pair, one method: features in, one row of ``pairs.parquet`` out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.core.types import Features, FloatArray, Matches, Outcome, PreparedPair
from bench.geometry.ground_truth import reprojection_error_px
from bench.matching.nearest import match, nearest_both
from bench.matching.solve import Solved, estimate_repeatedly, solve
from bench.metrics import descriptors, homography, matches, mma, repeatability
from bench.metrics.columns import threshold_name
from bench.schema import ProtocolConfig

Row = dict[str, object]


def evaluate_pair(
    prepared: PreparedPair, f_ref: Features, f_target: Features, protocol: ProtocolConfig, seed: int
) -> Row:
    """Match, estimate and measure one pair by one protocol: :func:`bench.matching.solve.solve`, then :func:`row_of`."""
    return row_of(solve(prepared, f_ref, f_target, protocol), seed)


def row_of(solved: Solved, seed: int) -> Row:
    """Estimate and measure a matched pair.

    Parameters
    ----------
    solved : Solved
    seed : int
        Of the run; see :func:`bench.matching.solve.order_seed`.

    Returns
    -------
    dict
        Pair, sequence, split, outcome, counts, and the columns of the protocol's metrics (docs/metrics.md). A failure
        is an outcome and an infinite error. None: the column does not apply (detectors have no matching columns).
        NaN: undefined for this pair.

    Raises
    ------
    ConfigError
        If errors are asked for in source pixels and the pair carries no transform of its target image.
    """
    protocol, pair = solved.protocol, solved.prepared.pair
    missing = not len(solved.f_ref) or not len(solved.f_target)
    row: Row = {
        "pair": pair.name,
        "sequence": pair.sequence,
        "split": pair.split,
        "outcome": str(Outcome.NO_KEYPOINTS if missing else Outcome.OK),
        "n_keypoints_ref": len(solved.f_ref),
        "n_keypoints_target": len(solved.f_target),
        "n_matches": None if solved.matches is None else len(solved.matches),
        "match_ms": solved.match_ms,
    }
    if "homography" in protocol.metrics:
        _homography(solved, seed, row)
    if "dlt" in protocol.metrics:
        row["dlt_corner_error_px"] = None
        if solved.matches is not None:
            H = homography.dlt_estimate(solved.xy_ref, solved.xy_target)
            row["dlt_corner_error_px"] = solved.corner_error_px(H)
    if "repeatability" in protocol.metrics:
        _repeatability(solved, row)
    if "descriptors" in protocol.metrics:
        _descriptors(solved, row)
    if "mma" in protocol.metrics:
        row["mma"] = None
        if solved.matches is not None:
            row["mma"] = mma.matching_accuracy(solved.errors_px, protocol.mma_px).tolist()
    if "matches" in protocol.metrics:
        _precision_recall(solved, row)
    return row


def _homography(solved: Solved, seed: int, row: Row) -> None:
    thresholds = solved.protocol.homography.thresholds_px
    names = [threshold_name("success", t) for t in thresholds]
    row |= dict.fromkeys(
        ["n_inliers", "inlier_ratio", "corner_error_px", "corner_errors_px", "n_failed_repeats", *names, "estimate_ms"]
    )
    found = estimate_repeatedly(solved, solved.protocol.estimator, seed)
    if found is None or solved.matches is None:
        return
    row["n_inliers"], row["estimate_ms"] = found.n_inliers, found.first_ms
    row["inlier_ratio"] = matches.inlier_ratio(found.n_inliers, len(solved.matches))
    if row["outcome"] == str(Outcome.OK):
        row["outcome"] = str(found.outcome)
    row["corner_error_px"], row["corner_errors_px"] = found.errors_px[0], found.errors_px
    row["n_failed_repeats"] = int(np.isinf(found.errors_px).sum())
    for name, threshold in zip(names, thresholds, strict=True):
        row[name] = homography.accuracy(found.errors_px, threshold)


def _repeatability(solved: Solved, row: Row) -> None:
    protocol = solved.protocol
    points = repeatability.repeated_points(
        solved.f_ref.keypoints, solved.f_target.keypoints, solved.prepared.H_ref_to_target, solved.shared,
        protocol.repeatability_max,
    )  # fmt: skip
    t = protocol.repeatability_px
    many, one = repeatability.repeatability(points, t), repeatability.repeatability_one_to_one(points, t)
    if math.isnan(many) and protocol.repeatability_empty == "zero":
        many = one = 0.0
    row["repeatability"], row["repeatability_one_to_one"] = many, one
    row["localisation_error_px"] = repeatability.localisation_error_px(points, t)


def _descriptors(solved: Solved, row: Row) -> None:
    row["nn_map"] = row["matching_score"] = None
    if solved.matches is None:
        return
    f_ref, f_target, found = solved.f_ref, solved.f_target, solved.neighbours
    if found is None:
        row["nn_map"] = row["matching_score"] = 0.0
        return
    H, t = solved.prepared.H_ref_to_target, solved.protocol.repeatability_px
    if solved.matcher.kind == "nn":
        # A one-way matcher has to be run again from the other side; a mutual one gives the same pairs.
        returned = match(f_target, f_ref, solved.matcher, found.swapped())
    else:
        returned = Matches(solved.matches.indices[:, ::-1], solved.matches.distances)
    directions = ((f_ref, f_target, H, solved.matches), (f_target, f_ref, np.linalg.inv(H), returned))
    precisions, corrects = [], []
    for nearest, (a, b, transform, matched) in zip(nearest_both(found), directions, strict=True):
        precisions.append(descriptors.average_precision(nearest.distances, _correct(a, b, nearest, transform, t)))
        mask = np.zeros(len(a), np.bool_)
        mask[matched.indices[:, 0]] = _correct(a, b, matched, transform, t)
        corrects.append(mask)
    row["nn_map"] = float(np.mean(precisions))
    row["matching_score"] = descriptors.matching_score(corrects[0], solved.shared[0], corrects[1], solved.shared[1])


def _correct(a: Features, b: Features, found: Matches, transform: FloatArray, threshold_px: float) -> NDArray[np.bool_]:
    xy, xy_other = a.keypoints[found.indices[:, 0]], b.keypoints[found.indices[:, 1]]
    return matches.correct(reprojection_error_px(xy, xy_other, transform), threshold_px)


def _precision_recall(solved: Solved, row: Row) -> None:
    protocol = solved.protocol
    thresholds, kind, strict = protocol.precision_px, protocol.precision_error, protocol.precision_strict
    precisions = [threshold_name("match_precision", t) for t in thresholds]
    recalls = [threshold_name("match_recall", t) for t in thresholds]
    row |= dict.fromkeys(name for both in zip(precisions, recalls, strict=True) for name in both)
    if solved.matches is None:
        return
    errors = solved.errors_px if kind == "one_way" else solved.symmetric_errors_px
    possible = matches.n_correspondences(
        solved.f_ref.keypoints, solved.f_target.keypoints, solved.prepared.H_ref_to_target, thresholds, kind, strict
    )
    for name, recall, t, n in zip(precisions, recalls, thresholds, possible, strict=True):
        row[name] = matches.precision(errors, t, strict)
        row[recall] = matches.recall(int(matches.correct(errors, t, strict).sum()), n)
