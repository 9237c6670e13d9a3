"""Does a homography fit its two images? What can never be solved is refused, what looks wrong is named."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.types import Size, Transform
from bench.geometry.transforms import corners, scaling, third_coordinates, transform_points, translation, visible

_THUMBNAIL_PX = 96
"""Longer side; sides this short make a check of 580 pairs a matter of a second."""
_LEAST_OVERLAP = 0.2
_FAR_WORSE = 0.35
_FITS = 0.5


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small grey image without its shading: mean 0 in every neighbourhood.

    Attributes
    ----------
    detail : (h, w) float32
    size : Size
        Of the image file.
    """

    detail: NDArray[np.float32]
    size: Size

    @property
    def from_source(self) -> Transform:
        """Transform from source pixels to thumbnail pixels, centres at integers."""
        height, width = self.detail.shape
        x, y = width / self.size.width, height / self.size.height
        return translation((x - 1) / 2, (y - 1) / 2) @ scaling(x, y)


def thumbnail(image: NDArray[np.uint8]) -> Thumbnail:
    """Make the thumbnail of a BGR image, (H, W, 3) uint8."""
    size = Size(*image.shape[:2])
    factor = min(1.0, _THUMBNAIL_PX / max(size.height, size.width))
    shape = (max(2, round(size.width * factor)), max(2, round(size.height * factor)))
    small = cv2.cvtColor(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY).astype(np.float32)
    detail = cv2.GaussianBlur(small, (0, 0), 1.5) - cv2.GaussianBlur(small, (0, 0), 8.0)
    return Thumbnail(np.asarray(detail, np.float32), size)


def impossible(H: Transform, reference: Size) -> str | None:
    """Why no error can be measured, or no method can solve the pair; None if that is not so.

    Parameters
    ----------
    H : (3, 3) float64
        From the reference to the target, of any scale and sign.
    reference : Size
    """
    H = _signed(H, reference)
    if (third_coordinates(H, corners(reference)) <= 0).any():
        return f"the homography maps a corner of the {reference} (HxW) reference image to infinity"
    if np.linalg.det(H) < 0:
        return "the homography mirrors the image, which no view of a plane does"
    return None


def suspicious(H: Transform, reference: Thumbnail, target: Thumbnail) -> str | None:
    """What looks wrong about a homography that can be solved; None if nothing does.

    Parameters
    ----------
    H : (3, 3) float64
        From the reference to the target, both in pixels of their files.
    reference, target : Thumbnail

    Returns
    -------
    str or None
        That nothing of the reference lies in the target, or that the inverse or the identity fits far better: their
        correlation with the target is at least 0.5 and at least 0.35 higher, each over at least a fifth of the target.
    """
    H = _signed(H, reference.size)
    xs, ys = np.meshgrid(np.linspace(0, reference.size.width - 1, 33), np.linspace(0, reference.size.height - 1, 33))
    grid = np.column_stack([xs.ravel(), ys.ravel()])
    if not visible(transform_points(H, grid), target.size).any():
        return "the homography maps nothing of the reference image into the target image"
    given = _correlation(H, reference, target)
    others = {
        "its inverse": _correlation(_signed(np.linalg.inv(H), reference.size), reference, target),
        "the identity": _correlation(np.eye(3), reference, target),
    }
    name = max(others, key=lambda key: others[key])
    if others[name] >= _FITS and others[name] - max(given, 0.0) >= _FAR_WORSE:
        return (
            f"the homography fits the images far worse than {name} "
            f"(correlation {given:.2f} against {others[name]:.2f}); "
            "it must map pixels of the first image to the second, in the frame in which the files are viewed"
        )
    return None


def _signed(H: ArrayLike, size: Size) -> Transform:
    """H with a positive third coordinate at the centre of the image it maps from."""
    centre = np.array([[(size.width - 1) / 2, (size.height - 1) / 2]])
    matrix = np.asarray(H, np.float64)
    return -matrix if third_coordinates(matrix, centre)[0] < 0 else matrix


def _correlation(H: Transform, reference: Thumbnail, target: Thumbnail) -> float:
    """Normalised cross-correlation of target and warped reference where both are seen; -1 where too little is."""
    M = target.from_source @ H @ np.linalg.inv(reference.from_source)
    shape = target.detail.shape[::-1]
    seen = cv2.warpPerspective(np.ones(reference.detail.shape, np.uint8), M, shape, flags=cv2.INTER_NEAREST) > 0
    if seen.mean() < _LEAST_OVERLAP:
        return -1.0
    a = cv2.warpPerspective(reference.detail, M, shape, flags=cv2.INTER_LINEAR)[seen].astype(np.float64)
    b = target.detail[seen].astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm > 0 else 0.0
