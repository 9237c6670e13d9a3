"""The embedded data set: photographs of scikit-image's wheel, seen from known viewpoints and in other light."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import partial
from pathlib import Path

import numpy as np

from bench.core.errors import ConfigError, DataError
from bench.core.types import DataSet, Size
from bench.data.generated import Recipe, Settings, build
from bench.data.hpatches import load_layout
from bench.data.images import decode_image, read_bytes
from bench.data.warp import Image
from bench.schema import PhotosConfig

MAX_MAGNIFICATION = 1.7

PHOTOGRAPHS = (
    "astronaut.png",
    "coffee.png",
    "motorcycle_left.png",
    "chelsea.png",
    "gravel.png",
    "coins.png",
    "brick.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "grass.png",
    "ihc.png",
    "rocket.jpg",
    "camera.png",
)
"""Viewpoint sequences take photographs from the front, illumination sequences from the back, so that up to 13 sequences
show 13 photographs."""


def _folder() -> Path:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise DataError("the photographs of scikit-image are missing; install it: pip install scikit-image")
    return Path(spec.origin).parent / "data"


def photograph(name: str) -> Image:
    """Read a photograph of scikit-image.

    Parameters
    ----------
    name : str
        One of `PHOTOGRAPHS`.

    Returns
    -------
    (H, W, 3) uint8 BGR, or (H, W) uint8 where the photograph is grey

    Raises
    ------
    DataError
        If the file is missing or damaged.
    """
    path = _folder() / name
    image = decode_image(read_bytes(path), path)
    if (image == image[:, :, :1]).all():
        return np.ascontiguousarray(image[:, :, 0])
    return np.ascontiguousarray(image)


def recipe(split: str, name: str) -> Recipe:
    """How to make the sequence of a photograph in a split, ``i`` or ``v``."""
    digest = hashlib.sha256(read_bytes(_folder() / name)).hexdigest()
    return Recipe(f"{split}_{name.partition('.')[0]}", digest, partial(photograph, name), PHOTOGRAPHS.index(name))


def load(config: PhotosConfig, data_root: Path) -> DataSet:
    """Load the embedded data set; its images are made in the cache of this machine on first use.

    Raises
    ------
    ConfigError
        If more sequences are asked for than there are photographs.
    DataError
        If scikit-image's photographs are missing, or the cache cannot be written.
    """
    for key in ("viewpoint_sequences", "illumination_sequences"):
        if getattr(config, key) > len(PHOTOGRAPHS):
            raise ConfigError(f"dataset.{key}={getattr(config, key)} is not possible; allowed: 0 to {len(PHOTOGRAPHS)}")
    viewpoint = PHOTOGRAPHS[: config.viewpoint_sequences]
    illumination = PHOTOGRAPHS[::-1][: config.illumination_sequences]
    recipes = [
        recipe(split, name) for split, names in (("i", illumination), ("v", viewpoint)) for name in sorted(names)
    ]
    settings = Settings(
        Size(config.height, config.width), config.seed, config.max_rotation_deg, config.max_scale, MAX_MAGNIFICATION
    )
    root = Path(config.root) if config.root is not None else None
    folder = build("photos", recipes, settings, root)
    in_subset = [r.name for r in recipes if config.subset in ("all", "no_large", r.name[0])]
    how = (
        f"sequences of subset {config.subset} in {folder}; raise dataset.viewpoint_sequences or illumination_sequences"
    )
    return load_layout("photos", folder, config.subset, config.sequences, len(in_subset), how)
