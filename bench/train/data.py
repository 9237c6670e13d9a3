"""Training batches.  A batch is a pure function of (seed, step), so a resumed training sees the same data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import DataError
from bench.core.types import Size
from bench.data.images import read_image
from bench.data.prepare import to_grey
from bench.models.network import CELL_PX
from bench.train.config import (
    DetectorTarget,
    DetectorTargetConfig,
    PhaseConfig,
    SuperPointConfig,
    SyntheticShapesConfig,
)
from bench.train.photometric import augment
from bench.train.synthetic_shapes import SHAPES, render
from bench.train.warps import WarpConfig, random_homography, warp_image, warp_points

Array = npt.NDArray[Any]
Batch = tuple[Array, dict[str, Array]]

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

MAGICPOINT_STREAM, ADAPT_STREAM, SUPERPOINT_STREAM, PREVIEW_STREAM = range(4)
"""First word after the seed: keeps the random numbers of the stages apart."""

MIN_CORNER_CONTRAST = 0.02
"""Least standard deviation of the grey values around a labelled corner of a drawing."""


def generator(seed: int, stream: int, *indices: int) -> np.random.Generator:
    """The random generator of one item of one stage."""
    return np.random.default_rng([seed, stream, *indices])


def split_cells(values: Array) -> Array:
    """Row-major pixels of every 8x8 cell of a map: (H, W) -> (H/8, W/8, 64)."""
    height, width = values.shape
    blocks = values.reshape(height // CELL_PX, CELL_PX, width // CELL_PX, CELL_PX)
    return blocks.transpose(0, 2, 1, 3).reshape(height // CELL_PX, width // CELL_PX, CELL_PX**2)


def cell_targets(prob: Array) -> Array:
    """Distribution over the 65 channels of every cell that has the given probability at each pixel.

    Parameters
    ----------
    prob : (H, W) float
        Not negative; H and W multiples of 8.  Where a cell's sum exceeds 1 it is scaled to 1.

    Returns
    -------
    (H/8, W/8, 65) float32
        The last channel, "no keypoint", has the rest; the sum is 1.
    """
    cells = split_cells(prob)
    cells = cells / np.maximum(cells.sum(axis=-1, keepdims=True), 1)
    rest = np.maximum(1 - cells.sum(axis=-1, keepdims=True), 0)
    return np.concatenate([cells, rest], axis=-1).astype(np.float32)


def point_prob(points: Array, size: Size, weights: Array | None = None) -> Array:
    """Probability map of keypoints: the weight of each at its pixel, one keypoint a cell.

    Parameters
    ----------
    points : (N, 2) float
        xy, best first: where a cell holds several keypoints, the first one counts.  Points outside are ignored.
    size : Size
        Multiples of 8.
    weights : (N,) float in [0, 1], optional
        Probability that the point is a keypoint; default 1.

    Returns
    -------
    (height, width) float32
    """
    prob = np.zeros((size.height, size.width), np.float32)
    weights = np.ones(len(points), np.float32) if weights is None else weights
    finite = np.isfinite(points).all(axis=1)
    pixels = np.floor(points[finite] + 0.5).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < (size.width, size.height))).all(axis=1)
    x, y = pixels[inside].T
    _, first = np.unique(y // CELL_PX * size.width + x // CELL_PX, return_index=True)
    prob[y[first], x[first]] = weights[finite][inside][first]
    return prob


def synthetic_sample(rng: np.random.Generator, config: SyntheticShapesConfig, shape: str) -> tuple[Array, Array]:
    """One augmented drawing and the corners that can still be seen in it.

    Returns
    -------
    image : (H, W) float32 in [0, 1]
    corners : (N, 2) float32, xy
    """
    import cv2

    image, corners = render(rng, Size(config.height, config.width), shape)
    image = augment(rng, image, config.photometric)
    if len(corners):
        mean, mean_of_squares = cv2.blur(image, (7, 7)), cv2.blur(image * image, (7, 7))
        x = np.clip(np.rint(corners[:, 0]).astype(int), 0, config.width - 1)
        y = np.clip(np.rint(corners[:, 1]).astype(int), 0, config.height - 1)
        variance = mean_of_squares[y, x] - mean[y, x] ** 2
        corners = corners[variance > MIN_CORNER_CONTRAST**2]
    return image, corners


def magicpoint_batch(seed: int, step: int, count: int, config: SyntheticShapesConfig) -> Batch:
    """Drawings of one training step.

    Returns
    -------
    images : (count, H, W, 1) float32 in [0, 1]
    targets : dict
        ``cells`` (count, H/8, W/8, 65) and ``mask`` (count, H/8, W/8), all ones; float32.
    """
    names = config.shapes or list(SHAPES)
    images, cells = [], []
    for i in range(count):
        rng = generator(seed, MAGICPOINT_STREAM, step, i)
        image, corners = synthetic_sample(rng, config, names[int(rng.integers(len(names)))])
        images.append(image)
        cells.append(cell_targets(point_prob(corners, Size(config.height, config.width))))
    targets = np.stack(cells)
    return np.stack(images)[..., None], {"cells": targets, "mask": np.ones(targets.shape[:-1], np.float32)}


def list_photographs(folder: str | Path) -> list[Path]:
    """Image files of a folder, by name, sub-folders included.

    Raises
    ------
    DataError
        If there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"data={folder}: no such folder; give a folder of photographs")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError(f"data={folder}: no image files ({', '.join(IMAGE_SUFFIXES)}) in this folder")
    return paths


