"""Pictures of the documentation, drawn by the package's own functions on a photograph, or from published numbers."""

from __future__ import annotations

import io

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import bench
from bench.core.types import Size
from bench.data.photos import photograph
from bench.features.nms import suppress
from bench.geometry.ground_truth import reprojection_error_px, shared_region
from bench.geometry.nearest import match
from bench.geometry.transforms import corner_error_px, corners, transform_points
from bench.schema import MatcherConfig, NmsConfig
from bench.summary.published import load

H_TRUE = np.array([[0.92, -0.22, 70.0], [0.20, 0.95, -28.0], [1e-4, 6e-5, 1.0]])
SIZE = Size(240, 320)
RIGHT, WRONG, TRUE, ESTIMATE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"


def _images() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    import cv2

    ref = cv2.resize(photograph("coffee.png"), (SIZE.width, SIZE.height), interpolation=cv2.INTER_AREA)
    ref = ref if ref.ndim == 2 else cv2.cvtColor(ref, cv2.COLOR_RGB2GRAY)
    return ref, cv2.warpPerspective(ref, H_TRUE, (SIZE.width, SIZE.height))


def _features(image: NDArray[np.uint8]) -> bench.Features:
    import cv2

    keypoints, descriptors = cv2.SIFT_create(150).detectAndCompute(image, None)
    xy = np.array([keypoint.pt for keypoint in keypoints], np.float32)
    scores = np.array([keypoint.response for keypoint in keypoints], np.float32)
    return bench.Features(xy, scores, descriptors, SIZE)


def _axes(columns: int = 2) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(1, columns, figsize=(4.2 * columns, 3.3), layout="constrained", squeeze=False)
    for axis in axes[0]:
        axis.set_axis_off()
    return figure, list(axes[0])


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()


def _outline(axis: Axes, points: NDArray[np.float64], colour: str, label: str) -> None:
    closed = np.vstack([points, points[:1]])
    axis.plot(closed[:, 0], closed[:, 1], color=colour, lw=2, label=label)


def _ring() -> NDArray[np.float64]:
    """The corners of the reference image in the order of an outline."""
    return np.asarray(corners(SIZE), np.float64)[[0, 1, 3, 2]]


def corner_error() -> bytes:
    """True and estimated outline, and the distances whose mean is the corner error."""
    _, target = _images()
    estimate = H_TRUE @ np.array([[1.05, 0.05, -12.0], [-0.04, 1.04, 9.0], [1e-4, 0, 1.0]])
    true, found = transform_points(H_TRUE, _ring()), transform_points(estimate, _ring())
    figure, (axis,) = _axes(1)
    axis.imshow(target, cmap="gray", alpha=0.6)
    _outline(axis, true, TRUE, "corners under the true homography")
    _outline(axis, found, ESTIMATE, "under the estimate")
    for a, b in zip(true, found, strict=True):
        axis.plot(*np.stack([a, b]).T, color=WRONG, lw=2)
    axis.set_title(
        f"corner error {corner_error_px(H_TRUE, estimate, SIZE):.1f} px: mean of the four distances", fontsize=9
    )
    axis.legend(fontsize=7, loc="lower right")
    return _svg(figure)


def region() -> bytes:
    """Keypoints inside and outside the shared region."""
    ref, target = _images()
    xy_ref, xy_target = _features(ref).keypoints, _features(target).keypoints
    masks = shared_region(xy_ref, xy_target, H_TRUE, SIZE, SIZE)
    figure, axes = _axes()
    for axis, image, xy, mask, name in zip(
        axes, (ref, target), (xy_ref, xy_target), masks, ("reference", "target"), strict=True
    ):
        axis.imshow(image, cmap="gray", alpha=0.6)
        axis.scatter(*xy[mask].T, s=9, color=RIGHT, label="counts")
        axis.scatter(*xy[~mask].T, s=14, color=WRONG, marker="x", label="not visible in the other image")
        axis.set_title(f"{name}: {mask.sum()} of {mask.size} keypoints in the shared region", fontsize=9)
        axis.legend(fontsize=7, loc="lower right")
    return _svg(figure)


