"""Views of a flat photograph: seeded homographies, resampling with anti-aliasing, light and sensor.

The photograph is a plane. A view is an image of that plane under a known transform, so the ground truth between two
views is exact. Beyond its edges the plane continues by reflection: a view never shows a black border, and what lies in
the reference view is always the photograph itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import DataError
from bench.core.types import Size, Transform
from bench.geometry.transforms import corners, scaling, third_coordinates, transform_points, translation, visible

MAX_TILT_DEG = 70.0
FOCAL_LENGTH_WIDTHS = 1.5
"""Focal length of the virtual camera in image widths (37 degrees of horizontal field of view)."""
_MAX_SHIFT = 0.12
_MIN_OVERLAP = 0.3
_MAX_SHRINK = 5.0
_SUPERSAMPLING = 3
_ATTEMPTS = 200

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Camera:
    """One target view, as drawn.

    Attributes
    ----------
    tilt_deg : float
        Angle between the plane's normal and the viewing direction.
    rotation_deg : float
        Rotation about the viewing direction.
    scale : float
        Size of the plane's content relative to the reference view.
    overlap : float
        Fraction of the reference view visible in the target.
    """

    H_ref_to_target: Transform
    tilt_deg: float
    rotation_deg: float
    scale: float
    overlap: float


def reference_view(source: Size, size: Size, max_magnification: float) -> Transform:
    """Transform from source pixels to the reference view: the largest centred part with the view's aspect ratio.

    Sources larger than the view are not shrunk below 0.8, so that targets can see beyond the reference.

    Raises
    ------
    DataError
        If the source is so small that it would be magnified more than `max_magnification`.
    """
    scale = max(size.height / source.height, size.width / source.width)
    if scale > max_magnification:
        raise DataError(
            f"a photograph of {source} px (HxW) is too small for views of {size}: it would be magnified {scale:.2f} "
            f"times, allowed: {max_magnification:g}; choose smaller dataset.height and dataset.width "
            "or larger photographs"
        )
    scale = max(scale, 0.8)
    centre_source = ((source.width - 1) / 2, (source.height - 1) / 2)
    centre_view = ((size.width - 1) / 2, (size.height - 1) / 2)
    return translation(*centre_view) @ scaling(scale, scale) @ translation(-centre_source[0], -centre_source[1])


def limited(source: Image, size: Size) -> Image:
    """Shrink a photograph so that a view of `size` shows most of it: to 1.6 times the view, where it is larger."""
    factor = 1.6 * max(size.height / source.shape[0], size.width / source.shape[1])
    if factor >= 1:
        return source
    shape = (round(source.shape[1] * factor), round(source.shape[0] * factor))
    return np.asarray(cv2.resize(source, shape, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def orbit(size: Size, tilt: float, azimuth: float, rotation: float, scale: float) -> Transform:
    """Homography of a camera that circles the view's centre at the reference camera's distance (angles in radians)."""
    f = FOCAL_LENGTH_WIDTHS * size.width
    axis = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    tilting = np.eye(3) + np.sin(tilt) * cross + (1 - np.cos(tilt)) * (cross @ cross)
    c, s = np.cos(rotation), np.sin(rotation)
    turning = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    pose = turning @ tilting
    # Plane point (x, y, 0) in pixels at distance f: columns 1 and 2 of the rotation, and the translation (0, 0, f).
    H = np.column_stack([pose[:, 0], pose[:, 1], [0.0, 0.0, f]])
    H = np.diag([scale * f, scale * f, 1.0]) @ H
    centre = ((size.width - 1) / 2, (size.height - 1) / 2)
    orbit: Transform = translation(*centre) @ H @ translation(-centre[0], -centre[1])
    return orbit


def _local_shrink(H: Transform, size: Size) -> float:
    """Largest linear shrink factor from reference to target over a grid of target pixels; infinite at the horizon."""
    H_back = np.linalg.inv(H)
    H_back = H_back / H_back[2, 2]
    xs, ys = np.meshgrid(np.linspace(0, size.width - 1, 9), np.linspace(0, size.height - 1, 9))
    grid = np.column_stack([xs.ravel(), ys.ravel()])
    if (third_coordinates(H_back, grid) <= 0.05).any():
        return float("inf")
    here = transform_points(H_back, grid)
    dx = transform_points(H_back, grid + np.array([1.0, 0.0])) - here
    dy = transform_points(H_back, grid + np.array([0.0, 1.0])) - here
    return float(max(np.linalg.norm(dx, axis=1).max(), np.linalg.norm(dy, axis=1).max()))


def overlap(H: Transform, size: Size) -> float:
    """Fraction of a grid of reference pixels that is visible in a target of the same size."""
    xs, ys = np.meshgrid(np.linspace(0, size.width - 1, 33), np.linspace(0, size.height - 1, 25))
    grid = np.column_stack([xs.ravel(), ys.ravel()])
    return float(visible(transform_points(H, grid), size).mean())


def draw_camera(
    rng: np.random.Generator, size: Size, severity: float, max_rotation_deg: float, max_scale: float
) -> Camera:
    """Draw a target view.

    Tilt lies in [0.85, 1] `severity` 70 degrees, rotation and scale in [0.5, 1] of their maxima times `severity` with
    random sign, the shift of the centre within 0.12 `severity` of the side lengths. Draws are repeated until at least
    30 % of the reference is visible and no part of the target shrinks the reference more than five times; every draw
    lowers the tilt by 0.5 %, so that a view is found.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : Size
        Of the reference and the target.
    severity : float
        0 (identity) to 1.
    max_rotation_deg : float
    max_scale : float
        Largest magnification; its inverse is the largest reduction.

    Raises
    ------
    DataError
        If no such view is found in 200 draws.
    """
    for attempt in range(_ATTEMPTS):
        tilt = severity * MAX_TILT_DEG * rng.uniform(0.85, 1.0) * (1.0 - attempt / _ATTEMPTS)
        azimuth = rng.uniform(0.0, 2 * np.pi)
        rotation = severity * max_rotation_deg * rng.uniform(0.5, 1.0) * rng.choice([-1.0, 1.0])
        scale = float(max_scale ** (severity * rng.uniform(0.5, 1.0) * rng.choice([-1.0, 1.0])))
        shift = severity * _MAX_SHIFT * rng.uniform(-1.0, 1.0, 2) * (size.width, size.height)
        H = translation(shift[0], shift[1]) @ orbit(size, np.deg2rad(tilt), azimuth, np.deg2rad(rotation), scale)
        H = H / H[2, 2]
        seen = overlap(H, size)
        in_front = bool((third_coordinates(H, corners(size)) > 0).all())
        if in_front and seen >= _MIN_OVERLAP and _local_shrink(H, size) <= _MAX_SHRINK:
            return Camera(H, tilt, rotation, scale, seen)
    raise DataError(
        f"no view with rotation up to {max_rotation_deg:g} degrees and scale up to {max_scale:g} shows enough of the "
        "photograph; choose a smaller dataset.max_rotation_deg or dataset.max_scale"
    )


def render(source: Image, T_source_to_view: Transform, size: Size) -> Image:
    """Image of the plane under a transform, from the source in one resampling.

    Every pixel is the mean of 3x3 bicubic samples, which removes aliasing where the view has at least a third of the
    source's resolution.

    Parameters
    ----------
    source : (H, W) or (H, W, 3) uint8
    T_source_to_view : (3, 3) float64
    size : Size
        Of the view.

    Returns
    -------
    (size.height, size.width[, 3]) uint8
    """
    n = _SUPERSAMPLING
    to_samples = translation((n - 1) / 2, (n - 1) / 2) @ scaling(n, n)
    # OpenCV 5 reflects a coordinate only once, so the plane is laid out before it is warped.
    pad_y, pad_x = source.shape[0] - 1, source.shape[1] - 1
    plane = cv2.copyMakeBorder(source, pad_y, pad_y, pad_x, pad_x, cv2.BORDER_REFLECT_101)
    inverse = np.linalg.inv(to_samples @ T_source_to_view @ translation(-pad_x, -pad_y))
    samples = cv2.warpPerspective(
        plane,
        inverse / inverse[2, 2],
        (size.width * n, size.height * n),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(cv2.resize(samples, (size.width, size.height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _shading(rng: np.random.Generator, size: Size, strength: float) -> NDArray[np.float32]:
    """Smooth brightness factor: a linear gradient and one soft spot of light."""
    y, x = np.mgrid[0 : size.height, 0 : size.width].astype(np.float32)
    x, y = x / size.width - 0.5, y / size.height - 0.5
    angle = rng.uniform(0.0, 2 * np.pi)
    gradient = np.cos(angle) * x + np.sin(angle) * y
    at = rng.uniform(-0.4, 0.4, 2)
    radius = rng.uniform(0.2, 0.4)
    spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * radius**2))
    return np.asarray(np.exp(strength * (1.4 * gradient + 0.9 * (spot - 0.4))), dtype=np.float32)


def _shadow(rng: np.random.Generator, size: Size, strength: float) -> NDArray[np.float32]:
    """Brightness factor of a cast shadow with a straight, slightly soft edge through the middle part of the view."""
    y, x = np.mgrid[0 : size.height, 0 : size.width].astype(np.float32)
    angle = rng.uniform(0.0, 2 * np.pi)
    through = rng.uniform(0.3, 0.7, 2) * (size.width, size.height)
    distance = np.cos(angle) * (x - through[0]) + np.sin(angle) * (y - through[1])
    softness = rng.uniform(1.0, 6.0)
    depth = strength * rng.uniform(0.5, 0.8)
    return np.asarray(1.0 - depth / (1.0 + np.exp(np.clip(distance / softness, -30, 30))), dtype=np.float32)


def relight(image: Image, rng: np.random.Generator, severity: float) -> Image:
    """Change exposure, tone and shading, cast a shadow, blur, and add noise; the geometry stays.

    ``255 (shadow * shading * gain * image / 255) ** gamma``, Gaussian blur, Gaussian noise; strengths grow with
    `severity`.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) uint8
    rng : numpy.random.Generator
    severity : float
        0 (only the sensor noise of every view) to 1.

    Returns
    -------
    uint8, same shape
    """
    size = Size(*image.shape[:2])
    level = image.astype(np.float32) / 255.0
    sign = rng.choice([-1.0, 1.0])
    gain = 2.0 ** (sign * severity * rng.uniform(0.8, 1.8))
    # A darker exposure with a brighter tone curve and the other way round, as cameras do.
    gamma = 2.0 ** (sign * severity * rng.uniform(0.2, 0.8))
    shading = _shading(rng, size, severity) * _shadow(rng, size, severity)
    factor = np.float32(gain) * (shading if image.ndim == 2 else shading[:, :, None])
    level = np.clip(level * factor, 0.0, 1.0) ** np.float32(gamma)
    sigma = severity * rng.uniform(0.5, 1.8)
    if sigma > 0.1:
        level = cv2.GaussianBlur(level, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(1.5 + 14.0 * severity)
    return np.clip(np.rint(level * 255.0 + noise), 0, 255).astype(np.uint8)