def read_photograph(path: Path, short_side_px: int) -> Array:
    """Read a photograph in grey, reduced to a short side where it is larger.

    Returns
    -------
    (H, W) uint8

    Raises
    ------
    DataError
        If the file is no image, or too small to train on.
    """
    import cv2

    image: Array = to_grey(read_image(path), "bt601", fractional=False)
    short = min(image.shape)
    if short < 64:
        raise DataError(f"{path}: short side is {short} px, at least 64 px are needed; remove the file")
    if short > short_side_px:
        factor = short_side_px / short
        frame = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        image = cv2.resize(image, frame, interpolation=cv2.INTER_AREA)
    return np.asarray(image)


@dataclass(frozen=True)
class Photograph:
    """A photograph with its pseudo ground truth.

    The image is (H, W) uint8; the keypoints are (N, 2) float32 xy, best first; the scores (N,) float32; the map, whose
    local maxima the keypoints are, is (H, W) float16.
    """

    image: Array
    keypoints: Array
    scores: Array
    map: Array

    def reference_score(self, rank: int) -> float:
        """Score of the keypoint of a rank, from 1; of the last one where there are fewer, 1 where there are none."""
        return float(self.scores[min(rank, len(self.scores)) - 1]) if len(self.scores) else 1.0

    def prob(self, target: DetectorTargetConfig, reference_rank: int) -> Array:
        """Probability of a keypoint at every pixel, from the map: (H, W) float32.

        ``gain (s / s_rank)^power (s / largest s within 2 px)^sharpness``.
        """
        import cv2

        scores = self.map.astype(np.float32)
        prob = target.gain * (scores / np.float32(self.reference_score(reference_rank))) ** np.float32(target.power)
        if target.sharpness:
            largest = np.maximum(cv2.dilate(scores, np.ones((5, 5), np.uint8)), np.float32(1e-6))
            prob *= (scores / largest) ** np.float32(target.sharpness)
        return np.asarray(prob, dtype=np.float32)

    def weights(self, reference_rank: int) -> Array:
        """Probability of every keypoint: its score relative to that of a rank, at most 1; rank 0: all 1."""
        if not reference_rank or not len(self.scores):
            return np.ones(len(self.scores), np.float32)
        return np.asarray(np.minimum(self.scores / self.reference_score(reference_rank), 1), dtype=np.float32)


def _view(rng: np.random.Generator, photo: Photograph, prob: Array, homography: Array, config: SuperPointConfig) -> Any:
    """One augmented crop of the size of its keypoint probabilities: image, pixels that count, targets, cell mask."""
    import cv2

    image, valid = warp_image(photo.image, homography, Size(*prob.shape))
    if config.border_px:
        kernel = np.ones((2 * config.border_px + 1,) * 2, np.uint8)
        valid = cv2.erode(valid.astype(np.uint8), kernel, borderValue=1).astype(bool)
    mask = split_cells(valid).all(axis=-1)
    image = augment(rng, image.astype(np.float32) / np.float32(255), config.photometric)
    return image, valid, cell_targets(prob), mask.astype(np.float32)


def _crop_probs(photo: Photograph, homographies: list[Array], phase: PhaseConfig, config: SuperPointConfig) -> Any:
    """What the detector is to predict in crops of a photograph: (S, S) float32 each."""
    size = Size(phase.crop_px, phase.crop_px)
    rank = config.reference_rank if phase.reference_rank is None else phase.reference_rank
    if config.detector_target.kind == DetectorTarget.map:
        prob = photo.prob(config.detector_target, rank)
        return [warp_image(prob, each, size)[0] for each in homographies]
    weights = photo.weights(rank)
    return [point_prob(warp_points(each, photo.keypoints), size, weights) for each in homographies]


def _inside(points: Array, valid: Array) -> Array:
    """Which points round to a pixel that counts."""
    height, width = valid.shape
    pixels = np.floor(np.nan_to_num(points, nan=-1.0).clip(-1, 1e6) + 0.5).astype(np.int64)
    inside: Array = np.all((pixels >= 0) & (pixels < (width, height)), axis=1)
    inside[inside] = valid[pixels[inside, 1], pixels[inside, 0]]
    return inside


