"""One pair, one method: features in, one row of ``pairs.parquet`` out."""

from __future__ import annotations

import math
import time
import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ConfigError
from bench.core.types import Estimate, Features, FloatArray, Matches, Outcome, PreparedPair
from bench.geometry.estimation import estimate
from bench.matching.nearest import Neighbours, match, nearest_both, neighbours
from bench.metrics import descriptors, homography, matches, mma, repeatability
from bench.metrics.columns import threshold_name
from bench.schema import EstimatorConfig, MatcherConfig, ProtocolConfig

Row = dict[str, object]


def order_seed(seed: int, pair_name: str, repeat: int) -> int | None:
    """Seed of the permutation of the matches in one repeat; None (the matcher's order) for repeat 0.

    It depends on the run's seed, the pair and the repeat only: neither on the order in which pairs are processed nor on
    which methods take part.
    """
    if repeat == 0:
        return None
    entropy = (seed, zlib.crc32(pair_name.encode()), repeat)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def keep_shared(
    prepared: PreparedPair, f_ref: Features, f_target: Features, budget: int, region: str = "pixel_centres"
) -> tuple[Features, Features]:
    """Drop keypoints whose ground-truth warp leaves the other image, then keep the best `budget` (0: all).

    rpautrat/SuperPoint, descriptor_evaluation.py L16-51. It uses the ground truth to choose keypoints, which flatters
    every method; protocols that ask for it carry ``gt_leak: true``.

    Parameters
    ----------
    prepared : PreparedPair
    f_ref, f_target : Features
        All keypoints, extracted without a budget.
    budget : int
    region : {"pixel_centres", "size"}
    """
    masks = repeatability.shared_region(
        f_ref.keypoints, f_target.keypoints, prepared.H_ref_to_target, prepared.size_ref, prepared.size_target, region
    )
    kept = []
    for found, mask in zip((f_ref, f_target), masks, strict=True):
        index = np.flatnonzero(mask)[: budget or None]
        vectors = None if found.descriptors is None else found.descriptors[index]
        kept.append(Features(found.keypoints[index], found.scores[index], vectors, found.size))
    return kept[0], kept[1]


def evaluate_pair(
    prepared: PreparedPair, f_ref: Features, f_target: Features, protocol: ProtocolConfig, seed: int
) -> Row:
    """Match, estimate and measure one pair by one protocol.

    Parameters
    ----------
    prepared : PreparedPair
    f_ref, f_target : Features
        Of the evaluated images, best first. Extracted without a budget where ``protocol.keypoints.gt_filter`` is set:
        filter and budget are applied here, per pair.
    protocol : ProtocolConfig
    seed : int
        Of the run; see :func:`order_seed`.

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
    if protocol.keypoints.gt_filter:
        f_ref, f_target = keep_shared(prepared, f_ref, f_target, protocol.keypoints.max, protocol.shared_region)
    missing = not len(f_ref) or not len(f_target)
    row: Row = {
        "pair": prepared.pair.name,
        "sequence": prepared.pair.sequence,
        "split": prepared.pair.split,
        "outcome": str(Outcome.NO_KEYPOINTS if missing else Outcome.OK),
        "n_keypoints_ref": len(f_ref),
        "n_keypoints_target": len(f_target),
    }
    matched, known = _match(f_ref, f_target, matcher_for(protocol.matcher, f_ref, f_target), row)
    xy_ref, xy_target = _matched_points(f_ref, f_target, matched)
    if "homography" in protocol.metrics:
        _homography(prepared, xy_ref, xy_target, matched, protocol, seed, row)
    if "dlt" in protocol.metrics:
        row["dlt_corner_error_px"] = None
        if matched is not None:
            row["dlt_corner_error_px"] = _error(prepared, homography.dlt_estimate(xy_ref, xy_target), protocol)
    if "repeatability" in protocol.metrics:
        _repeatability(prepared, f_ref, f_target, protocol, row)
    if "descriptors" in protocol.metrics:
        _descriptors(prepared, f_ref, f_target, matched, known, protocol, row)
    if "mma" in protocol.metrics:
        row["mma"] = None
        if matched is not None:
            errors = matches.reprojection_error_px(xy_ref, xy_target, prepared.H_ref_to_target)
            row["mma"] = mma.matching_accuracy(errors, protocol.mma_px).tolist()
    if "matches" in protocol.metrics:
        _precision_recall(prepared, f_ref, f_target, matched, protocol, row)
    return row


def matcher_for(config: MatcherConfig, f_ref: Features, f_target: Features) -> MatcherConfig:
    """The protocol's matcher for these descriptors: a largest distance is meant for descriptors of unit length (0.7 in
    pytorch-superpoint) and left out for others, SIFT's of length 512 or binary ones."""
    if config.max_distance is None:
        return config
    for found in (f_ref.descriptors, f_target.descriptors):
        if found is not None and len(found):
            unit = found.dtype == np.float32 and bool((np.abs(np.linalg.norm(found, axis=1) - 1) < 1e-2).all())
            if not unit:
                return replace(config, max_distance=None)
    return config


