"""Features computed elsewhere: LIFT, closed models, other people's code. They have no time: every stage is NaN."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ConfigError, FeatureError
from bench.core.types import Context, EvaluatedImage, Features, ImageRef, MethodInfo, Size, StageTimes, Transform
from bench.features.exchange import ImageFeatures, read_hdf5, read_npz
from bench.features.select import budget
from bench.geometry.transforms import transform_points
from bench.schema import ImportedConfig, MethodConfig
from bench.schema.options import FeatureFormat, Frame

_GRID_PX = 2.0**-36
"""Mapped coordinates are rounded to this, so that mapping there and back gives the float32 coordinate bit by bit."""


def map_to_evaluated(xy: NDArray[np.float64], T_source_to_evaluated: Transform) -> NDArray[np.float32]:
    """Source pixels as evaluated pixels.

    Parameters
    ----------
    xy : (N, 2) float64
    T_source_to_evaluated : (3, 3) float64

    Returns
    -------
    (N, 2) float32
    """
    mapped = transform_points(T_source_to_evaluated, xy)
    return np.asarray(np.rint(mapped / _GRID_PX) * _GRID_PX, np.float32)


def map_to_source(features: Features, T_source_to_evaluated: Transform) -> NDArray[np.float64]:
    """Keypoints in pixels of the image file, (N, 2) float64."""
    return transform_points(np.linalg.inv(T_source_to_evaluated), features.keypoints)


def inside(xy: NDArray[np.float64] | NDArray[np.float32], size: Size) -> NDArray[np.bool_]:
    """Which points lie on the pixels of an image: at most half a pixel beyond the outer pixel centres."""
    limit = np.array([size.width - 0.5, size.height - 0.5])
    return np.asarray(((xy >= -0.5) & (xy <= limit)).all(axis=1))


class ImportedExtractor:
    """Reads the features of each image instead of computing them."""

    def __init__(self, name: str, config: ImportedConfig) -> None:
        self._name, self._config = name, config
        self._path = None if config.path is None else Path(config.path).expanduser()
        self._dropped: dict[str, int] = {}
        fingerprint: dict[str, object] = {"format": config.format, "frame": config.frame, "suffix": config.suffix}
        if config.format == FeatureFormat.npz:
            if not config.suffix:
                raise ConfigError(
                    f"methods.{name}.suffix is missing; say what follows the image's name, "
                    f"for example methods.{name}.suffix=lift for 1.ppm.lift"
                )
            if self._path is not None and not self._path.is_dir():
                raise ConfigError(f"methods.{name}.path={config.path} is not a folder; null: files beside the images")
        else:
            if self._path is None or not self._path.is_file():
                raise ConfigError(f"methods.{name}.path={config.path} is not a file; format=hdf5 needs one")
            with self._path.open("rb") as file:
                fingerprint["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        self._fingerprint = fingerprint

    def check(self, images: Sequence[ImageRef]) -> None:
        """Read the features of all images once, before any work starts.

        Parameters
        ----------
        images : sequence of ImageRef

        Raises
        ------
        FeatureError
            For the first image whose features are missing or refused, and how many others are.
        """
        problems = []
        for image in images:
            try:
                self._read(image.key, image.path)
            except FeatureError as error:
                problems.append(str(error))
        if problems:
            others = f" (and {len(problems) - 1} more of {len(images)} images)" if len(problems) > 1 else ""
            raise FeatureError(problems[0] + others)

    def _read(self, key: str, path: Path) -> ImageFeatures:
        """Features of an image file, checked against its size where that is their frame."""
        sequence = PurePosixPath(key).parent
        if self._config.format == FeatureFormat.hdf5:
            assert self._path is not None
            found = read_hdf5(self._path, str(sequence / path.name), self._config.descriptors)
        else:
            folder = path.parent if self._path is None else self._path / sequence
            found = read_npz(folder / f"{path.name}.{self._config.suffix}", self._config.descriptors)
        if self._config.frame == Frame.source and len(found.keypoints):
            from bench.data.images import read_image

            self._check_inside(found, Size(*read_image(path).shape[:2]))
        return found

    def _check_inside(self, found: ImageFeatures, size: Size) -> None:
        outside = found.keypoints[~inside(found.keypoints, size)]
        if len(outside):
            x, y = outside[0]
            raise FeatureError(
                f"{found.where}: {len(outside)} of {len(found.keypoints)} keypoints lie outside the image of {size} "
                f"(HxW), the first at x={x:g}, y={y:g}; coordinates are xy, pixel centres at integers, "
                f"frame={self._config.frame}"
            )

    def warm_up(self, size: Size) -> None:
        """Nothing to warm."""

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        """Read, map to the evaluated image, and keep the best keypoints by score.

        With ``frame: source`` keypoints that the protocol's crop removed are dropped and counted in ``info().costs``.

        Raises
        ------
        FeatureError
            If the image's features are missing, damaged, of wrong shape, not finite, or outside the image.
        """
        if image.source_path is None:
            raise FeatureError(f"image {image.key} has no file; imported features are found by the file's name")
        found = self._read(image.key, image.source_path)
        descriptors = found.descriptors
        if self._config.frame == Frame.evaluated:
            self._check_inside(found, image.size)
            xy, scores = np.asarray(found.keypoints, np.float32), found.scores
        else:
            xy = map_to_evaluated(found.keypoints, image.T_source_to_evaluated)
            kept = inside(xy, image.size)
            self._dropped[image.key] = int((~kept).sum())
            xy, scores = xy[kept], found.scores[kept]
            descriptors = None if descriptors is None else descriptors[kept]
        features = budget(xy, scores, descriptors, self._config.max_keypoints, image.size)
        return features, StageTimes(float("nan"), float("nan"), float("nan"))

    def info(self) -> MethodInfo:
        """Where the features come from; ``costs`` counts keypoints dropped by the crop."""
        return MethodInfo(
            name=self._name,
            backend="imported",
            has_descriptors=self._config.descriptors,
            precision={"label": "imported"},
            fingerprint=self._fingerprint,
            costs={"dropped_keypoints": float(sum(self._dropped.values()))},
        )


def create(name: str, config: MethodConfig, context: Context) -> ImportedExtractor:
    """Open exported features.

    Raises
    ------
    ConfigError
        If the folder, the file or the suffix is missing.
    """
    if not isinstance(config, ImportedConfig):
        raise ConfigError(f"methods.{name}: backend imported needs an ImportedConfig, got {type(config).__name__}")
    return ImportedExtractor(name, config)
