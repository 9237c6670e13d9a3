"""Detectors without descriptors, as in the repeatability tables: Harris, Shi-Tomasi, FAST and random points.

Each is a response map with the protocol's suppression and budget, the same for all (SuperPoint paper, table 3).

===============  ====================================================================================================
``harris``       cv2.cornerHarris, ``block_size`` 4, ``aperture`` 3, ``k`` 0.04 (rpautrat/SuperPoint)
``shi_tomasi``   smaller eigenvalue of the gradient matrix (cv2.cornerMinEigenVal), ``block_size`` 3, ``aperture`` 3;
                 responses below ``quality`` 0.01 times the largest are dropped, as in cv2.goodFeaturesToTrack
``fast``         cv2.FastFeatureDetector, ``threshold`` 10, TYPE_9_16, with its 3x3 suppression
``random``       independent uniform responses, seeded by the run's seed, ``seed`` and the image's key
===============  ====================================================================================================

Only positive responses are keypoints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ConfigError
from bench.core.opencv import import_cv2
from bench.core.types import Context, EvaluatedImage, Features, MethodInfo, Size, StageTimes
from bench.features.base import Stopwatch
from bench.features.nms import suppress
from bench.features.select import to_uint8
from bench.schema import DetectorConfig, MethodConfig
from bench.schema.options import DetectorAlgorithm

PARAMS: Mapping[str, Mapping[str, float]] = {
    "harris": {"block_size": 4, "aperture": 3, "k": 0.04},
    "shi_tomasi": {"block_size": 3, "aperture": 3, "quality": 0.01},
    "fast": {"threshold": 10},
    "random": {"seed": 0},
}

Response = NDArray[np.float32]


def harris_response(grey: NDArray[np.uint8], block_size: int, aperture: int, k: float) -> Response:
    """Harris corner measure det M - k (trace M)^2 of each pixel (Harris and Stephens 1988)."""
    return np.asarray(import_cv2().cornerHarris(grey, block_size, aperture, k), np.float32)


def shi_tomasi_response(grey: NDArray[np.uint8], block_size: int, aperture: int, quality: float) -> Response:
    """Smaller eigenvalue of the gradient matrix, 0 where below `quality` times the largest (Shi and Tomasi 1994)."""
    response = np.asarray(import_cv2().cornerMinEigenVal(grey, block_size, ksize=aperture), np.float32)
    return np.where(response >= quality * response.max(), response, np.float32(0))


def fast_response(grey: NDArray[np.uint8], threshold: int) -> Response:
    """FAST-9 score (largest threshold at which the pixel is a corner) of 3x3 maxima, 0 elsewhere (Rosten 2006)."""
    cv2 = import_cv2()
    detector = cv2.FastFeatureDetector_create(
        threshold=threshold, nonmaxSuppression=True, type=cv2.FastFeatureDetector_TYPE_9_16
    )
    response = np.zeros(grey.shape, np.float32)
    for corner in detector.detect(grey, None):
        response[round(corner.pt[1]), round(corner.pt[0])] = corner.response
    return response


def random_response(size: Size, key: str, seeds: tuple[int, ...]) -> Response:
    """Independent responses, uniform in (0, 1], that depend on the image's key and the seeds only."""
    digest = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    rng = np.random.default_rng((*seeds, digest))
    return np.float32(1) - rng.random((size.height, size.width), dtype=np.float32)


_RESPONSES: Mapping[str, Callable[..., Response]] = {
    "harris": harris_response,
    "shi_tomasi": shi_tomasi_response,
    "fast": fast_response,
}


class DetectorExtractor:
    """One response map, suppressed and cut to the budget."""

    def __init__(self, name: str, config: DetectorConfig, context: Context) -> None:
        self._name, self._config, self._context = name, config, context
        allowed = PARAMS[config.algorithm]
        unknown = set(config.params) - set(allowed)
        if unknown:
            raise ConfigError(
                f"methods.{name}.params has unknown keys {', '.join(sorted(unknown))}; "
                f"{config.algorithm} takes: {', '.join(allowed)}"
            )
        self._params: dict[str, Any] = {**allowed, **config.params}
        for key, value in self._params.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigError(f"methods.{name}.params.{key}={value!r} is not possible; allowed: a number")
        for key in ("block_size", "aperture", "threshold", "seed"):
            if key in self._params and (self._params[key] != int(self._params[key]) or self._params[key] < 0):
                raise ConfigError(
                    f"methods.{name}.params.{key}={self._params[key]} is not possible; allowed: whole numbers from 0"
                )
        import_cv2().setNumThreads(context.threads)

    def warm_up(self, size: Size) -> None:
        """Run once on noise of this size."""
        noise = np.random.default_rng((0,)).integers(0, 256, (size.height, size.width), dtype=np.uint8)
        self.extract(EvaluatedImage("warm-up", noise, np.eye(3)))

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        """Best local maxima of the response."""
        watch = Stopwatch()
        with watch("preprocess_ms"):
            grey = to_uint8(image.grey)
        with watch("infer_ms"):
            response = self._response(grey, image.key)
        with watch("decode_ms"):
            smallest = float(np.finfo(np.float32).smallest_subnormal)
            xy, scores = suppress(response, self._config.nms, smallest, self._config.max_keypoints)
            features = Features(xy.astype(np.float32), scores, None, image.size)
        return features, watch.times()

    def _response(self, grey: NDArray[np.uint8], key: str) -> Response:
        if self._config.algorithm == DetectorAlgorithm.random:
            return random_response(Size(*grey.shape), key, (self._context.seed, self._params["seed"]))
        cv2 = import_cv2()
        try:
            return _RESPONSES[self._config.algorithm](grey, **self._params)
        except cv2.error as error:
            raise ConfigError(
                f"methods.{self._name}.params={self._params} are refused by OpenCV {cv2.__version__}: {error.err}"
            ) from error

    def info(self) -> MethodInfo:
        """What runs: the algorithm with its parameters, OpenCV's version and its threads."""
        cv2 = import_cv2()
        return MethodInfo(
            name=self._name,
            backend="detector",
            has_descriptors=False,
            precision={"label": "fp32"},
            fingerprint={"algorithm": self._config.algorithm, "params": self._params, "opencv": cv2.__version__},
            versions={"opencv": cv2.__version__},
            threads={"requested": self._context.threads, "opencv": cv2.getNumThreads()},
        )


def create(name: str, config: MethodConfig, context: Context) -> DetectorExtractor:
    """Load a detector.

    Raises
    ------
    ConfigError
        If ``params`` has unknown or impossible values.
    """
    if not isinstance(config, DetectorConfig):
        raise ConfigError(f"methods.{name}: backend detector needs a DetectorConfig, got {type(config).__name__}")
    return DetectorExtractor(name, config, context)
