"""SIFT, RootSIFT, ORB, AKAZE, BRISK and KAZE as OpenCV computes them, under the protocol's keypoint budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ConfigError, FeatureError, ModelError
from bench.core.opencv import import_cv2
from bench.core.types import Context, EvaluatedImage, Features, MethodInfo, Size, StageTimes
from bench.features.base import Stopwatch
from bench.features.nms import suppress
from bench.features.select import budget, order, to_uint8
from bench.schema import MethodConfig, NmsConfig, OpenCVConfig
from bench.schema.options import NmsKind, NmsTargets, OpenCVAlgorithm

_FACTORIES = {
    "sift": "SIFT_create",
    "rootsift": "SIFT_create",
    "orb": "ORB_create",
    "akaze": "AKAZE_create",
    "brisk": "BRISK_create",
    "kaze": "KAZE_create",
}
_BUDGETED = ("sift", "rootsift", "orb")
"""Algorithms whose create function takes ``nfeatures``."""
_SIFTS = ("sift", "rootsift")
_ALL_OF_ORB = 1_000_000
"""ORB has no number for "all"; no evaluated image has that many corners."""

Descriptors = NDArray[np.float32] | NDArray[np.uint8]


def find_factory(algorithm: str) -> Callable[..., Any]:
    """OpenCV's create function: in ``cv2`` up to 4.x, for AKAZE, BRISK and KAZE in ``cv2.xfeatures2d`` in 5.x.

    Raises
    ------
    ModelError
        If this build of OpenCV has none.
    """
    cv2 = import_cv2()
    name = _FACTORIES[algorithm]
    for module in (cv2, getattr(cv2, "xfeatures2d", None)):
        factory: Callable[..., Any] | None = getattr(module, name, None)
        if factory is not None:
            return factory
    raise ModelError(
        f"{algorithm} is not in this build of OpenCV ({cv2.__version__}): neither cv2.{name} nor "
        f"cv2.xfeatures2d.{name} exists; install opencv-contrib-python (or opencv-contrib-python-headless)"
    )


def root_sift(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Square root of the L1-normalised descriptor: L2 distances become Hellinger distances (Arandjelovic 2012).

    Parameters
    ----------
    descriptors : (N, 128) float32, not negative

    Returns
    -------
    (N, 128) float32
        Of unit L2 length; zero where the descriptor is zero.
    """
    sums = descriptors.sum(axis=1, keepdims=True)
    return np.asarray(np.sqrt(descriptors / np.maximum(sums, np.finfo(np.float32).tiny)))


def one_per_pixel(pixels: NDArray[np.int64], size: Size) -> NDArray[np.intp]:
    """Indices of the last keypoint of each pixel, ascending: a keypoint overwrites earlier ones.

    Parameters
    ----------
    pixels : (N, 2) int64
        xy inside the image.
    size : Size
    """
    holder = np.full(size.height * size.width, -1, np.intp)
    holder[pixels[:, 1] * size.width + pixels[:, 0]] = np.arange(len(pixels))
    return np.sort(holder[holder >= 0])


def suppress_keypoints(
    pixels: NDArray[np.int64], scores: NDArray[np.float32], nms: NmsConfig, size: Size
) -> NDArray[np.intp]:
    """Indices of the keypoints that survive suppression on a map of their responses.

    Parameters
    ----------
    pixels : (N, 2) int64
        xy inside the image, one keypoint per pixel.
    scores : (N,) float32
    nms : NmsConfig
    size : Size
    """
    if not len(pixels):
        return np.zeros(0, np.intp)
    lowest = scores.min()
    response = np.full((size.height, size.width), np.nextafter(lowest, np.float32(-np.inf)), np.float32)
    holder = np.zeros(response.shape, np.intp)
    response[pixels[:, 1], pixels[:, 0]] = scores
    holder[pixels[:, 1], pixels[:, 0]] = np.arange(len(pixels))
    kept, _ = suppress(response, nms, float(lowest))
    return holder[kept[:, 1], kept[:, 0]]


