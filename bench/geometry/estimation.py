"""Homographies from putative matches, by name, with every parameter pinned.

========================  ==============================================================================================
``opencv_ransac``         cv2.findHomography(RANSAC): threshold, iterations, confidence
``opencv_lmeds``          cv2.findHomography(LMEDS): iterations, confidence; has no threshold
``opencv_rho``            cv2.findHomography(RHO), PROSAC-based: threshold, iterations, confidence; uses scores
``usac_default``          uniform sampling, MSAC, inner and iterative local optimisation
``usac_fast``             the same with 5 instead of 10 iterations of local optimisation
``usac_accurate``         uniform sampling, MSAC, graph-cut local optimisation
``usac_prosac``           PROSAC sampling, MSAC, inner local optimisation; uses scores
``usac_magsac``           uniform sampling, MAGSAC++ score and local optimisation
``poselib``               PoseLib's LO-RANSAC (optional extra ``poselib``)
``dlt``                   normalised DLT on all matches, all of them inliers
``none``                  nothing is estimated: outcome OK without H, no inliers
========================  ==============================================================================================

Random states are fixed and nothing runs in parallel, so the same matches in the same order give the same bits. The
order of the matches is the only source of variation: ``order_seed`` permutes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.errors import ModelError
from bench.core.opencv import import_cv2
from bench.core.types import Estimate, Outcome, Transform
from bench.geometry.dlt import dlt_homography, orient
from bench.geometry.transforms import is_valid_homography, third_coordinates
from bench.schema import ESTIMATORS, EstimatorConfig

Points = NDArray[np.float64]
Inliers = NDArray[np.bool_]
Found = tuple[Transform, Inliers] | None

COLLINEAR_PX = 1e-3
"""Points no farther than this from one line count as collinear: they leave a homography undetermined."""

USES_SCORES = ("opencv_rho", "usac_prosac")


def _opencv(a: Points, b: Points, config: EstimatorConfig, method: str) -> Found:
    cv2 = import_cv2()
    H, mask = cv2.findHomography(
        a, b, getattr(cv2, method), config.threshold_px, maxIters=config.max_iterations, confidence=config.confidence
    )
    return None if H is None else (H, mask.ravel() != 0)


# Set one by one, so that no release of OpenCV can change a default unnoticed. usac_magsac and usac_accurate equal
# cv2.USAC_MAGSAC and cv2.USAC_ACCURATE of OpenCV 5.0 bit by bit; the other flags also set values UsacParams lacks.
_USAC: dict[str, dict[str, object]] = {
    "usac_default": {
        "sampler": "SAMPLING_UNIFORM",
        "score": "SCORE_METHOD_MSAC",
        "loMethod": "LOCAL_OPTIM_INNER_AND_ITER_LO",
        "loSampleSize": 14,
        "loIterations": 10,
    },
    "usac_fast": {
        "sampler": "SAMPLING_UNIFORM",
        "score": "SCORE_METHOD_MSAC",
        "loMethod": "LOCAL_OPTIM_INNER_AND_ITER_LO",
        "loSampleSize": 14,
        "loIterations": 5,
    },
    "usac_accurate": {
        "sampler": "SAMPLING_UNIFORM",
        "score": "SCORE_METHOD_MSAC",
        "loMethod": "LOCAL_OPTIM_GC",
        "loSampleSize": 20,
        "loIterations": 25,
    },
    "usac_prosac": {
        "sampler": "SAMPLING_PROSAC",
        "score": "SCORE_METHOD_MSAC",
        "loMethod": "LOCAL_OPTIM_INNER_LO",
        "loSampleSize": 14,
        "loIterations": 10,
    },
    "usac_magsac": {
        "sampler": "SAMPLING_UNIFORM",
        "score": "SCORE_METHOD_MAGSAC",
        "loMethod": "LOCAL_OPTIM_SIGMA",
        "loSampleSize": 75,
        "loIterations": 15,
    },
}


def _usac(a: Points, b: Points, config: EstimatorConfig) -> Found:
    cv2 = import_cv2()
    params = cv2.UsacParams()
    params.threshold = config.threshold_px
    params.maxIterations = config.max_iterations
    params.confidence = config.confidence
    params.isParallel = False
    params.randomGeneratorState = 0
    params.neighborsSearch = cv2.NEIGH_GRID
    params.final_polisher = cv2.COV_POLISHER
    params.final_polisher_iterations = 3
    for key, value in _USAC[config.name].items():
        setattr(params, key, getattr(cv2, value) if isinstance(value, str) else value)
    H, mask = cv2.findHomography(a, b, params)
    return None if H is None else (H, mask.ravel() != 0)


def _poselib(a: Points, b: Points, config: EstimatorConfig) -> Found:
    try:
        import poselib
    except ImportError as error:
        raise ModelError(
            f"protocol.estimator.name=poselib needs PoseLib ({error}); install it with: "
            "pip install 'superpoint-bench[poselib]'"
        ) from error
    ransac: dict[str, Any] = {
        "max_iterations": config.max_iterations,
        "min_iterations": min(1000, config.max_iterations),
        "dyn_num_trials_mult": 3.0,
        "success_prob": config.confidence,
        "max_reproj_error": config.threshold_px,
        "seed": 0,
        "progressive_sampling": False,
    }
    bundle: dict[str, Any] = {
        "max_iterations": 100,
        "loss_type": "CAUCHY",
        "loss_scale": 1.0,
        "gradient_tol": 1e-10,
        "step_tol": 1e-8,
        "initial_lambda": 1e-3,
        "min_lambda": 1e-10,
        "max_lambda": 1e10,
        "verbose": False,
    }
    H, info = poselib.estimate_homography(a, b, ransac, bundle)
    inliers = np.asarray(info["inliers"], dtype=np.bool_)
    return (np.asarray(H, dtype=np.float64), inliers) if inliers.any() else None


def _dlt(a: Points, b: Points, config: EstimatorConfig) -> Found:
    return dlt_homography(a, b), np.ones(len(a), np.bool_)


class Estimator(Protocol):
    """An estimator from outside; its module has ``create(config: EstimatorConfig) -> Estimator``."""

    def estimate(self, xy_ref: Points, xy_target: Points, seed: int) -> Estimate:
        """Estimate the homography from reference to target.

        Parameters
        ----------
        xy_ref, xy_target : (M, 2) float64
            At least four matches, neither image's points on one line.
        seed : int
            Of random choices: the same matches in the same order with the same seed must give the same result.
        """


_created: dict[str, Estimator] = {}


def _outside(a: Points, b: Points, config: EstimatorConfig, seed: int) -> Found:
    key = repr(config)
    if key not in _created:
        _created[key] = ESTIMATORS.load("protocol.estimator.name", config.name)(config)
    found = _created[key].estimate(a, b, seed)
    if found.outcome is not Outcome.OK or found.H is None:
        return None
    return np.asarray(found.H, dtype=np.float64), np.asarray(found.inliers, dtype=np.bool_)


_ESTIMATORS: dict[str, Callable[[Points, Points, EstimatorConfig], Found]] = {
    "opencv_ransac": partial(_opencv, method="RANSAC"),
    "opencv_lmeds": partial(_opencv, method="LMEDS"),
    "opencv_rho": partial(_opencv, method="RHO"),
    **dict.fromkeys(_USAC, _usac),
    "poselib": _poselib,
    "dlt": _dlt,
}


def collinear(xy: ArrayLike) -> bool:
    """Whether all points lie within :data:`COLLINEAR_PX` of the line through the first and the one farthest from it."""
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    if len(points) < 3:
        return True
    x, y = np.ascontiguousarray((points - points[0]).T)
    far = int((x * x + y * y).argmax())
    length = float(np.hypot(x[far], y[far]))
    return bool(np.abs(x * y[far] - y * x[far]).max() <= COLLINEAR_PX * length)


def _usable(H: Transform, xy_ref: Points) -> bool:
    """A view of a plane: invertible, all inliers in front of the camera, not mirrored."""
    return is_valid_homography(H) and bool((third_coordinates(H, xy_ref) > 0).all()) and bool(np.linalg.det(H) > 0)


def estimate(
    xy_ref: ArrayLike,
    xy_target: ArrayLike,
    config: EstimatorConfig,
    order_seed: int | None,
    scores: ArrayLike | None = None,
) -> Estimate:
    """Estimate the homography from reference to target.

    Parameters
    ----------
    xy_ref, xy_target : (M, 2) float
        Matched keypoints in pixels.
    config : EstimatorConfig
        ``threshold_px`` is a distance in the target image.
    order_seed : int or None
        Seed of a permutation of the matches; None: the order given.
    scores : (M,) float, optional
        Quality of each match, higher is better, for the estimators in :data:`USES_SCORES`; they try good matches first,
        and the permutation decides only between equal ones. Without scores the (permuted) order is the ranking.

    Returns
    -------
    Estimate
        ``inliers`` in the order given. Outcomes other than OK:

        - ``too_few_matches``: fewer than four.
        - ``estimation_failed``: the estimator returned nothing or raised.
        - ``degenerate``: all matches or all inliers lie on one line in either image, or the estimate is not finite or
          singular, mirrors the image, or puts an inlier on or behind its horizon. No homography near the true one does
          any of this, so no usable estimate is lost.

        A matrix that sends a corner of the image, but no inlier, behind the horizon is OK here and has an infinite
        corner error.

    Raises
    ------
    ConfigError
        If the estimator is neither built in, nor installed, nor an importable module.
    ModelError
        If it is not installed.
    ValueError
        If the numbers of points differ.
    """
    return next(estimates(xy_ref, xy_target, config, [order_seed], scores))


def estimates(
    xy_ref: ArrayLike,
    xy_target: ArrayLike,
    config: EstimatorConfig,
    order_seeds: Iterable[int | None],
    scores: ArrayLike | None = None,
) -> Iterator[Estimate]:
    """:func:`estimate` in several orders of the same matches, one at a time.

    What does not depend on the order is found with the first.
    """
    a = np.asarray(xy_ref, dtype=np.float64).reshape(-1, 2)
    b = np.asarray(xy_target, dtype=np.float64).reshape(-1, 2)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} reference points and {len(b)} target points are not matches")
    outcome = None
    if config.name == "none":
        outcome = Outcome.OK
    elif len(a) < 4:
        outcome = Outcome.TOO_FEW_MATCHES
    elif collinear(a) or collinear(b):
        outcome = Outcome.DEGENERATE
    ranking = None
    if scores is not None and config.name in USES_SCORES:
        ranking = -np.asarray(scores, dtype=np.float64)
    for seed in order_seeds:
        if outcome is None:
            yield _estimate(a, b, config, seed, ranking)
        else:
            yield Estimate(outcome, None, np.zeros(len(a), np.bool_))


def _estimate(
    a: Points, b: Points, config: EstimatorConfig, order_seed: int | None, ranking: NDArray[np.float64] | None
) -> Estimate:
    """Estimate from at least four matches; `ranking`: lower is better."""
    find = _ESTIMATORS.get(config.name) or partial(_outside, seed=order_seed or 0)
    nothing = np.zeros(len(a), np.bool_)
    order = np.arange(len(a)) if order_seed is None else np.random.default_rng((order_seed,)).permutation(len(a))
    if ranking is not None:
        order = order[np.argsort(ranking[order], kind="stable")]
    try:
        found = find(a[order], b[order], config)
    except (import_cv2().error, np.linalg.LinAlgError):
        found = None
    if found is None:
        return Estimate(Outcome.ESTIMATION_FAILED, None, nothing)
    matrix, inliers_in_order = found
    inliers = nothing.copy()
    inliers[order] = inliers_in_order
    if not np.isfinite(matrix).all() or not inliers.any():
        return Estimate(Outcome.DEGENERATE, None, nothing)
    kept = a[inliers]
    H = orient(matrix, kept)
    if collinear(kept) or collinear(b[inliers]) or not _usable(H, kept):
        return Estimate(Outcome.DEGENERATE, None, nothing)
    return Estimate(Outcome.OK, H, inliers)
