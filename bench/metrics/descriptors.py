"""Descriptor metrics of the SuperPoint paper: nearest-neighbour mAP and matching score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.types import Features, FloatArray, Matches
from bench.geometry.ground_truth import reprojection_error_px
from bench.geometry.nearest import nearest_both
from bench.geometry.solve import Estimates, Solved
from bench.metrics.record import Column, Margin, Metric


def average_precision(distances: ArrayLike, is_correct: ArrayLike) -> float:
    """Area under the precision-recall curve of matches accepted up to a growing distance. Higher is better.

    ``AP = sum_k P_k (R_k - R_{k-1})`` over the distinct distances d_k, with P_k the share of correct ones among matches
    of distance at most d_k and R_k the share of all correct matches among them. Equal distances, the rule for binary
    descriptors, enter together, so the value does not depend on their order.

    The recall is relative to the correct nearest-neighbour matches, not to all possible correspondences: the paper does
    not say, but its ORB (matching score .266, repeatability .641, NN mAP .735) excludes the other reading, in which no
    more than .266/.641 = .41 of the correspondences could be recalled.

    Parameters
    ----------
    distances : (N,) float
    is_correct : (N,) bool

    Returns
    -------
    float
        0 without a correct match.

    Examples
    --------
    >>> average_precision([0.1, 0.2, 0.3], [True, False, True])
    0.8333333333333333
    """
    d, ok = np.asarray(distances, dtype=np.float64), np.asarray(is_correct, dtype=bool)
    if not ok.any():
        return 0.0
    order = np.argsort(d, kind="stable")
    d, hits = d[order], np.cumsum(ok[order])
    ends = np.append(np.flatnonzero(np.diff(d) > 0), len(d) - 1)
    hits = hits[ends]
    return float((hits / (ends + 1) * np.diff(hits, prepend=0)).sum() / hits[-1])


def matching_score(
    correct_ref: NDArray[np.bool_],
    shared_ref: NDArray[np.bool_],
    correct_target: NDArray[np.bool_],
    shared_target: NDArray[np.bool_],
) -> float:
    """Correct matches divided by keypoints of the shared region, mean of both directions. Higher is better.

    SuperPoint paper, appendix A: ground-truth correspondences recovered by the whole pipeline over the features
    proposed in the region both images show.

    Parameters
    ----------
    correct_ref : (N,) bool
        Reference keypoints whose match is correct: error at most the protocol's distance, in the target image.
    shared_ref : (N,) bool
        Reference keypoints in the shared region.
    correct_target, shared_target : (M,) bool
        The same from the target, whose errors are measured in the reference image.

    Returns
    -------
    float
        A direction without keypoints in the shared region counts as 0.
    """

    def direction(correct: NDArray[np.bool_], shared: NDArray[np.bool_]) -> float:
        return float((correct & shared).sum() / shared.sum()) if shared.any() else 0.0

    return (direction(correct_ref, shared_ref) + direction(correct_target, shared_target)) / 2


def measure(solved: Solved, _: Estimates | None) -> dict[str, object]:
    """NN mAP and matching score of one pair."""
    f_ref, f_target, found, matches = solved.f_ref, solved.f_target, solved.neighbours, solved.matches
    if found is None or matches is None or f_ref is None or f_target is None:
        return {"nn_map": 0.0, "matching_score": 0.0}
    H, t = solved.prepared.H_ref_to_target, solved.protocol.repeatability_px
    directions = ((f_ref, f_target, H, matches), (f_target, f_ref, np.linalg.inv(H), solved.returned))
    precisions, corrects = [], []
    for nearest, (a, b, transform, matched) in zip(nearest_both(found), directions, strict=True):
        is_correct = _correct(a, b, nearest, transform, t)
        precisions.append(average_precision(nearest.distances, is_correct))
        mask = np.zeros(len(a), np.bool_)
        i, j = matched.indices.T
        if (nearest.indices[i, 1] == j).all():
            mask[i] = is_correct[i]
        else:
            mask[i] = _correct(a, b, matched, transform, t)
        corrects.append(mask)
    return {
        "nn_map": float(np.mean(precisions)),
        "matching_score": matching_score(corrects[0], solved.shared[0], corrects[1], solved.shared[1]),
    }


def _correct(a: Features, b: Features, found: Matches, transform: FloatArray, threshold_px: float) -> NDArray[np.bool_]:
    xy, xy_other = a.keypoints[found.indices[:, 0]], b.keypoints[found.indices[:, 1]]
    return reprojection_error_px(xy, xy_other, transform) <= threshold_px


METRIC = Metric(
    "descriptors",
    (
        Column(
            "nn_map",
            "NN mAP",
            "share",
            "higher",
            "Average precision of nearest-neighbour matches ranked by descriptor distance; recall is "
            "relative to the correct nearest-neighbour matches; mean of both directions.",
            table="descriptors",
        ),
        Column(
            "matching_score",
            "M. score",
            "share",
            "higher",
            "Correct matches of the protocol's matcher divided by the keypoints in the shared region; "
            "mean of both directions.",
            table="descriptors",
            margins=(Margin(0.02),),
        ),
    ),
    measure,
    needs=("keypoints", "matches"),
)
