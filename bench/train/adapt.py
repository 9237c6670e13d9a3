"""Homographic Adaptation: the keypoints of a photograph are those that a detector finds again in its warps.

Every view gives points; they are mapped back exactly, their scores are added up on the photograph's pixel grid,
smoothed, and divided by the number of views that saw the pixel.  Local maxima of the result are the labels.

References
----------
DeTone, Malisiewicz, Rabinovich: SuperPoint, CVPRW 2018, section 5.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import ConfigError, DataError
from bench.core.files import staged_file
from bench.core.progress import track
from bench.core.types import Size
from bench.models.network import CELL_PX, build_network
from bench.models.weights import load_weights, set_network_weights
from bench.train.backend import inference
from bench.train.config import AdaptConfig, AdaptDetector
from bench.train.data import ADAPT_STREAM, Photograph, generator, list_photographs, read_photograph
from bench.train.loop import refuse_other_settings
from bench.train.warps import random_homography, warp_image, warp_points

Array = npt.NDArray[Any]
Detector = Callable[[Array], list[tuple[Array, Array]]]
"""(V, H, W) uint8 views -> for each view points (N, 2) float xy and scores (N,) float in [0, 1]."""

VIEW_THRESHOLD = 0.005
"""Least probability of a point in one view."""
CORNER_BLUR_SIGMA_PX = 0.8
"""Blur before a corner detector, in pixels of the photograph."""
CORNER_REFERENCE_RANK = 50
VIEW_BORDER_PX = 4
"""Points of a view closer than this to the photograph's border or the view's border are not trusted."""


def local_maxima(scores: Array, radius_px: int, threshold: float) -> tuple[Array, Array]:
    """Local maxima of a map in squares of side ``2 radius_px + 1``, refined to sub-pixel by a parabola in x and in y.

    Parameters
    ----------
    scores : (H, W) float32
    radius_px : int
    threshold : float
        Smaller maxima are left out.

    Returns
    -------
    points : (N, 2) float32, xy, best first
    values : (N,) float32
    """
    import cv2

    kernel = np.ones((2 * radius_px + 1,) * 2, np.uint8)
    peaks = (scores >= cv2.dilate(scores, kernel)) & (scores >= threshold) & (scores > 0)
    rows, columns = np.nonzero(peaks)
    values = scores[rows, columns]
    order = np.lexsort((columns, rows, -values))
    rows, columns, values = rows[order], columns[order], values[order]
    padded = np.pad(scores, 1, mode="edge")
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    for axis, (dy, dx) in enumerate(((0, 1), (1, 0))):
        before, after = padded[rows + 1 - dy, columns + 1 - dx], padded[rows + 1 + dy, columns + 1 + dx]
        curvature = np.maximum(2 * values - before - after, 1e-9)
        points[:, axis] += np.clip(0.5 * (after - before) / curvature, -0.5, 0.5)
    return points, values.astype(np.float32)


def corner_response(view: Array, kind: str, sigma_px: float) -> Array:
    """Corner response of a lightly blurred view: Shi-Tomasi's smaller eigenvalue or Harris' measure.

    Parameters
    ----------
    view : (H, W) uint8
    kind : {"shi_tomasi", "harris"}
    sigma_px : float
        Standard deviation of the blur.

    Returns
    -------
    (H, W) float32
    """
    import cv2

    blurred = cv2.GaussianBlur(view, (0, 0), sigma_px)
    if kind == "harris":
        # An even block would shift all corners by half a pixel.
        return np.asarray(cv2.cornerHarris(blurred, 5, 3, 0.04))
    return np.asarray(cv2.cornerMinEigenVal(blurred, 3))


def corner_detector(kind: str, config: AdaptConfig) -> Detector:
    """Corners of views, scored relative to the ``CORNER_REFERENCE_RANK``-th largest response of the view.

    So the score hardly depends on contrast.  Shi-Tomasi's is the root of the relative response, and at most 1.
    Harris' is the relative response itself, so that the strongest corners outweigh how often weak ones are found.
    """

    def detect(views: Array) -> list[tuple[Array, Array]]:
        found = []
        for view in views:
            response = corner_response(view, kind, CORNER_BLUR_SIGMA_PX * config.magnification)
            rank = min(CORNER_REFERENCE_RANK, response.size)
            reference = max(float(np.partition(response.ravel(), -rank)[-rank]), 1e-12)
            points, values = local_maxima(response, 3, reference * 1e-4)
            relative = values[: config.max_keypoints] / reference
            scores = relative if kind == "harris" else np.sqrt(np.minimum(relative, 1))
            found.append((points[: config.max_keypoints], scores))
        return found

    return detect


def network_detector(weights: Path, config: AdaptConfig, dtype: str, compile_network: bool) -> Detector:
    """Keypoints of a MagicPoint or SuperPoint network, scored by their probability.

    Raises
    ------
    ModelError
        If the weights are unusable.
    """
    network = build_network(descriptors=False, dtype=dtype)
    arrays = {name: array for name, array in load_weights(weights).items() if "/descriptor/" not in name}
    set_network_weights(network, arrays, str(weights))
    forward = inference(network, compile_network)

    def detect(views: Array) -> list[tuple[Array, Array]]:
        _, height, width = views.shape
        padding = ((0, 0), (0, -height % CELL_PX), (0, -width % CELL_PX))
        images = np.pad(views, padding, mode="reflect").astype(np.float32)[..., None] / np.float32(255)
        logits = forward(images)["logits"]
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        cells = (exponentials / exponentials.sum(axis=-1, keepdims=True))[..., :-1]
        count, rows, columns, _ = cells.shape
        blocks = cells.reshape(count, rows, columns, CELL_PX, CELL_PX).transpose(0, 1, 3, 2, 4)
        prob = np.ascontiguousarray(blocks.reshape(count, rows * CELL_PX, columns * CELL_PX)[:, :height, :width])
        radius_px = round(config.nms_radius_px * config.magnification)
        return [local_maxima(each, radius_px, VIEW_THRESHOLD) for each in prob]

    return detect


def adapt_photograph(rng: np.random.Generator, image: Array, detect: Detector, config: AdaptConfig) -> Array:
    """Mean score of every pixel over the views of a photograph.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the warps; the first view is the photograph itself.
    image : (H, W) uint8
        Already magnified.
    detect : Detector
    config : AdaptConfig

    Returns
    -------
    (H, W) float32
        1 where every view has a point of score 1 at the same place; 0 where fewer than ``min_views`` views saw it.
    """
    import cv2

    size = Size(*image.shape)
    centre = np.array([(size.width - 1) / 2, (size.height - 1) / 2])
    homographies = [np.eye(3)] + [random_homography(rng, centre, size, config.warp) for _ in range(config.warps - 1)]
    frame = (size.width, size.height)
    total = np.zeros(image.shape, np.float64)
    seen = np.zeros(image.shape, np.float32)
    border = np.ones((2 * VIEW_BORDER_PX + 1,) * 2, np.uint8)
    everywhere = np.ones(image.shape, np.uint8)
    warped = [warp_image(image, homography, size) for homography in homographies]
    for homography, (_, valid), (points, scores) in zip(
        homographies, warped, detect(np.stack([view for view, _ in warped])), strict=True
    ):
        trusted = cv2.erode(valid.astype(np.uint8), border, borderValue=0)
        inverse = np.linalg.inv(homography)
        seen += cv2.warpPerspective(trusted, inverse, frame, flags=cv2.INTER_NEAREST) * everywhere
        pixels = np.rint(points).astype(int)
        keep = trusted[pixels[:, 1].clip(0, size.height - 1), pixels[:, 0].clip(0, size.width - 1)] > 0
        _splat(total, warp_points(inverse, points[keep]), scores[keep])
    sigma_px = config.smoothing_sigma_px * config.magnification
    smooth = cv2.GaussianBlur(total.astype(np.float32), (0, 0), sigma_px, borderType=cv2.BORDER_CONSTANT)
    # So scaled, one exactly repeated point of score 1 gives 1.
    smooth *= 2 * np.pi * sigma_px**2
    return np.where(seen >= config.min_views, smooth / np.maximum(seen, 1), 0).astype(np.float32)


def _splat(total: Array, points: Array, scores: Array) -> None:
    """Add scores to a map at sub-pixel places, shared among the four pixels around each."""
    height, width = total.shape
    corner = np.floor(points)
    fraction = points - corner
    for dx in (0, 1):
        for dy in (0, 1):
            share = np.abs(1 - dx - fraction[:, 0]) * np.abs(1 - dy - fraction[:, 1]) * scores
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
            np.add.at(total, (y[inside].astype(int), x[inside].astype(int)), share[inside])


def keypoint_map(rng: np.random.Generator, image: Array, detectors: list[Detector], config: AdaptConfig) -> Array:
    """The map of one detector, or the mean of the maps of several, each relative to its 99.9th percentile."""
    maps = [adapt_photograph(rng, image, detect, config) for detect in detectors]
    if len(maps) == 1:
        # Harris' response grows with the fourth power of contrast; its root spreads the labels' weights evenly.
        return np.sqrt(np.sqrt(maps[0])) if config.detector == AdaptDetector.harris else maps[0]
    relative = [each / max(float(np.percentile(each, 99.9)), 1e-6) for each in maps]
    return np.asarray(np.mean(relative, axis=0, dtype=np.float32))


def label_photograph(
    rng: np.random.Generator, image: Array, detectors: list[Detector], config: AdaptConfig
) -> dict[str, Array]:
    """Pseudo ground truth of a photograph, found on the magnified photograph.

    Returns
    -------
    dict
        ``map`` (H, W) float16, the scores of all pixels; ``keypoints`` (N, 2) float32, xy in pixels of the photograph,
        its local maxima, best first; ``scores`` (N,) float32.
    """
    import cv2

    factor, frame = config.magnification, image.shape[::-1]
    if factor != 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    scores = keypoint_map(rng, image, detectors, config)
    points, values = local_maxima(scores, round(config.nms_radius_px * factor), config.threshold)
    points = (points + 0.5) / factor - 0.5
    if factor != 1:
        scores = cv2.resize(scores, frame, interpolation=cv2.INTER_AREA)
    return {
        "keypoints": points[: config.max_keypoints].astype(np.float32),
        "scores": values[: config.max_keypoints],
        "map": scores.astype(np.float16),
    }


def adapt_folder(
    data: str | Path, out: Path, weights: Path, config: AdaptConfig, seed: int, dtype: str, compile_network: bool
) -> Path:
    """Label every photograph of a folder; photographs already labelled with the same settings are left alone.

    Parameters
    ----------
    data : path
        Folder of photographs.
    out : Path
        Gets one ``.npz`` a photograph with the arrays of :func:`label_photograph`.
    weights : Path
        Weights of the network, where the detector has one.
    config, seed, dtype, compile_network
        As in :class:`bench.train.config.TrainConfig`.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    ConfigError
        If ``out`` holds labels made with other settings.
    DataError, ModelError
        If the photographs or the weights are unusable.
    """
    paths = list_photographs(data)
    settings: dict[str, Any] = {"seed": seed, "dtype": dtype, "adapt": asdict(config)}
    del settings["adapt"]["weights"]
    detectors = []
    if config.detector in (AdaptDetector.magicpoint, AdaptDetector.both):
        settings["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        detectors.append(network_detector(weights, config, dtype, compile_network))
    if config.detector != AdaptDetector.magicpoint:
        detectors.append(corner_detector("harris" if config.detector == AdaptDetector.harris else "shi_tomasi", config))
    out.mkdir(parents=True, exist_ok=True)
    for path in track(paths, "adapt"):
        target = label_path(out, Path(data), path)
        if target.is_file():
            with np.load(target, allow_pickle=False) as archive:
                refuse_other_settings(target, json.loads(str(archive["settings"])), settings)
            continue
        rng = generator(seed, ADAPT_STREAM, zlib.crc32(target.name.encode()))
        image = read_photograph(path, config.short_side_px)
        label = label_photograph(rng, image, detectors, config)
        with staged_file(target) as part, part.open("wb") as file:
            np.savez_compressed(
                file,
                settings=np.str_(json.dumps(settings)),
                map=label["map"],
                keypoints=label["keypoints"],
                scores=label["scores"],
            )
    return out


def label_path(labels: Path, data: Path, photograph: Path) -> Path:
    """Where the label of a photograph is stored: one flat folder, sub-folders joined by two underscores."""
    return labels / ("__".join(photograph.relative_to(data).parts) + ".npz")


def load_photographs(data: str | Path, labels: Path, short_side_px: int) -> list[Photograph]:
    """Read a folder of photographs with their labels.

    Raises
    ------
    ConfigError
        If a photograph has no label.
    DataError
        If a photograph cannot be read, or no photograph has a keypoint.
    """
    photos = []
    for path in list_photographs(data):
        label = label_path(labels, Path(data), path)
        if not label.is_file():
            raise ConfigError(f"{path}: no label at {label}; run stage=adapt with the same data and out")
        with np.load(label, allow_pickle=False) as archive:
            photos.append(
                Photograph(
                    read_photograph(path, short_side_px), archive["keypoints"], archive["scores"], archive["map"]
                )
            )
    if not any(len(photo.keypoints) for photo in photos):
        raise DataError(f"{labels}: no keypoint in any label; lower adapt.threshold or train magicpoint longer")
    return photos


def labels_digest(labels: Path) -> str:
    """SHA-256 over the keypoints, scores and maps of all labels in a folder."""
    digest = hashlib.sha256()
    for path in sorted(labels.glob("*.npz")):
        with np.load(path, allow_pickle=False) as archive:
            digest.update(path.name.encode())
            for key in ("keypoints", "scores", "map"):
                digest.update(np.ascontiguousarray(archive[key]).tobytes())
    return digest.hexdigest()