class OpenCVExtractor:
    """One detector and descriptor of OpenCV."""

    def __init__(self, name: str, config: OpenCVConfig, context: Context) -> None:
        self._cv2 = import_cv2()
        self._cv2.setNumThreads(context.threads)
        self._name, self._config, self._threads = name, config, context.threads
        self._params = self._parameters()
        factory = find_factory(config.algorithm)
        try:
            self._detector = factory(**self._params)
        except (TypeError, ValueError, OverflowError, self._cv2.error) as error:
            signature = (factory.__doc__ or "").splitlines()[:1]
            raise ConfigError(
                f"methods.{name}.params={dict(config.params)} is refused by OpenCV {self._cv2.__version__}; "
                f"it takes: {''.join(signature)}"
            ) from error

    def _parameters(self) -> dict[str, Any]:
        params = dict(self._config.params)
        if self._config.algorithm in _BUDGETED:
            asked = self._config.max_keypoints if self._config.classical_max is None else self._config.classical_max
            if asked == 0 and self._config.algorithm == OpenCVAlgorithm.orb:
                asked = _ALL_OF_ORB
            params.setdefault("nfeatures", asked)
        if self._config.algorithm in _SIFTS:
            sift = self._config.sift
            for name, value in (
                ("contrastThreshold", sift.contrast_threshold),
                ("edgeThreshold", sift.edge_threshold),
                ("nOctaveLayers", sift.octave_layers),
                ("enable_precise_upscale", sift.precise_upscale),
            ):
                params.setdefault(name, value)
        return params

    def _precision(self) -> str:
        """Precision of the descriptors, and of SIFT whether its keypoints carry OpenCV's shift."""
        if self._config.algorithm in _SIFTS:
            return f"fp32, {'precise' if self._params['enable_precise_upscale'] else 'default'} upscale"
        return "uint8" if self._config.algorithm in ("orb", "akaze", "brisk") else "fp32"

    def warm_up(self, size: Size) -> None:
        """Run once on noise of this size."""
        noise = np.random.default_rng((0,)).integers(0, 256, (size.height, size.width), dtype=np.uint8)
        self.extract(EvaluatedImage("warm-up", noise, np.eye(3)))

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        """Detect, describe, and keep the best keypoints by response.

        Raises
        ------
        FeatureError
            If OpenCV refuses the image, for example because it is too small for the algorithm.
        """
        watch = Stopwatch()
        with watch("preprocess_ms"):
            grey = to_uint8(image.grey)
        with watch("infer_ms"):
            try:
                keypoints, descriptors = self._detector.detectAndCompute(grey, None)
            except self._cv2.error as error:
                raise FeatureError(
                    f"{self._config.algorithm} of OpenCV failed on {image.key} ({image.size}, HxW): {error.err}"
                ) from error
        with watch("decode_ms"):
            features = self._decode(keypoints, descriptors, image.size)
        return features, watch.times()

    def _decode(self, found: Any, described: Descriptors | None, size: Size) -> Features:
        xy = np.array([k.pt for k in found], np.float32).reshape(-1, 2)
        scores = np.array([k.response for k in found], np.float32)
        if described is None:
            binary = self._detector.descriptorType() == self._cv2.CV_8U
            shape = (0, self._detector.descriptorSize())
            described = np.zeros(shape, np.uint8) if binary else np.zeros(shape, np.float32)
        descriptors: Descriptors = described
        # Interpolation in scale space can leave the image by a fraction of a pixel.
        inside = (xy > -0.5).all(axis=1) & (xy[:, 0] < size.width - 0.5) & (xy[:, 1] < size.height - 0.5)
        if not inside.all():
            xy, scores, descriptors = xy[inside], scores[inside], descriptors[inside]
        kept = self._selected(xy, scores, size)
        if kept is not None:
            xy, scores, descriptors = xy[kept], scores[kept], descriptors[kept]
        if self._config.integer:
            xy = np.trunc(xy)
        if self._config.algorithm == OpenCVAlgorithm.rootsift:
            descriptors = root_sift(np.asarray(descriptors, np.float32))
        return budget(xy, scores, descriptors, self._config.max_keypoints, size)

    def _selected(self, xy: NDArray[np.float32], scores: NDArray[np.float32], size: Size) -> NDArray[np.intp] | None:
        """Keypoints left by the protocol's rules for classical keypoints; None: all."""
        config = self._config
        nms = config.nms.applies_to == NmsTargets.all and config.nms.kind != NmsKind.none
        if not (config.integer or nms):
            return None
        if config.integer:  # in OpenCV's order, later keypoints of a pixel win (rpautrat)
            pixels, sequence = np.trunc(xy).astype(np.int64), np.arange(len(xy))
        else:
            pixels, sequence = np.rint(xy).astype(np.int64), order(xy, scores)[::-1]
        kept = sequence[one_per_pixel(pixels[sequence], size)]
        return kept[suppress_keypoints(pixels[kept], scores[kept], config.nms, size)] if nms else kept

    def info(self) -> MethodInfo:
        """What runs: the algorithm with its parameters, OpenCV's version and its threads."""
        return MethodInfo(
            name=self._name,
            backend="opencv",
            has_descriptors=True,
            precision={"label": self._precision()},
            fingerprint={"algorithm": self._config.algorithm, "params": self._params, "opencv": self._cv2.__version__},
            versions={"opencv": self._cv2.__version__},
            threads={"requested": self._threads, "opencv": self._cv2.getNumThreads()},
        )


def create(name: str, config: MethodConfig, context: Context) -> OpenCVExtractor:
    """Load an algorithm of OpenCV.

    Raises
    ------
    ConfigError
        If OpenCV refuses ``params``.
    ModelError
        If this build of OpenCV lacks the algorithm.
    """
    if not isinstance(config, OpenCVConfig):
        raise ConfigError(f"methods.{name}: backend opencv needs an OpenCVConfig, got {type(config).__name__}")
    return OpenCVExtractor(name, config, context)
