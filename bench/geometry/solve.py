"""One pair, one method, once: the features that count, their matches, and homographies from them.

Rows, estimator sweep, drawings, the drift report and INT8 calibration all take what :func:`solve` returns.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ConfigError
from bench.core.types import Correspondences, Features, Matches, Outcome, PreparedPair, Transform
from bench.geometry.estimation import estimates
from bench.geometry.ground_truth import corner_errors, reprojection_error_px, shared_region
from bench.geometry.nearest import Neighbours, match, neighbours
from bench.schema import MATCHERS, EstimatorConfig, MatcherConfig, ProtocolConfig
from bench.schema.options import Frame

Floats = NDArray[np.float64]
Points = NDArray[np.float32]
Mask = NDArray[np.bool_]
_NO_POINTS = np.zeros((0, 2), np.float32)


class Matcher(Protocol):
    """A matcher from outside; its module has ``create(config: MatcherConfig) -> Matcher``."""

    def match(self, f_ref: Features, f_target: Features) -> Matches:
        """Match the features of two images, both with at least one keypoint; sorted by reference index."""


_created: dict[str, Matcher] = {}


def _outside(config: MatcherConfig) -> Matcher | None:
    """The matcher from outside that `config` names; None for the built-in ones."""
    if config.kind in MATCHERS.builtin:
        return None
    key = repr(config)
    if key not in _created:
        _created[key] = MATCHERS.load("protocol.matcher.kind", config.kind)(config)
    return _created[key]


@dataclass(frozen=True)
class Solved:
    """A pair with what one method found in it, matched by one protocol.

    Attributes
    ----------
    prepared : PreparedPair
    protocol : ProtocolConfig
    f_ref, f_target : Features or None
        Those that count: after the ground-truth filter where the protocol asks for one. None for pairwise methods,
        which have no keypoints of one image.
    correspondences : Correspondences or None
        None: nothing is matched (detectors, ``kind: none``).
    matches : Matches or None
        The same as rows of the features; None for pairwise methods.
    match_ms : float or None
        Wall time of the matching; None where an image has no keypoint or nothing is matched.
    """

    prepared: PreparedPair
    protocol: ProtocolConfig
    f_ref: Features | None
    f_target: Features | None
    correspondences: Correspondences | None
    matches: Matches | None = None
    match_ms: float | None = None
    _matcher: MatcherConfig | None = None
    _found: Neighbours | None = None

    @property
    def xy_ref(self) -> Points:
        """(M, 2) float32 matched points of the reference image; none where nothing is matched."""
        return _NO_POINTS if self.correspondences is None else self.correspondences.xy_ref

    @property
    def xy_target(self) -> Points:
        """(M, 2) float32 their partners in the target image."""
        return _NO_POINTS if self.correspondences is None else self.correspondences.xy_target

    @cached_property
    def errors_px(self) -> Floats:
        """(M,) float64 distance of each match from the truth in the target image; see :func:`reprojection_error_px`."""
        return reprojection_error_px(self.xy_ref, self.xy_target, self.prepared.H_ref_to_target)

    @cached_property
    def symmetric_errors_px(self) -> Floats:
        """(M,) float64 mean of the distances in both images."""
        return reprojection_error_px(self.xy_ref, self.xy_target, self.prepared.H_ref_to_target, "symmetric")

    @cached_property
    def shared(self) -> tuple[Mask, Mask]:
        """(N,), (M,) bool: keypoints of either image whose true place lies in the other."""
        assert self.f_ref is not None and self.f_target is not None
        return _shared(self.prepared, self.f_ref, self.f_target, self.protocol.shared_region)

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """Nearest neighbours of all keypoints in both directions; None where an image has no keypoint or descriptor."""
        if not self.f_ref or not self.f_target or self.f_ref.descriptors is None:
            return None
        config = self.protocol.matcher
        found = self._found or neighbours(self.f_ref, self.f_target, config.metric, order=config.order)
        return found and found.completed()

    @cached_property
    def returned(self) -> Matches:
        """Matches from the target's side: rows (target keypoint, reference keypoint).

        A one-way matcher is run again from the other side; others give the same pairs.
        """
        assert self.matches is not None and self.f_ref is not None and self.f_target is not None
        if self._matcher is not None and self._matcher.kind == "nn" and self.neighbours is not None:
            back = match(self.f_target, self.f_ref, self._matcher, self.neighbours.swapped())
            kept = nearest_matches(-back.distances, self._matcher.max_matches)
            return Matches(back.indices[kept], back.distances[kept])
        return Matches(self.matches.indices[:, ::-1], self.matches.distances)

    def corner_errors_px(self, estimates: Sequence[Transform | None]) -> list[float]:
        """Mean corner error of each estimate by the protocol's convention; +inf without one.

        Raises
        ------
        ConfigError
            If it is asked for in source pixels and the pair carries no transform of its target image.
        """
        config, transform = self.protocol.homography, None
        H_true, size = self.prepared.H_ref_to_target, self.prepared.size_ref
        if config.frame == Frame.source:
            transform = self.prepared.T_target
            if transform is None:
                raise ConfigError(
                    "protocol.homography.frame=source needs PreparedPair.T_target, the transform of the target image"
                )
        errors = corner_errors(estimates, H_true, size, config.corners, transform)
        scale = short_side_scale(self.prepared, config.per_short_side_px)
        return errors if scale == 1 else [error / scale for error in errors]


def solve(
    prepared: PreparedPair,
    f_ref: Features,
    f_target: Features,
    protocol: ProtocolConfig,
    matcher: MatcherConfig | None = None,
) -> Solved:
    """Choose the features that count and match them.

    Parameters
    ----------
    prepared : PreparedPair
    f_ref, f_target : Features
        Of the evaluated images, best first. Extracted without a budget where ``protocol.keypoints.gt_filter`` is set:
        filter and budget are applied here, per pair.
    protocol : ProtocolConfig
    matcher : MatcherConfig, optional
        Of the method, instead of the protocol's.

    Raises
    ------
    ConfigError
        If the matcher is neither built in, nor installed, nor an importable module.
    FeatureError
        If descriptors of the two images differ in type or length.
    """
    if protocol.keypoints.gt_filter:
        f_ref, f_target = keep_shared(prepared, f_ref, f_target, protocol.keypoints.max, protocol.shared_region)
    config = matcher_for(matcher or protocol.matcher, f_ref, f_target)
    if config.kind == "none" or f_ref.descriptors is None or f_target.descriptors is None:
        return Solved(prepared, protocol, f_ref, f_target, None)
    found = match_ms = None
    matches = Matches(np.zeros((0, 2), np.int32), np.zeros(0, np.float32))
    if len(f_ref) and len(f_target):
        outside = _outside(config)
        start = time.perf_counter_ns()
        if outside is not None:
            matches = outside.match(f_ref, f_target)
        else:
            found = neighbours(f_ref, f_target, config.metric, config.kind == "mutual_nn", config.order)
            matches = match(f_ref, f_target, config, found)
        kept = nearest_matches(-matches.distances, config.max_matches)
        matches = Matches(matches.indices[kept], matches.distances[kept])
        match_ms = (time.perf_counter_ns() - start) / 1e6
    xy = f_ref.keypoints[matches.indices[:, 0]], f_target.keypoints[matches.indices[:, 1]]
    correspondences = Correspondences(*xy, -matches.distances)
    return Solved(prepared, protocol, f_ref, f_target, correspondences, matches, match_ms, config, found)


def solve_correspondences(prepared: PreparedPair, correspondences: Correspondences, protocol: ProtocolConfig) -> Solved:
    """Enter with the correspondences of a pairwise method; there are no keypoints of one image and nothing to match."""
    kept = nearest_matches(correspondences.scores, protocol.matcher.max_matches)
    chosen = Correspondences(
        correspondences.xy_ref[kept], correspondences.xy_target[kept], correspondences.scores[kept]
    )
    return Solved(prepared, protocol, None, None, chosen)


def nearest_matches(scores: NDArray[np.float32], most: int | None) -> slice | NDArray[np.int64]:
    """Rows of the `most` matches with the best scores, in their own order; of equal ones the first. None: all.

    Parameters
    ----------
    scores : (M,) float32
        Higher is better.
    most : int or None
    """
    if most is None or len(scores) <= most:
        return slice(None)
    return np.sort(np.argsort(-scores, kind="stable")[:most])


def short_side_scale(prepared: PreparedPair, per_short_side_px: int | None) -> float:
    """Size of the target image in units of a short side of so many pixels; 1 for None."""
    size = prepared.size_target
    return 1.0 if per_short_side_px is None else min(size.height, size.width) / per_short_side_px


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
    kept = []
    for found, mask in zip((f_ref, f_target), _shared(prepared, f_ref, f_target, region), strict=True):
        index = np.flatnonzero(mask)[: budget or None]
        vectors = None if found.descriptors is None else found.descriptors[index]
        kept.append(Features(found.keypoints[index], found.scores[index], vectors, found.size))
    return kept[0], kept[1]


def _shared(prepared: PreparedPair, f_ref: Features, f_target: Features, region: str) -> tuple[Mask, Mask]:
    return shared_region(
        f_ref.keypoints, f_target.keypoints, prepared.H_ref_to_target, prepared.size_ref, prepared.size_target, region
    )


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


@lru_cache(maxsize=4096)
def order_seed(seed: int, pair_name: str, repeat: int) -> int | None:
    """Seed of the permutation of the matches in one repeat; None (the matcher's order) for repeat 0.

    It depends on the run's seed, the pair and the repeat only: neither on the order in which pairs are processed nor on
    which methods take part.
    """
    if repeat == 0:
        return None
    entropy = (seed, zlib.crc32(pair_name.encode()), repeat)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True, slots=True)
class Estimates:
    """Robust estimation of one pair in several orders of the same matches.

    Attributes
    ----------
    homographies : list of R (3, 3) float64 or None
        Of each order; None for a failure.
    errors_px : list of R float
        Corner error of each; +inf for a failure.
    outcome, n_inliers, first_ms
        Of the first order, the matcher's. An estimate with an infinite corner error is degenerate.
    """

    homographies: list[Transform | None]
    errors_px: list[float]
    outcome: Outcome
    n_inliers: int
    first_ms: float


def estimate_repeatedly(solved: Solved, estimator: EstimatorConfig, seed: int) -> Estimates | None:
    """Estimate a pair's homography ``estimator.repeats`` times, each with another order of the matches.

    Parameters
    ----------
    solved : Solved
        Corner convention and error frame are those of its protocol.
    estimator : EstimatorConfig
        The protocol's, or another one to compare with it.
    seed : int
        Of the run; see :func:`order_seed`.

    Returns
    -------
    Estimates or None
        None where nothing is matched or nothing is to be estimated (``name: none``).
    """
    given = solved.correspondences
    if given is None or estimator.name == "none":
        return None
    scale = short_side_scale(solved.prepared, estimator.per_short_side_px)
    if scale != 1:
        estimator = replace(estimator, threshold_px=estimator.threshold_px * scale)
    orders = [order_seed(seed, solved.prepared.pair.name, repeat) for repeat in range(estimator.repeats)]
    start = time.perf_counter_ns()
    rest = estimates(given.xy_ref, given.xy_target, estimator, orders, scores=given.scores)
    found = [next(rest)]
    first_ms = (time.perf_counter_ns() - start) / 1e6
    found += rest
    homographies = [one.H if one.outcome is Outcome.OK else None for one in found]
    errors = solved.corner_errors_px(homographies)
    outcome, n_inliers = found[0].outcome, 0
    if outcome is Outcome.OK:
        n_inliers = int(found[0].inliers.sum())
        if math.isinf(errors[0]):
            outcome = Outcome.DEGENERATE
    return Estimates(homographies, errors, outcome, n_inliers, first_ms)
