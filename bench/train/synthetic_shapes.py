"""Synthetic Shapes: drawings whose corners are known, to teach MagicPoint what a corner is.

Every drawing is a pure function of a random generator.  Shapes are drawn at twice the size with exact vertices and
reduced, so that edges are smooth and the vertices keep their sub-pixel place.

References
----------
DeTone, Malisiewicz, Rabinovich: SuperPoint, CVPRW 2018, section 4 and figure 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.types import Size

Array = npt.NDArray[Any]
Rng = np.random.Generator

OVERSAMPLING = 2
_SHIFT_BITS = 4


class _Canvas:
    """A drawing in progress: pixels at ``OVERSAMPLING`` times the size, and the corners drawn so far."""

    def __init__(self, rng: Rng, size: Size) -> None:
        import cv2

        self.rng = rng
        self.width, self.height = size.width * OVERSAMPLING, size.height * OVERSAMPLING
        self.side = min(self.width, self.height)
        base = rng.uniform(20, 235)
        knots = base + rng.normal(0, rng.uniform(0, 30), tuple(rng.integers(2, 7, 2)))
        field = cv2.resize(knots.astype(np.float32), (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        self.pixels = np.clip(field, 0, 255).astype(np.float32)
        self.corners = np.zeros((0, 2))

    def colour(self, other: float, contrast: float = 25.0) -> float:
        """A grey value that differs from another by at least ``contrast``."""
        while True:
            value = float(self.rng.uniform(0, 255))
            if abs(value - other) >= contrast:
                return value

    def background(self, vertices: Array) -> float:
        """Mean grey value around some vertices."""
        x = np.clip(np.rint(vertices[:, 0]).astype(int), 0, self.width - 1)
        y = np.clip(np.rint(vertices[:, 1]).astype(int), 0, self.height - 1)
        return float(self.pixels[y, x].mean())

    def point(self) -> Array:
        return self.rng.uniform((0, 0), (self.width, self.height))

    def fill(self, vertices: Array, value: float) -> None:
        """Fill a polygon; corners that it covers are forgotten."""
        import cv2

        if len(self.corners):
            inside = [cv2.pointPolygonTest(vertices.astype(np.float32), tuple(c), True) > -2.0 for c in self.corners]
            self.corners = self.corners[~np.array(inside)]
        fixed = np.rint(vertices * (1 << _SHIFT_BITS)).astype(np.int32)
        cv2.fillPoly(self.pixels, [fixed], value, cv2.LINE_AA, _SHIFT_BITS)

    def line(self, start: Array, end: Array, value: float, thickness_px: int) -> None:
        import cv2

        ends = np.rint(np.stack([start, end]) * (1 << _SHIFT_BITS)).astype(int)
        cv2.line(self.pixels, ends[0].tolist(), ends[1].tolist(), value, thickness_px, cv2.LINE_AA, _SHIFT_BITS)

    def add(self, corners: Array) -> None:
        self.corners = np.concatenate([self.corners, np.asarray(corners, dtype=np.float64).reshape(-1, 2)])


def _polygon_vertices(canvas: _Canvas, centre: Array, radius: float, count: int) -> Array:
    """Vertices around a centre with a least angle between neighbours, so that every one is a visible corner."""
    rng = canvas.rng
    steps = rng.uniform(0.6, 1.4, count)
    angles = np.cumsum(steps / steps.sum()) * 2 * np.pi + rng.uniform(0, 2 * np.pi)
    radii = radius * rng.uniform(0.6, 1.0, count)
    vertices: Array = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return vertices


def _sharp(vertices: Array, flattest_deg: float = 155.0) -> Array:
    """Which vertices of a closed polygon bend enough to be seen as a corner."""
    before = np.roll(vertices, 1, axis=0) - vertices
    after = np.roll(vertices, -1, axis=0) - vertices
    cosine = (before * after).sum(1) / (np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1) + 1e-9)
    sharp: Array = cosine > np.cos(np.deg2rad(flattest_deg))
    return sharp


def _lines(canvas: _Canvas) -> None:
    rng = canvas.rng
    segments: list[tuple[Array, Array]] = []
    for _ in range(int(rng.integers(1, 9))):
        start, end = canvas.point(), canvas.point()
        if np.linalg.norm(end - start) < 0.2 * canvas.side:
            continue
        if any(_segments_near(start, end, *other) for other in segments):
            continue
        segments.append((start, end))
        colour = canvas.colour(canvas.background(np.stack([start, end])))
        canvas.line(start, end, colour, int(rng.integers(2, max(3, int(0.03 * canvas.side)))))
        canvas.add(np.stack([start, end]))


def _segments_near(a: Array, b: Array, c: Array, d: Array) -> bool:
    """Whether two segments come within a few pixels of one another (sampled)."""
    t = np.linspace(0, 1, 24)[:, None]
    first, second = a + t * (b - a), c + t * (d - c)
    return bool(np.linalg.norm(first[:, None] - second[None], axis=2).min() < 12)


def _polygon(canvas: _Canvas) -> None:
    rng = canvas.rng
    radius = rng.uniform(0.12, 0.5) * canvas.side
    vertices = _polygon_vertices(canvas, canvas.point(), radius, int(rng.integers(3, 7)))
    canvas.fill(vertices, canvas.colour(canvas.background(vertices)))
    canvas.add(vertices[_sharp(vertices)])


def _polygons(canvas: _Canvas) -> None:
    for _ in range(int(canvas.rng.integers(2, 12))):
        radius = canvas.rng.uniform(0.06, 0.25) * canvas.side
        vertices = _polygon_vertices(canvas, canvas.point(), radius, int(canvas.rng.integers(3, 7)))
        canvas.fill(vertices, canvas.colour(canvas.background(vertices)))
        canvas.add(vertices[_sharp(vertices)])


def _star(canvas: _Canvas) -> None:
    rng = canvas.rng
    centre = canvas.point() * 0.6 + np.array([canvas.width, canvas.height]) * 0.2
    arms = _polygon_vertices(canvas, centre, rng.uniform(0.2, 0.5) * canvas.side, int(rng.integers(3, 7)))
    thickness_px = int(rng.integers(2, max(3, int(0.025 * canvas.side))))
    background = canvas.background(arms)
    for arm in arms:
        canvas.line(centre, arm, canvas.colour(background), thickness_px)
    canvas.add(np.concatenate([centre[None], arms]))


def _random_frame(canvas: _Canvas) -> Array:
    """Homography from the unit square to a tilted quadrilateral of the canvas."""
    import cv2

    rng = canvas.rng
    extent = rng.uniform(0.5, 1.3)
    angle = rng.uniform(-np.pi, np.pi)
    square = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) - 0.5) * (canvas.side * extent)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    quad = square @ rotation.T + rng.normal(0, 0.1 * canvas.side * extent, (4, 2))
    quad += canvas.point() * 0.5 + np.array([canvas.width, canvas.height]) * 0.25
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    frame: Array = cv2.getPerspectiveTransform(unit, quad.astype(np.float32))
    return frame


def _map(frame: Array, points: Array) -> Array:
    mapped = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ frame.T
    result: Array = mapped[:, :2] / np.where(np.abs(mapped[:, 2:]) < 1e-6, 1e-6, mapped[:, 2:])
    return result


def _checkerboard(canvas: _Canvas) -> None:
    rng = canvas.rng
    rows, columns = (int(n) for n in rng.integers(3, 8, 2))
    frame = _random_frame(canvas)
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    corners = _map(frame, np.stack([u.ravel(), v.ravel()], axis=1)).reshape(rows + 1, columns + 1, 2)
    dark = canvas.colour(canvas.background(corners.reshape(-1, 2)), 15)
    light = canvas.colour(dark, 50)
    for i in range(rows):
        for j in range(columns):
            value = np.clip((dark, light)[(i + j) % 2] + rng.normal(0, 5), 0, 255)
            canvas.fill(np.stack([corners[i, j], corners[i, j + 1], corners[i + 1, j + 1], corners[i + 1, j]]), value)
    canvas.add(corners.reshape(-1, 2))


def _stripes(canvas: _Canvas) -> None:
    rng = canvas.rng
    count = int(rng.integers(3, 11))
    widths = rng.uniform(0.4, 1.0, count)
    edges = np.concatenate([[0.0], np.cumsum(widths / widths.sum())])
    frame = _random_frame(canvas)
    top = _map(frame, np.stack([edges, np.zeros(count + 1)], axis=1))
    bottom = _map(frame, np.stack([edges, np.ones(count + 1)], axis=1))
    value = canvas.background(np.concatenate([top, bottom]))
    for i in range(count):
        value = canvas.colour(value, 30)
        canvas.fill(np.stack([top[i], top[i + 1], bottom[i + 1], bottom[i]]), value)
    canvas.add(np.concatenate([top, bottom]))


def _cube(canvas: _Canvas) -> None:
    rng = canvas.rng
    sides = rng.uniform(0.2, 0.45, 3) * canvas.side
    unit = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], dtype=np.float64)
    first, second = rng.uniform(0.15 * np.pi, 0.35 * np.pi, 2)
    turn = np.array([[np.cos(first), -np.sin(first), 0], [np.sin(first), np.cos(first), 0], [0, 0, 1]])
    lean = np.array([[1, 0, 0], [0, np.cos(second), -np.sin(second)], [0, np.sin(second), np.cos(second)]])
    space = (unit - 0.5) * sides @ (lean @ turn).T
    depth = space[:, 2]
    roll = rng.uniform(-np.pi, np.pi)
    plane = space[:, :2] @ np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]).T
    plane = plane + canvas.point() * 0.5 + np.array([canvas.width, canvas.height]) * 0.25
    hidden = int(depth.argmin())
    near = hidden ^ 7
    colours: list[float] = []
    for axis in range(3):
        # The three faces that meet in the nearest vertex; vertex numbers are bit patterns of (z, y, x).
        others = [bit for bit in range(3) if bit != axis]
        face = [near, near ^ (1 << others[0]), near ^ (1 << others[0]) ^ (1 << others[1]), near ^ (1 << others[1])]
        colour = canvas.colour(canvas.background(plane[face]))
        while any(abs(colour - other) < 20 for other in colours):
            colour = float(rng.uniform(0, 255))
        colours.append(colour)
        canvas.fill(plane[face], colour)
    canvas.add(plane[[i for i in range(8) if i != hidden]])


def _ellipses(canvas: _Canvas) -> None:
    import cv2

    rng = canvas.rng
    for _ in range(int(rng.integers(1, 12))):
        centre = canvas.point()
        axes = rng.uniform(0.04, 0.25, 2) * canvas.side
        colour = canvas.colour(canvas.background(centre[None]))
        fixed = np.rint(np.concatenate([centre, axes]) * (1 << _SHIFT_BITS)).astype(int).tolist()
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(
            canvas.pixels, fixed[:2], fixed[2:], angle, 0, 360, colour, -1, lineType=cv2.LINE_AA, shift=_SHIFT_BITS
        )


def _noise(canvas: _Canvas) -> None:
    import cv2

    rng = canvas.rng
    noise = rng.normal(0, rng.uniform(10, 60), (canvas.height, canvas.width)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.5, 2.5))
    canvas.pixels = np.clip(canvas.pixels + noise, 0, 255)


SHAPES: dict[str, Callable[[_Canvas], None]] = {
    "lines": _lines,
    "polygon": _polygon,
    "polygons": _polygons,
    "star": _star,
    "checkerboard": _checkerboard,
    "stripes": _stripes,
    "cube": _cube,
    "ellipses": _ellipses,
    "noise": _noise,
}
"""Every kind of drawing.  ``ellipses`` and ``noise`` have no corners: they teach what a keypoint is not."""


def render(rng: Rng, size: Size, shape: str) -> tuple[Array, Array]:
    """Draw one image of a kind.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where every random number comes from.
    size : Size
        Size of the image.
    shape : str
        A key of ``SHAPES``.

    Returns
    -------
    image : (H, W) float32 in [0, 1]
    corners : (N, 2) float32
        xy of the visible corners inside the image, pixel centres at integers.
    """
    import cv2

    canvas = _Canvas(rng, size)
    SHAPES[shape](canvas)
    reduced = cv2.resize(canvas.pixels, (size.width, size.height), interpolation=cv2.INTER_AREA)
    corners = (canvas.corners + 0.5) / OVERSAMPLING - 0.5
    inside = ((corners > -0.5) & (corners < np.array([size.width, size.height]) - 0.5)).all(axis=1)
    return np.clip(reduced / 255.0, 0.0, 1.0).astype(np.float32), corners[inside].astype(np.float32)
