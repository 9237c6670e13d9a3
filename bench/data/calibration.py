"""Images for INT8 calibration: photographs that no data set of the benchmark shows, seen and lit in seeded ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.types import ImageRef, Pair, PreparedPair, Size
from bench.data.photos import photograph
from bench.data.warp import draw_camera, reference_view, relight, render

PHOTOGRAPHS = ("page.png", "text.png", "retina.jpg", "cell.png", "clock_motion.png")
"""Shipped in the wheel of scikit-image and not part of the data set ``photos``."""
SIZE = Size(240, 320)
"""Statistics of activations do not depend on the size; a small one makes calibration four times as fast as 480x640."""
_MAX_MAGNIFICATION = 2.0
_STREAM_CALIBRATION, _STREAM_VALIDATION = 1, 2


@dataclass(frozen=True, slots=True)
class CalibrationPair:
    """Two grey images (H, W) uint8 of :data:`SIZE`, and the pair they are."""

    reference: NDArray[np.uint8]
    target: NDArray[np.uint8]
    prepared: PreparedPair


@cache
def _grey(name: str) -> NDArray[np.uint8]:
    import cv2

    image = photograph(name)
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(grey, dtype=np.uint8)


def _pair(stream: int, index: int, seed: int) -> CalibrationPair:
    rng = np.random.default_rng((seed, stream, index))
    name = PHOTOGRAPHS[index % len(PHOTOGRAPHS)]
    source = _grey(name)
    T = reference_view(Size(*source.shape), SIZE, _MAX_MAGNIFICATION)
    severity = rng.uniform(0.1, 0.8)
    H = draw_camera(rng, SIZE, severity, max_rotation_deg=30.0, max_scale=1.5).H_ref_to_target
    images = ImageRef(f"{name}/reference", Path(name)), ImageRef(f"{name}/{index}", Path(name))
    pair = Pair(*images, H, name, "-", f"{name}/{stream}-{index}")
    return CalibrationPair(
        relight(render(source, T, SIZE), rng, 0.0),
        relight(render(source, H @ T, SIZE), rng, rng.uniform(0, 0.5)),
        PreparedPair(pair, H, SIZE, SIZE),
    )


def images(count: int, seed: int) -> list[NDArray[np.uint8]]:
    """Grey images of `SIZE` for the calibration.

    Parameters
    ----------
    count : int
    seed : int

    Returns
    -------
    list of (H, W) uint8
    """
    return [_pair(_STREAM_CALIBRATION, index, seed).target for index in range(count)]


def pairs(count: int, seed: int) -> list[CalibrationPair]:
    """Pairs for accuracy control; other views than those of :func:`images`."""
    return [_pair(_STREAM_VALIDATION, index, seed) for index in range(count)]
