"""What the true homography of a pair says about points and estimates: shared region, reprojection and corner errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.types import Size, Transform
from bench.geometry.transforms import corner_errors_px, transform_points, visible

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def inside(xy: ArrayLike, size: Size, region: str = "pixel_centres") -> Mask:
    """Which warped points lie in an image: ``0 <= x <= W - 1`` (pixel_centres) or ``0 <= x < W`` (size)."""
    if region == "pixel_centres":
        return visible(xy, size)
    if region != "size":
        raise ValueError(f"shared region {region!r} is not pixel_centres or size")
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    return np.asarray(((points >= 0) & (points < (size.width, size.height))).all(axis=1))


def shared_region(
    xy_ref: ArrayLike,
    xy_target: ArrayLike,
    H_ref_to_target: ArrayLike,
    size_ref: Size,
    size_target: Size,
    region: str = "pixel_centres",
) -> tuple[Mask, Mask]:
    """Keypoints whose ground-truth warp lies in the other image.

    Parameters
    ----------
    xy_ref, xy_target : (N, 2), (M, 2) float
    H_ref_to_target : (3, 3) float
    size_ref, size_target : Size
    region : {"pixel_centres", "size"}
        See :func:`inside`.

    Returns
    -------
    mask_ref, mask_target : (N,), (M,) bool
    """
    H = np.asarray(H_ref_to_target, dtype=np.float64)
    return (
        inside(transform_points(H, xy_ref), size_target, region),
        inside(transform_points(np.linalg.inv(H), xy_target), size_ref, region),
    )


def reprojection_error_px(
    xy_ref: ArrayLike, xy_target: ArrayLike, H_ref_to_target: ArrayLike, kind: str = "one_way"
) -> Floats:
    """Ground-truth error of matches. Lower is better.

    Parameters
    ----------
    xy_ref, xy_target : (M, 2) float
        Row k of both is one match.
    H_ref_to_target : (3, 3) float
    kind : {"one_way", "symmetric"}
        ``|H x - y|`` in the target image (D2-Net, SiLK), or the mean of it and ``|x - H^-1 y|`` (glue-factory).

    Returns
    -------
    (M,) float64
        Pixels; +inf where a point is mapped to or behind the horizon.
    """
    if kind not in ("one_way", "symmetric"):
        raise ValueError(f"match error {kind!r} is not one_way or symmetric")
    H = np.asarray(H_ref_to_target, dtype=np.float64)
    x, y = np.asarray(xy_ref, np.float64).reshape(-1, 2), np.asarray(xy_target, np.float64).reshape(-1, 2)
    forward = np.hypot(*(transform_points(H, x) - y).T)
    if kind == "one_way":
        return np.asarray(forward)
    return np.asarray((forward + np.hypot(*(transform_points(np.linalg.inv(H), y) - x).T)) / 2)


def corner_error(
    H_estimated: Transform | None,
    H_true: Transform,
    size: Size,
    convention: str = "size_minus_one",
    T_source_to_target: Transform | None = None,
) -> float:
    """Mean corner error in the evaluated target frame, or in the source pixels of the target image. Lower is better.

    Parameters
    ----------
    H_estimated : (3, 3) float64 or None
        None: a failure.
    H_true : (3, 3) float64
    size : Size
        Of the evaluated reference image.
    convention : {"size_minus_one", "size"}
    T_source_to_target : (3, 3) float64 or None
        Source to evaluated pixels of the target image; given: the distances are measured in source pixels.

    Returns
    -------
    float
        Pixels; +inf for a failure or where a corner is mapped to or behind the horizon.
    """
    return corner_errors([H_estimated], H_true, size, convention, T_source_to_target)[0]


def corner_errors(
    H_estimated: Sequence[Transform | None],
    H_true: Transform,
    size: Size,
    convention: str = "size_minus_one",
    T_source_to_target: Transform | None = None,
) -> list[float]:
    """:func:`corner_error` of several estimates of one homography."""
    finite = [None if H is None or not np.isfinite(H).all() else H for H in H_estimated]
    if all(H is None for H in finite):
        return [math.inf] * len(finite)
    if T_source_to_target is not None:
        back = np.linalg.inv(T_source_to_target)
        H_true, finite = back @ H_true, [None if H is None else back @ H for H in finite]
    return corner_errors_px(finite, H_true, size, convention)