def matches() -> bytes:
    """Mutual nearest neighbours, coloured by the truth."""
    ref, target = _images()
    f_ref, f_target = _features(ref), _features(target)
    pairs = match(f_ref, f_target, MatcherConfig(kind="mutual_nn", metric="l2")).indices
    error = reprojection_error_px(f_ref.keypoints[pairs[:, 0]], f_target.keypoints[pairs[:, 1]], H_TRUE)
    figure, (axis,) = _axes(1)
    figure.set_size_inches(8.4, 3.3)
    axis.imshow(np.hstack([ref, target]), cmap="gray", alpha=0.6)
    for (i, j), wrong in zip(pairs, error > 3, strict=True):
        start, end = f_ref.keypoints[i], f_target.keypoints[j] + np.float32([SIZE.width, 0])
        axis.plot(*np.stack([start, end]).T, color=WRONG if wrong else RIGHT, lw=0.7)
    axis.set_title(f"{len(pairs)} mutual nearest neighbours, {(error <= 3).sum()} within 3 px of the truth", fontsize=9)
    return _svg(figure)


def suppression() -> bytes:
    """A score map before and after box suppression."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[0:64, 0:86]
    score = np.zeros((64, 86), np.float32)
    for y, x, peak in zip(rng.uniform(5, 59, 14), rng.uniform(5, 81, 14), rng.uniform(0.3, 1, 14), strict=True):
        score = np.maximum(score, peak * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 12)).astype(np.float32)
    figure, axes = _axes()
    for axis, size in zip(axes, (0, 8), strict=True):
        nms = NmsConfig(kind="box" if size else "none", size=size or 8, iou=0.1, applies_to="maps")
        xy, _ = suppress(score, nms, 0.25, 1000, 0)
        axis.imshow(score, cmap="viridis")
        axis.scatter(*xy.T, s=8, color=WRONG)
        axis.set_title(f"{len(xy)} keypoints, " + (f"boxes of {size} px" if size else "no suppression"), fontsize=9)
    return _svg(figure)


def accuracy() -> bytes:
    """Accuracy and AUC as a curve over the threshold."""
    errors = np.sort(np.array([0.3, 0.5, 0.8, 1.1, 1.2, 1.9, 2.6, 3.4, 4.8, 9.0]))
    x = np.linspace(0, 6, 601)
    y = (errors[None] <= x[:, None]).mean(axis=1)
    figure, axis = plt.subplots(figsize=(5.6, 3.3), layout="constrained")
    axis.fill_between(x, y, where=x <= 5, color=RIGHT, alpha=0.2, label="AUC at 5 px: this area / 5")
    axis.plot(x, y, color=RIGHT)
    axis.plot([3, 3, 0], [0, y[300], y[300]], color=WRONG, ls="--", label=f"accuracy at 3 px: {y[300]:.1f}")
    axis.set(xlabel="threshold in px", ylabel="share of pairs", ylim=(0, 1), xlim=(0, 6))
    axis.legend(fontsize=8)
    return _svg(figure)


def protocols() -> bytes:
    """Accuracy of SuperPoint at 3 px, as each source published it, by protocol."""
    known = load()
    rows = known[
        (known["metric"] == "accuracy_3px")
        & (known["split"] == "all")
        & known["method"].isin(["superpoint", "superpoint_magicleap"])
        & (known["status"] != "stale")
    ].sort_values("value")
    figure, axis = plt.subplots(figsize=(6.4, 3.3), layout="constrained")
    names = [f"{row.protocol} ({row.source})" for row in rows.itertuples()]
    places = range(len(rows))
    axis.hlines(places, 0.65, rows["value"], color="0.8")
    axis.scatter(rows["value"], places, color=RIGHT, zorder=2)
    for place, value in zip(places, rows["value"], strict=True):
        axis.annotate(f"{value:.3f}", (value, place), (6, -3), textcoords="offset points", fontsize=8)
    axis.set_yticks(places, names, fontsize=8)
    axis.set(xlabel="published accuracy at 3 px", xlim=(0.65, 0.87), ylim=(-0.6, len(rows) - 0.4))
    return _svg(figure)


def pictures() -> dict[str, bytes]:
    """Name -> SVG."""
    mpl.rcParams["svg.hashsalt"] = "bench"
    return {
        "corner_error": corner_error(),
        "shared_region": region(),
        "matches": matches(),
        "suppression": suppression(),
        "accuracy": accuracy(),
        "protocols": protocols(),
    }
