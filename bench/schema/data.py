"""Where image pairs come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import II, MISSING

from bench.core.errors import ConfigError
from bench.schema.checks import at_least, one_of, within


@dataclass
class DatasetConfig:
    """Common to all data sets."""

    kind: str = MISSING
    root: str | None = None
    """Folder of the data; null: below ``data_root``."""
    subset: str = II("protocol.subset")
    """all | no_large (108 HPatches sequences) | i | v."""
    sequences: list[str] | None = None
    """Only these sequences."""

    def __post_init__(self) -> None:
        one_of("dataset.subset", self.subset, ("all", "no_large", "i", "v"))


@dataclass
class RenderedConfig(DatasetConfig):
    """Views rendered from photographs: size in pixels, and how far a viewpoint may turn and zoom."""

    seed: int = 0
    height: int = 480
    width: int = 640
    max_rotation_deg: float = 30.0
    max_scale: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("height", "width"):
            at_least(f"dataset.{key}", getattr(self, key), 64)
        within("dataset.max_rotation_deg", self.max_rotation_deg, 0.0, 180.0)
        within("dataset.max_scale", self.max_scale, 1.0, 4.0)


@dataclass
class PhotosConfig(RenderedConfig):
    """Photographs of scikit-image, warped with seeded homographies and lit anew."""

    kind: str = "photos"
    viewpoint_sequences: int = 7
    illumination_sequences: int = 6
    """Up to 13 each; 13 in all show 13 photographs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("viewpoint_sequences", "illumination_sequences"):
            at_least(f"dataset.{key}", getattr(self, key), 0)


@dataclass
class RotationScaleConfig(DatasetConfig):
    """Photographs of scikit-image, turned and zoomed by given amounts."""

    kind: str = "rotation_scale"
    seed: int = 0
    height: int = 480
    width: int = 640
    photographs: int = 7
    """The first of 13."""
    rotations_deg: list[float] = field(default_factory=list)
    """At scale 1."""
    scales: list[float] = field(default_factory=list)
    """At rotation 0."""
    combined: list[Any] = field(default_factory=list)
    """Pairs [rotation_deg, scale]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("height", "width"):
            at_least(f"dataset.{key}", getattr(self, key), 64)
        at_least("dataset.photographs", self.photographs, 1)
        for pose in self.combined:
            if not isinstance(pose, Sequence) or [type(x) in (int, float) for x in pose] != [True, True]:
                raise ConfigError(f"dataset.combined has {pose}; allowed: pairs of numbers [rotation_deg, scale]")
        for rotation in [*self.rotations_deg, *(pose[0] for pose in self.combined)]:
            within("dataset.rotations_deg", rotation, -180.0, 180.0)
        for scale in [*self.scales, *(pose[1] for pose in self.combined)]:
            within("dataset.scales", scale, 0.25, 4.0)


@dataclass
class HPatchesConfig(DatasetConfig):
    kind: str = "hpatches"
    download: bool = True


@dataclass
class OxfordConfig(DatasetConfig):
    kind: str = "oxford_affine"


@dataclass
class FolderConfig(RenderedConfig):
    """The user's own images: warped as `photos`, or a CSV of image1,image2,H-file."""

    kind: str = "folder"
    csv: str | None = None
    """File with a row per pair; paths relative to the file. Replaces `root`."""
