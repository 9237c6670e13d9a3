"""Direct linear transform: the least-squares homography of all correspondences."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.types import Transform
from bench.geometry.transforms import third_coordinates


def normalisation(xy: ArrayLike) -> Transform:
    """Similarity that moves points to mean (0, 0) and mean distance sqrt(2) (Hartley 1997).

    Parameters
    ----------
    xy : (N, 2) float

    Returns
    -------
    (3, 3) float64
        Coinciding points are only moved.
    """
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    mean = points.mean(axis=0)
    distance = np.hypot(*(points - mean).T).mean()
    s = np.sqrt(2.0) / distance if distance > 0 else 1.0
    return np.array([[s, 0.0, -s * mean[0]], [0.0, s, -s * mean[1]], [0.0, 0.0, 1.0]])


def orient(H: ArrayLike, xy: ArrayLike) -> Transform:
    """Scale `H` to H[2, 2] = 1 where that leaves most of `xy` in front of the camera, else to the sign that does.

    Parameters
    ----------
    H : (3, 3) float
    xy : (N, 2) float
        Points of the frame `H` maps from.

    Returns
    -------
    (3, 3) float64
    """
    matrix: Transform = np.asarray(H, dtype=np.float64)
    if 2 * int((third_coordinates(matrix, xy) < 0).sum()) > len(np.asarray(xy)):
        matrix = -matrix
    if matrix[2, 2] > 1e-12 * np.abs(matrix).max():
        return np.asarray(matrix / matrix[2, 2])
    return np.asarray(matrix / np.linalg.norm(matrix))


def dlt_homography(xy_ref: ArrayLike, xy_target: ArrayLike) -> Transform:
    """Homography that minimises the algebraic error of normalised correspondences.

    The right singular vector of the smallest singular value of the 2N x 9 system, after normalisation of both point
    sets (Hartley and Zisserman, Multiple View Geometry, 2nd ed., algorithm 4.2). No correspondence is rejected.

    Parameters
    ----------
    xy_ref, xy_target : (N, 2) float
        Corresponding pixels, N >= 4.

    Returns
    -------
    (3, 3) float64
        Maps `xy_ref` to `xy_target`, oriented by :func:`orient`. Not meaningful for collinear points.

    Raises
    ------
    ValueError
        If there are fewer than four correspondences or the numbers of points differ.
    """
    a = np.asarray(xy_ref, dtype=np.float64).reshape(-1, 2)
    b = np.asarray(xy_target, dtype=np.float64).reshape(-1, 2)
    if len(a) != len(b) or len(a) < 4:
        raise ValueError(f"DLT needs at least four correspondences, got {len(a)} and {len(b)} points")
    t_ref, t_target = normalisation(a), normalisation(b)
    x, y = (a * t_ref[0, 0] + t_ref[:2, 2]).T
    u, v = (b * t_target[0, 0] + t_target[:2, 2]).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    system: NDArray[np.float64] = np.concatenate(
        [
            np.stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u], axis=1),
            np.stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v], axis=1),
        ]
    )
    # R of the QR decomposition has the same right singular vectors and only nine rows.
    reduced = np.linalg.qr(system, mode="r") if len(system) > 9 else system
    h = np.linalg.svd(reduced, full_matrices=True)[2][-1].reshape(3, 3)
    return orient(np.linalg.inv(t_target) @ h @ t_ref, a)