def _match(
    f_ref: Features, f_target: Features, config: MatcherConfig, row: Row
) -> tuple[Matches | None, Neighbours | None]:
    """Match and time it; None for detectors. A mutual matcher's search serves the descriptor metrics, too."""
    row["n_matches"] = row["match_ms"] = None
    if config.kind == "none" or f_ref.descriptors is None or f_target.descriptors is None:
        return None, None
    if not len(f_ref) or not len(f_target):
        row["n_matches"] = 0
        return Matches(np.zeros((0, 2), np.int32), np.zeros(0, np.float32)), None
    start = time.perf_counter_ns()
    known = neighbours(f_ref, f_target, config.metric) if config.kind == "mutual_nn" else None
    found = match(f_ref, f_target, config, known)
    row["match_ms"] = (time.perf_counter_ns() - start) / 1e6
    row["n_matches"] = len(found)
    return found, known


def _matched_points(
    f_ref: Features, f_target: Features, matched: Matches | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if matched is None:
        empty = np.zeros((0, 2), np.float32)
        return empty, empty
    return f_ref.keypoints[matched.indices[:, 0]], f_target.keypoints[matched.indices[:, 1]]


def _error(prepared: PreparedPair, H: NDArray[np.float64] | None, protocol: ProtocolConfig) -> float:
    transform = None
    if protocol.homography.frame == "source":
        transform = prepared.T_target
        if transform is None:
            raise ConfigError(
                "protocol.homography.frame=source needs PreparedPair.T_target, the transform of the target image"
            )
    return homography.corner_error(
        H, prepared.H_ref_to_target, prepared.size_ref, protocol.homography.corners, transform
    )


def _homography(
    prepared: PreparedPair,
    xy_ref: NDArray[np.float32],
    xy_target: NDArray[np.float32],
    matched: Matches | None,
    protocol: ProtocolConfig,
    seed: int,
    row: Row,
) -> None:
    names = [threshold_name("success", t) for t in protocol.homography.thresholds_px]
    row |= dict.fromkeys(
        ["n_inliers", "inlier_ratio", "corner_error_px", "corner_errors_px", "n_failed_repeats", *names, "estimate_ms"]
    )
    if matched is None or protocol.estimator.name == "none":
        return
    found = estimate_repeatedly(prepared, xy_ref, xy_target, -matched.distances, protocol, protocol.estimator, seed)
    row["n_inliers"], row["estimate_ms"] = found.n_inliers, found.first_ms
    row["inlier_ratio"] = matches.inlier_ratio(found.n_inliers, len(matched))
    if row["outcome"] == str(Outcome.OK):
        row["outcome"] = str(found.outcome)
    row["corner_error_px"], row["corner_errors_px"] = found.errors_px[0], found.errors_px
    row["n_failed_repeats"] = int(np.isinf(found.errors_px).sum())
    for name, threshold in zip(names, protocol.homography.thresholds_px, strict=True):
        row[name] = homography.accuracy(found.errors_px, threshold)


@dataclass(frozen=True, slots=True)
class RepeatedEstimate:
    """Robust estimation of one pair in several orders of the same matches.

    Attributes
    ----------
    outcome, n_inliers, first_ms
        Of the first order, the matcher's. An estimate with an infinite corner error is degenerate.
    errors_px : list of float
        Corner error of each order; +inf for a failure.
    """

    outcome: Outcome
    n_inliers: int
    first_ms: float
    errors_px: list[float]


def estimate_repeatedly(
    prepared: PreparedPair,
    xy_ref: NDArray[np.float32],
    xy_target: NDArray[np.float32],
    scores: NDArray[np.float32],
    protocol: ProtocolConfig,
    estimator: EstimatorConfig,
    seed: int,
) -> RepeatedEstimate:
    """Estimate a pair's homography ``estimator.repeats`` times, each with another order of the matches.

    Parameters
    ----------
    prepared : PreparedPair
    xy_ref, xy_target : (M, 2) float32
        Matched keypoints.
    scores : (M,) float32
        Quality of each match, higher is better.
    protocol : ProtocolConfig
        Its corner convention and error frame are used.
    estimator : EstimatorConfig
    seed : int
        Of the run.
    """
    errors: list[float] = []
    first: Estimate | None = None
    first_ms = 0.0
    for repeat in range(estimator.repeats):
        order = order_seed(seed, prepared.pair.name, repeat)
        start = time.perf_counter_ns()
        found = estimate(xy_ref, xy_target, estimator, order, scores=scores)
        elapsed_ms = (time.perf_counter_ns() - start) / 1e6
        errors.append(_error(prepared, found.H if found.outcome is Outcome.OK else None, protocol))
        if first is None:
            first, first_ms = found, elapsed_ms
    assert first is not None  # repeats is at least 1
    if first.outcome is not Outcome.OK:
        return RepeatedEstimate(first.outcome, 0, first_ms, errors)
    outcome = Outcome.DEGENERATE if math.isinf(errors[0]) else Outcome.OK
    return RepeatedEstimate(outcome, int(first.inliers.sum()), first_ms, errors)


def _repeatability(
    prepared: PreparedPair, f_ref: Features, f_target: Features, protocol: ProtocolConfig, row: Row
) -> None:
    points = repeatability.repeated_points(
        f_ref.keypoints, f_target.keypoints, prepared.H_ref_to_target, prepared.size_ref, prepared.size_target,
        protocol.repeatability_max, protocol.shared_region,
    )  # fmt: skip
    t = protocol.repeatability_px
    many, one = repeatability.repeatability(points, t), repeatability.repeatability_one_to_one(points, t)
    if math.isnan(many) and protocol.repeatability_empty == "zero":
        many = one = 0.0
    row["repeatability"], row["repeatability_one_to_one"] = many, one
    row["localisation_error_px"] = repeatability.localisation_error_px(points, t)


def _descriptors(
    prepared: PreparedPair,
    f_ref: Features,
    f_target: Features,
    matched: Matches | None,
    known: Neighbours | None,
    protocol: ProtocolConfig,
    row: Row,
) -> None:
    row["nn_map"] = row["matching_score"] = None
    if matched is None:
        return
    if not len(f_ref) or not len(f_target):
        row["nn_map"] = row["matching_score"] = 0.0
        return
    H, t = prepared.H_ref_to_target, protocol.repeatability_px
    nearest = nearest_both(f_ref, f_target, protocol.matcher.metric, known)
    one_way = protocol.matcher.kind == "nn"
    shared = repeatability.shared_region(
        f_ref.keypoints, f_target.keypoints, H, prepared.size_ref, prepared.size_target, protocol.shared_region
    )
    precisions, corrects = [], []
    directions = ((f_ref, f_target, H, True), (f_target, f_ref, np.linalg.inv(H), False))
    for every, (a, b, transform, forward) in zip(nearest, directions, strict=True):
        precisions.append(descriptors.average_precision(every.distances, _correct(a, b, every, transform, t)))
        found = matched
        if not forward:
            # A one-way matcher has to be run again from the other side; a mutual one gives the same pairs.
            found = (
                match(a, b, matcher_for(protocol.matcher, a, b))
                if one_way
                else Matches(matched.indices[:, ::-1], matched.distances)
            )
        mask = np.zeros(len(a), np.bool_)
        mask[found.indices[:, 0]] = _correct(a, b, found, transform, t)
        corrects.append(mask)
    row["nn_map"] = float(np.mean(precisions))
    row["matching_score"] = descriptors.matching_score(corrects[0], shared[0], corrects[1], shared[1])


def _correct(a: Features, b: Features, found: Matches, transform: FloatArray, threshold_px: float) -> NDArray[np.bool_]:
    xy, xy_other = _matched_points(a, b, found)
    return matches.correct(matches.reprojection_error_px(xy, xy_other, transform), threshold_px)


def _precision_recall(
    prepared: PreparedPair,
    f_ref: Features,
    f_target: Features,
    matched: Matches | None,
    protocol: ProtocolConfig,
    row: Row,
) -> None:
    for t in protocol.precision_px:
        names = threshold_name("match_precision", t), threshold_name("match_recall", t)
        row |= dict.fromkeys(names)
        if matched is None:
            continue
        H, kind, strict = prepared.H_ref_to_target, protocol.precision_error, protocol.precision_strict
        errors = matches.reprojection_error_px(*_matched_points(f_ref, f_target, matched), H, kind)
        possible = matches.n_correspondences(f_ref.keypoints, f_target.keypoints, H, t, kind, strict)
        row[names[0]] = matches.precision(errors, t, strict)
        row[names[1]] = matches.recall(int(matches.correct(errors, t, strict).sum()), possible)
