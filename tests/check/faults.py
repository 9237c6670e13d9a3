"""SuperPoint under OpenVINO with a fault, as a backend of the harness, for the proofs of the release gate.

``params.fault``: none | off_by_one (keypoints one pixel to the right and below) | unnormalised (descriptors as the
network gives them) | slow (inference takes 30 % longer).
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.core.types import Context, EvaluatedImage, Features, MethodInfo, Size, StageTimes
from bench.features import superpoint
from bench.features.superpoint import SuperPointExtractor
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights, save_weights
from bench.schema import CustomConfig, ModelConfig, NmsConfig, SuperPointConfig

SLOWDOWN = 0.3


class Faulty:
    """The builtin SuperPoint in FP32, with a fault in what comes out of it."""

    def __init__(self, inner: SuperPointExtractor, fault: str) -> None:
        self._inner, self._fault = inner, fault

    def warm_up(self, size: Size) -> None:
        self._inner.warm_up(size)

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        features, times = self._inner.extract(image)
        if self._fault == "slow":
            time.sleep(SLOWDOWN * times.infer_ms / 1e3)
            times = replace(times, infer_ms=(1 + SLOWDOWN) * times.infer_ms)
        if self._fault == "off_by_one":
            limit = np.float32([image.size.width - 1, image.size.height - 1])
            features = replace(features, keypoints=np.minimum(features.keypoints + np.float32(1), limit))
        if self._fault == "unnormalised":
            _, outputs = self._inner.tensors(image)
            lengths = np.linalg.norm(bilinear(outputs["descriptors_raw"][0], features.keypoints / 8), axis=1)
            assert features.descriptors is not None
            features = replace(features, descriptors=(features.descriptors * lengths[:, None]).astype(np.float32))
        return features, times

    def info(self) -> MethodInfo:
        return self._inner.info()


def bilinear(dense: NDArray[np.float32], xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sample (H, W, D) at (N, 2) positions with edge clamp."""
    top = np.array([dense.shape[1] - 1, dense.shape[0] - 1])
    low = np.minimum(np.floor(xy).astype(int), top)
    high = np.minimum(low + 1, top)
    a, b = ((xy - low)[:, i : i + 1] for i in (0, 1))
    rows = [(1 - a) * dense[y, low[:, 0]] + a * dense[y, high[:, 0]] for y in (low[:, 1], high[:, 1])]
    result: NDArray[np.float32] = (1 - b) * rows[0] + b * rows[1]
    return result


def create(name: str, config: CustomConfig, context: Context) -> Faulty:
    settings = SuperPointConfig(
        backend="openvino",
        model=ModelConfig(kind="builtin"),
        max_keypoints=config.max_keypoints,
        threads=config.threads,
        nms=NmsConfig(kind="box", size=8, iou=0.1),
        min_probability=0.001,
        border_px=0,
    )
    return Faulty(superpoint.create(name, settings, context), str(config.params["fault"]))


def noisy_weights(path: str, share: float = 0.02, seed: int = 1) -> None:
    """Write the builtin weights, each multiplied by 1 + `share` times a normal random number."""
    rng = np.random.default_rng(seed)
    noisy = {
        name: (array * (1 + share * rng.standard_normal(array.shape))).astype(np.float32)
        for name, array in load_weights(BUILTIN_SUPERPOINT).items()
    }
    save_weights(path, noisy)
