"""Points, corners and errors under 3x3 transforms.

Points are xy in pixels, pixel centres at integers. A homography carries a sign: it is scaled so that points in front of
the camera have a positive third coordinate, as H / H[2, 2] has wherever the reference origin is in front. Inverses and
products of such matrices keep the property.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.types import Size, Transform

_SINGULAR = 1e-14
"""Smallest ratio of singular values of a usable transform; translations by 10^6 px are at 10^-12."""


def translation(dx: float, dy: float) -> Transform:
    """Return the (3, 3) float64 transform that adds (`dx`, `dy`) pixels."""
    return np.array([[1.0, 0.0, dx], [0.0, 1.0, dy], [0.0, 0.0, 1.0]])


def scaling(sx: float, sy: float) -> Transform:
    """Return the (3, 3) float64 transform that multiplies x by `sx` and y by `sy` about the centre of pixel (0, 0)."""
    return np.diag(np.array([sx, sy, 1.0], dtype=np.float64))


def is_valid_homography(H: ArrayLike) -> bool:
    """Whether `H` is a 3x3 matrix of finite numbers that can be inverted."""
    try:
        matrix = np.asarray(H, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return False
    largest = np.abs(matrix).max()
    if largest == 0:
        return False
    values = np.linalg.svd(matrix / largest, compute_uv=False)
    return bool(values[2] > _SINGULAR * values[0])


def third_coordinates(H: ArrayLike, xy: ArrayLike) -> NDArray[np.float64]:
    """Third homogeneous coordinates of H (x, y, 1): positive in front of the camera, 0 on the horizon.

    Parameters
    ----------
    H : (3, 3) float
    xy : (N, 2) float

    Returns
    -------
    (N,) float64
    """
    matrix = np.asarray(H, dtype=np.float64)
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    w: NDArray[np.float64] = points @ matrix[2, :2] + matrix[2, 2]
    return w


def transform_points(H: ArrayLike, xy: ArrayLike) -> NDArray[np.float64]:
    """Map points by a homography.

    Parameters
    ----------
    H : (3, 3) float
    xy : (N, 2) float
        Pixels of the frame `H` maps from.

    Returns
    -------
    (N, 2) float64
        Pixels of the frame `H` maps to; infinite for points on or behind the horizon (third coordinate <= 0).
    """
    matrix = np.asarray(H, dtype=np.float64)
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    w = third_coordinates(matrix, points)
    front = w > 0
    mapped = np.full(points.shape, np.inf)
    with np.errstate(over="ignore"):
        mapped[front] = (points[front] @ matrix[:2, :2].T + matrix[:2, 2]) / w[front, None]
    return mapped


def corners(size: Size, convention: str = "size_minus_one") -> NDArray[np.float64]:
    """Four corners of an image: top left, top right, bottom left, bottom right.

    Parameters
    ----------
    size : Size
    convention : {"size_minus_one", "size"}
        Far corner at (W - 1, H - 1), the centre of the last pixel, or at (W, H).

    Returns
    -------
    (4, 2) float64
    """
    if convention not in ("size_minus_one", "size"):
        raise ValueError(f"corner convention {convention!r} is not size_minus_one or size")
    less = 1.0 if convention == "size_minus_one" else 0.0
    x, y = size.width - less, size.height - less
    return np.array([[0.0, 0.0], [x, 0.0], [0.0, y], [x, y]])


def corner_error_px(
    H_estimated: ArrayLike | None, H_true: ArrayLike, size: Size, convention: str = "size_minus_one"
) -> float:
    """Mean distance of the four reference corners under two homographies (SuperPoint paper, eq. 15).

    ``(1/4) sum_c || H_true c - H_estimated c ||`` in pixels of the target image.

    Parameters
    ----------
    H_estimated : (3, 3) float or None
    H_true : (3, 3) float
    size : Size
        Size of the reference image.
    convention : {"size_minus_one", "size"}

    Returns
    -------
    float
        Infinite without an estimate, or where it puts a corner on or behind the horizon.

    Raises
    ------
    ValueError
        If the ground truth puts a corner on or behind the horizon: no error can be measured there.
    """
    c = corners(size, convention)
    true = transform_points(H_true, c)
    if not np.isfinite(true).all():
        raise ValueError(f"the ground-truth homography maps a corner of the {size} (HxW) reference image to infinity")
    if H_estimated is None:
        return float("inf")
    estimated = transform_points(H_estimated, c)
    if not np.isfinite(estimated).all():
        return float("inf")
    return float(np.hypot(*(true - estimated).T).mean())


def visible(xy: ArrayLike, size: Size) -> NDArray[np.bool_]:
    """Which points lie in an image: 0 <= x <= W - 1 and 0 <= y <= H - 1.

    Parameters
    ----------
    xy : (N, 2) float
        Points warped into the image; infinite ones are not visible.
    size : Size

    Returns
    -------
    (N,) bool
    """
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    x, y = points[:, 0], points[:, 1]
    inside: NDArray[np.bool_] = (x >= 0) & (x <= size.width - 1) & (y >= 0) & (y <= size.height - 1)
    return inside
