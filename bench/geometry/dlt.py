"""Direct linear transform: the least-squares homography of all correspondences."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.types import Transform
from bench.geometry.transforms import third_coordinates
from bench.schema.options import DltSolver


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


def dlt_homography(xy_ref: ArrayLike, xy_target: ArrayLike, solver: str = "svd") -> Transform:
    """Homography that minimises the algebraic error of normalised correspondences.

    Both point sets are normalised and give a system A h = 0 of two equations per correspondence (Hartley and Zisserman,
    Multiple View Geometry, 2nd ed., algorithm 4.2). No correspondence is rejected.

    ``svd`` takes the right singular vector of the smallest singular value: the least ``|A h|`` of all h of unit length.
    ``lu`` is what kornia's ``find_homography_dlt`` does by default and glue-factory uses: it solves
    ``A^T A h = (1, ..., 1)``, one step of inverse iteration from the vector of ones. On exact correspondences both are
    the same; the more the smallest singular values resemble each other, that is, the more matches are wrong, the more
    of the other singular vectors is left in the result. Where ``A^T A`` is singular (four correspondences, exact ones)
    the limit of that solution, the null vector, is taken. kornia computes in float32, this in float64.

    Parameters
    ----------
    xy_ref, xy_target : (N, 2) float
        Corresponding pixels, N >= 4.
    solver : {"svd", "lu"}

    Returns
    -------
    (3, 3) float64
        Maps `xy_ref` to `xy_target`, oriented by :func:`orient`. Not meaningful for collinear points.

    Raises
    ------
    ValueError
        If there are fewer than four correspondences, the numbers of points differ, or the solver is unknown.
    """
    a = np.asarray(xy_ref, dtype=np.float64).reshape(-1, 2)
    b = np.asarray(xy_target, dtype=np.float64).reshape(-1, 2)
    if len(a) != len(b) or len(a) < 4:
        raise ValueError(f"DLT needs at least four correspondences, got {len(a)} and {len(b)} points")
    if solver not in list(DltSolver):
        raise ValueError(f"DLT solver {solver!r} is not one of {', '.join(DltSolver)}")
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
    h = (_inverse_iteration if solver == "lu" and len(a) > 4 else _null_vector)(system)
    return orient(np.linalg.inv(t_target) @ h.reshape(3, 3) @ t_ref, a)


def _null_vector(system: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right singular vector of the smallest singular value of a (2N, 9) system."""
    # R of the QR decomposition has the same right singular vectors and only nine rows.
    reduced = np.linalg.qr(system, mode="r") if len(system) > 9 else system
    return np.asarray(np.linalg.svd(reduced, full_matrices=True)[2][-1])


def _inverse_iteration(system: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vector along the solution h of ``A^T A h = (1, ..., 1)`` for a (2N, 9) system A."""
    try:
        h = np.linalg.solve(system.T @ system, np.ones(9))
    except np.linalg.LinAlgError:
        return _null_vector(system)
    return np.asarray(h / np.linalg.norm(h)) if np.isfinite(h).all() else _null_vector(system)
