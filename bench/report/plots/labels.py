"""Names beside points, placed so that no name covers another name or a point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from bench.report.plots.style import MUTED

Segment = tuple[tuple[float, float], tuple[float, float]]
"""Two ends of a straight line in data coordinates."""

_ANGLES_DEG = (20, -20, 45, -45, 160, -160, 135, -135, 90, -90, 0, 180)
_LEADER = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4}
_RADII_PT = (12, 20, 32, 46, 62, 80, 100, 125)


def place_labels(
    fig: Figure, ax: Axes, points: NDArray[np.float64], names: Sequence[str], lines: Sequence[Segment] = ()
) -> list[Bbox]:
    """Write a name beside each point and join it with a thin line where it had to move away.

    Candidate places lie on circles of growing radius; the first that is inside the axes and free is taken, or the one
    with the least overlap. Points are served from top to bottom, so the result does not depend on their order.

    Parameters
    ----------
    points : (N, 2) float64
        Data coordinates.
    names : sequence of str
        One per point.
    lines : sequence of Segment
        Horizontal and vertical lines that no name shall cover.

    Returns
    -------
    list of Bbox
        Boxes of the names in pixels of the figure, in the order of `points`.
    """
    fig.canvas.draw()
    renderer = fig.canvas.get_renderer()  # type: ignore[attr-defined]
    scale = fig.dpi / 72
    centres = ax.transData.transform(points)
    frame = ax.get_window_extent(renderer)
    taken = [Bbox.from_extents(x - 6 * scale, y - 6 * scale, x + 6 * scale, y + 6 * scale) for x, y in centres]
    for ends in lines:
        (x0, y0), (x1, y1) = ax.transData.transform(np.array(ends))
        taken.append(Bbox.from_extents(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)).padded(2 * scale))
    placed: dict[int, Bbox] = {}
    for i in sorted(range(len(points)), key=lambda k: (-centres[k][1], centres[k][0], names[k])):
        text = ax.annotate(names[i], points[i], xytext=(0, 0), textcoords="offset points", fontsize=10)
        size = text.get_window_extent(renderer)
        text.remove()
        best: tuple[float, float, float, Bbox] | None = None
        for radius in _RADII_PT:
            for angle in _ANGLES_DEG:
                dx, dy = radius * np.cos(np.radians(angle)), radius * np.sin(np.radians(angle))
                box = _box(centres[i], dx * scale, dy * scale, size.width, size.height)
                cost = sum(_overlap(box, other) for other in taken) + 10 * _outside(box, frame)
                if best is None or cost < best[0]:
                    best = (cost, dx, dy, box)
            if best is not None and best[0] == 0:
                break
        assert best is not None
        _, dx, dy, box = best
        far = np.hypot(dx, dy) > _RADII_PT[0]
        ax.annotate(
            names[i],
            points[i],
            xytext=(dx, dy),
            textcoords="offset points",
            fontsize=10,
            ha="left" if dx > 1e-9 else "right" if dx < -1e-9 else "center",
            va="center",
            arrowprops=_LEADER if far else None,
            zorder=4,
        )
        placed[i] = box
        taken.append(box)
    return [placed[i] for i in range(len(points))]


def _box(centre: NDArray[np.float64], dx: float, dy: float, width: float, height: float) -> Bbox:
    left = centre[0] + dx - (0 if dx > 1e-9 else width if dx < -1e-9 else width / 2)
    return Bbox.from_bounds(left, centre[1] + dy - height / 2, width, height)


def _overlap(a: Bbox, b: Bbox) -> float:
    """Shared area in square pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(max(width, 0.0) * max(height, 0.0))


def _outside(box: Bbox, frame: Bbox) -> float:
    """Area of `box` outside `frame` in square pixels."""
    return float(box.width * box.height - _overlap(box, frame))