def _phase_warp(warp: WarpConfig, phase: PhaseConfig) -> WarpConfig:
    return replace(
        warp,
        scale_min=warp.scale_min if phase.scale_min is None else phase.scale_min,
        scale_max=warp.scale_max if phase.scale_max is None else phase.scale_max,
    )


def superpoint_pair(rng: np.random.Generator, photo: Photograph, phase: PhaseConfig, config: SuperPointConfig) -> Any:
    """Two crops of a photograph, their labels, and corresponding points.

    Returns
    -------
    images : (2, S, S) float32 in [0, 1]
    targets : dict
        ``cells`` (2, S/8, S/8, 65); ``mask`` (2, S/8, S/8); ``points`` (2, K, 2), xy; ``valid`` (K,); ``homography``
        (3, 3), from the first to the second crop; all float32.
    """
    size = Size(phase.crop_px, phase.crop_px)
    height, width = photo.image.shape
    half = np.minimum(phase.crop_px / 2, np.array([width, height]) / 2)
    centre = rng.uniform(half, np.array([width, height]) - half)
    to_first = random_homography(rng, centre, size, _phase_warp(config.first_warp, phase))
    to_second = random_homography(rng, centre, size, _phase_warp(config.second_warp, phase))
    homography = to_second @ np.linalg.inv(to_first)
    both = [to_first, to_second]
    probs = _crop_probs(photo, both, phase, config)
    views = [_view(rng, photo, prob, each, config) for prob, each in zip(probs, both, strict=True)]
    first_valid, second_valid = views[0][1], views[1][1]

    grid = np.arange(0, phase.crop_px, CELL_PX, dtype=np.float64)
    grid_points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    grid_points = grid_points + rng.uniform(0, CELL_PX - 1, grid_points.shape)
    keypoints = warp_points(to_first, photo.keypoints)
    candidates = []
    for points in (keypoints, grid_points):
        mapped = warp_points(homography, points)
        usable = _inside(points, first_valid) & _inside(mapped, second_valid)
        order = rng.permutation(np.flatnonzero(usable))
        candidates.append(np.stack([points[order], mapped[order]]))
    kept = candidates[0][:, : int(phase.points * config.descriptor_loss.keypoint_part)]
    chosen = np.concatenate([kept, candidates[1]], axis=1)[:, : phase.points]
    points = np.zeros((2, phase.points, 2), np.float32)
    points[:, : chosen.shape[1]] = chosen
    valid = (np.arange(phase.points) < chosen.shape[1]).astype(np.float32)
    targets = {
        "cells": np.stack([view[2] for view in views]),
        "mask": np.stack([view[3] for view in views]),
        "points": points,
        "valid": valid,
        "homography": (homography / homography[2, 2]).astype(np.float32),
    }
    return np.stack([view[0] for view in views]), targets


def superpoint_batch(seed: int, step: int, photos: list[Photograph], config: SuperPointConfig) -> Batch:
    """Pairs of one training step.

    Every photograph is used once before one is used again; the order is a permutation drawn for each pass.

    Returns
    -------
    images : (2 B, S, S, 1) float32 in [0, 1]
        The first crops, then the second crops.
    targets : dict
        ``cells`` (2 B, S/8, S/8, 65) and ``mask`` (2 B, S/8, S/8) likewise; ``points_first`` and ``points_second``
        (B, K, 2); ``valid`` (B, K); ``homography`` (B, 3, 3).
    """
    first_pair, phase = 0, config.phases[0]
    remaining = step
    for phase in config.phases:
        if remaining < phase.steps:
            break
        remaining -= phase.steps
        first_pair += phase.steps * phase.batch
    first_pair += remaining * phase.batch
    images, targets = [], []
    for pair in range(first_pair, first_pair + phase.batch):
        epoch, place = divmod(pair, len(photos))
        order = generator(seed, SUPERPOINT_STREAM, 0, epoch).permutation(len(photos))
        rng = generator(seed, SUPERPOINT_STREAM, 1, pair)
        image, target = superpoint_pair(rng, photos[order[place]], phase, config)
        images.append(image)
        targets.append(target)
    stacked = {key: np.stack([target[key] for target in targets]) for key in targets[0]}
    sides = {key: np.concatenate([stacked[key][:, 0], stacked[key][:, 1]]) for key in ("cells", "mask")}
    return np.concatenate([np.stack(images)[:, 0], np.stack(images)[:, 1]])[..., None], {
        **sides,
        "points_first": np.ascontiguousarray(stacked["points"][:, 0]),
        "points_second": np.ascontiguousarray(stacked["points"][:, 1]),
        "valid": stacked["valid"],
        "homography": stacked["homography"],
    }
