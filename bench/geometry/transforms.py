"""Points, corners and errors under 3x3 transforms.

Points are xy in pixels, pixel centres at integers. A homography carries a sign: it is scaled so that points in front of
the camera have a positive third coordinate, as H / H[2, 2] has wherever the reference origin is in front. Inverses and
products of such matrices keep the property.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    if matrix.shape != (3, 3):
        return False
    entries = matrix.ravel().tolist()
    if not all(map(math.isfinite, entries)):
        return False
    largest = max(map(abs, entries))
    if largest == 0:
        return False
    scaled = matrix / largest
    # The determinant is the product of the singular values; none exceeds 3, so the ratio is at least |det| / 27. The
    # decomposition is left to matrices for which this decides nothing.
    if abs(determinant(scaled)) > 100 * _SINGULAR:
        return True
    values = np.linalg.svd(scaled, compute_uv=False)
    return bool(values[2] > _SINGULAR * values[0])


def determinant(M: Transform) -> float:
    """Determinant of a (3, 3) matrix by expansion; off by a few roundings of the products of its entries."""
    a, b, c, d, e, f, g, h, i = M.ravel().tolist()
    return float(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


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
    if front.all():
        with np.errstate(over="ignore"):
            everywhere: NDArray[np.float64] = (points @ matrix[:2, :2].T + matrix[:2, 2]) / w[:, None]
        return everywhere
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
    return corner_errors_px([H_estimated], H_true, size, convention)[0]


def corner_errors_px(
    H_estimated: Sequence[ArrayLike | None], H_true: ArrayLike, size: Size, convention: str = "size_minus_one"
) -> list[float]:
    """:func:`corner_error_px` of several estimates of one homography."""
    c = corners(size, convention)
    true = transform_points(H_true, c)
    if not np.isfinite(true).all():
        raise ValueError(f"the ground-truth homography maps a corner of the {size} (HxW) reference image to infinity")
    errors = []
    for H in H_estimated:
        estimated = np.full_like(true, np.inf) if H is None else transform_points(H, c)
        finite = np.isfinite(estimated).all()
        errors.append(float(np.hypot(*(true - estimated).T).mean()) if finite else math.inf)
    return errors


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
