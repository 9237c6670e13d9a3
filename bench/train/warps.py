"""Random homographies of training images.

Points are (N, 2) xy with pixel centres at integers; homographies are 3x3 float64 and act on column vectors (x, y, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from bench.core.types import Size
from bench.geometry.transforms import transform_points, translation
from bench.schema.values import Range, Share

Array = npt.NDArray[Any]
WarpScale = Annotated[float, Range(0.1, 10, "hardly any of the image would be left")]


@dataclass
class WarpConfig:
    """Ranges of a random homography about the image centre."""

    rotation_deg: Annotated[float, Range(0, 180)] = 45.0
    """Largest rotation to either side."""
    rotation_falloff: Annotated[float, Range(0, 100, "no rotation would be left")] = 0.5
    """0: all rotations are equally likely; above 0: small ones are more likely (a uniform angle times u**falloff)."""
    scale_min: WarpScale = 0.7
    scale_max: WarpScale = 1.4
    """The logarithm of the scale is uniform between the logarithms of these."""
    perspective: Annotated[float, Range(0, 0.45, "the horizon would enter the image")] = 0.25
    """Largest relative change of scale between the centre and a border."""
    shear: Share = 0.15
    """Largest shear factor."""
    translation: Share = 0.1
    """Largest shift as a part of the side."""
    flip: bool = False
    """Whether to mirror left and right with probability 1/2."""


def random_homography(rng: np.random.Generator, centre: Array, target: Size, config: WarpConfig) -> Array:
    """Draw a homography that takes a point of a source frame to the centre of a target frame, but for a random shift.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where every random number comes from.
    centre : (2,) float
        xy in the source frame.
    target : Size
        Target frame in pixels.
    config : WarpConfig
        The ranges.

    Returns
    -------
    (3, 3) float64
    """
    angle = np.deg2rad(config.rotation_deg * rng.uniform(-1, 1) * rng.random() ** config.rotation_falloff)
    scale = np.exp(rng.uniform(np.log(config.scale_min), np.log(config.scale_max)))
    aspect = np.exp(rng.uniform(-config.shear, config.shear) / 2)
    shear = rng.uniform(-config.shear, config.shear)
    tilt = rng.uniform(-config.perspective, config.perspective, 2) / (np.array([target.width, target.height]) / 2)
    shift = rng.uniform(-config.translation, config.translation, 2) * (target.width, target.height)
    mirror = -1.0 if config.flip and rng.random() < 0.5 else 1.0

    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    stretch = np.array([[scale * aspect * mirror, shear * scale, 0.0], [0.0, scale / aspect, 0.0], [0.0, 0.0, 1.0]])
    perspective = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [tilt[0], tilt[1], 1.0]])
    to_centre = translation(-centre[0], -centre[1])
    from_centre = translation((target.width - 1) / 2 + shift[0], (target.height - 1) / 2 + shift[1])
    homography = from_centre @ perspective @ rotation @ stretch @ to_centre
    return np.asarray(homography / homography[2, 2])


def warp_points(homography: Array, points: Array) -> Array:
    """Map points by a homography.

    Parameters
    ----------
    homography : (3, 3) float64
    points : (N, 2) float, xy

    Returns
    -------
    (N, 2) float64
        NaN where a point maps behind the plane at infinity, so that no comparison accepts it.
    """
    mapped = transform_points(homography, points)
    mapped[~np.isfinite(mapped)] = np.nan
    return mapped


def warp_image(image: Array, homography: Array, size: Size) -> tuple[Array, Array]:
    """Resample an image into a new frame, bilinearly; minified images are smoothed first.

    Parameters
    ----------
    image : (H, W) uint8 or float32
    homography : (3, 3) float64
        From the image to the new frame.
    size : Size
        The new frame.

    Returns
    -------
    warped : (height, width), dtype of ``image``
        Borders are reflected.
    valid : (height, width) bool
        True where the sample lies inside the image.
    """
    import cv2

    height, width = image.shape
    centre = np.array([(size.width - 1) / 2, (size.height - 1) / 2, 1.0])
    inverse = np.linalg.inv(homography)
    source = inverse @ centre
    # Scale at the centre of the new frame: sqrt of the determinant of the local Jacobian of the inverse.
    minification = float(np.sqrt(abs(np.linalg.det(inverse) / source[2] ** 3)))
    if minification > 1.2:
        sigma_px = 0.4 * float(np.sqrt(minification**2 - 1))
        image = cv2.GaussianBlur(image, (0, 0), sigma_px)
    frame = (size.width, size.height)
    warped = cv2.warpPerspective(image, homography, frame, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    columns, rows = np.meshgrid(np.arange(size.width, dtype=np.float64), np.arange(size.height, dtype=np.float64))
    depth = inverse[2, 0] * columns + inverse[2, 1] * rows + inverse[2, 2]
    x = inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]
    y = inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]
    valid = (depth > 1e-6) & (x >= 0) & (y >= 0) & (x <= (width - 1) * depth) & (y <= (height - 1) * depth)
    return warped, valid
