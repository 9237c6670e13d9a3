"""Descriptor metrics of the SuperPoint paper: nearest-neighbour mAP and matching score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
    correct_ref: NDArray[np.bool_], shared_ref: NDArray[np.bool_], correct_target: NDArray[np.bool_],
    shared_target: NDArray[np.bool_],
) -> float:  # fmt: skip
    """Correct matches divided by keypoints of the shared region, mean of both directions. Higher is better.

    SuperPoint paper, appendix A: ground-truth correspondences recovered by the whole pipeline over the features
    proposed in the region both images show.

    Parameters
    ----------
    correct_ref : (N,) bool
        Reference keypoints whose match is correct (error at most the protocol's distance in the target image).
    shared_ref : (N,) bool
        Reference keypoints in the shared region.
    correct_target, shared_target : (M,) bool
        The same from the target.

    Returns
    -------
    float
        A direction without keypoints in the shared region counts as 0.
    """

    def direction(correct: NDArray[np.bool_], shared: NDArray[np.bool_]) -> float:
        return float((correct & shared).sum() / shared.sum()) if shared.any() else 0.0

    return (direction(correct_ref, shared_ref) + direction(correct_target, shared_target)) / 2
