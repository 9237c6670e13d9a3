"""Homographic Adaptation at test time: the detector's mean, or maximum, over warped views of the image.

References
----------
DeTone, Malisiewicz, Rabinovich: SuperPoint, CVPRW 2018, section 5: the mean of the detector's responses to
``num`` views, warped back; the first view is the image itself.  The paper leaves open how views are
drawn and what the border of a view counts. Views are drawn as rpautrat/SuperPoint does (``homographies.py``: patch,
perspective, scale, translation, rotation) with the constants of eric-yyjau/pytorch-superpoint's export configuration;
the border margin is ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.core.types import Size, Transform
from bench.schema import HomographicAdaptationConfig
from bench.schema.options import Aggregation

PATCH_RATIO = 0.85
"""Side of the undistorted patch relative to the image; the view shows the patch at the image's size."""
SCALING_AMPLITUDE = 0.2
PERSPECTIVE_AMPLITUDE = 0.2
"""Truncated normal draws reach these values at two standard deviations."""
MAX_ANGLE_RAD = np.pi / 2
ANGLES = 25
BORDER_MARGIN_PX = 8
"""Pixels closer than this to the border of a view do not count."""

Detect = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def sample_view(size: Size, rng: np.random.Generator) -> Transform:
    """Draw the homography from pixels of a view to pixels of the image.

    The view shows a patch of the image: a centred rectangle with random perspective, scale, place and rotation.
    Parts of it may lie outside the image.

    Parameters
    ----------
    size : Size
        Of the image and of the view.
    rng : numpy.random.Generator

    Returns
    -------
    (3, 3) float64
    """
    import cv2

    unit = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    patch = (1 - PATCH_RATIO) / 2 + PATCH_RATIO * unit
    vertical, left, right = (_truncated_normal(rng, PERSPECTIVE_AMPLITUDE / 2) for _ in range(3))
    patch += np.array([[left, vertical], [left, -vertical], [right, vertical], [right, -vertical]])
    centre = patch.mean(axis=0)
    patch = centre + (1 + _truncated_normal(rng, SCALING_AMPLITUDE / 2)) * (patch - centre)
    low, high = -patch.min(axis=0), (1 - patch).min(axis=0)
    patch += rng.uniform(np.minimum(low, high), np.maximum(low, high))
    angle = rng.choice(np.linspace(-MAX_ANGLE_RAD, MAX_ANGLE_RAD, ANGLES))
    cos, sin = np.cos(angle), np.sin(angle)
    centre = patch.mean(axis=0)
    patch = centre + (patch - centre) @ np.array([[cos, -sin], [sin, cos]])
    pixels = np.array([size.width, size.height])
    H: Transform = cv2.getPerspectiveTransform(
        (unit * pixels).astype(np.float32), (patch * pixels).astype(np.float32)
    ).astype(np.float64)
    return H


def _truncated_normal(rng: np.random.Generator, sigma: float) -> float:
    while abs(value := rng.standard_normal()) > 2:
        pass
    return float(sigma * value)


def adapt(
    grey: NDArray[np.float32],
    prob: NDArray[np.float32],
    detect: Detect,
    config: HomographicAdaptationConfig,
    batch: int = 1,
) -> NDArray[np.float32]:
    """Aggregate the probability map over views of the image.

    Parameters
    ----------
    grey : (H, W) float32
        The network's input.
    prob : (H, W) float32
        The network's output for `grey`: the first of the ``config.num`` views.
    detect : callable
        (N, H, W) float32 images to (N, H, W) float32 probabilities.
    config : HomographicAdaptationConfig
        ``sum`` divides the sum of the probabilities by the number of views that show the pixel, ``max`` takes the
        largest.
    batch : int
        Views in one call of `detect`.

    Returns
    -------
    (H, W) float32
    """
    import cv2

    size = Size(*grey.shape)
    shape = (size.width, size.height)
    nearest, linear = (kind | cv2.WARP_INVERSE_MAP for kind in (cv2.INTER_NEAREST, cv2.INTER_LINEAR))
    erosion = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BORDER_MARGIN_PX, 2 * BORDER_MARGIN_PX))
    ones = np.ones(grey.shape, np.float32)

    def inside(H: Transform) -> NDArray[np.float32]:
        mask: NDArray[np.float32] = cv2.erode(
            cv2.warpPerspective(ones, H, shape, flags=nearest), erosion, borderType=cv2.BORDER_CONSTANT, borderValue=0.0
        )
        return mask

    total, largest, count = prob.astype(np.float64), prob.copy(), ones.astype(np.float64)
    for start in range(1, config.num, batch):
        drawn = [
            sample_view(size, np.random.default_rng((config.seed, index)))
            for index in range(start, min(start + batch, config.num))
        ]
        views = [cv2.warpPerspective(grey, H, shape, flags=linear) for H in drawn]
        views += views[-1:] * (batch - len(views))  # the network is compiled for full batches
        for H, response in zip(drawn, detect(np.stack(views)), strict=False):
            H_back: Transform = np.linalg.inv(H).astype(np.float64)
            seen = inside(H_back)
            back = cv2.warpPerspective(response * inside(H), H_back, shape, flags=linear) * seen
            total += back
            count += seen
            np.maximum(largest, back, out=largest)
    return largest if config.aggregation == Aggregation.max else (total / count).astype(np.float32)
