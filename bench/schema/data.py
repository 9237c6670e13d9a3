"""Where image pairs come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import II, MISSING

from bench.core.doors import Door
from bench.core.errors import ConfigError
from bench.schema.options import Subset
from bench.schema.values import Found, Items, Name, Range, Seed, Shard, check_area

ROTATIONS, SCALES = Range(-180, 180), Range(0.25, 4, "too little of the image would be left")
Rotation = Annotated[float, ROTATIONS]
Scale = Annotated[float, SCALES]
RenderedSide = Annotated[int, Range(64, 8192, "more than the photographs have")]


@dataclass
class DatasetConfig:
    """Common to all data sets."""

    kind: Name = MISSING
    root: Annotated[str, Found("folder", "a folder of images")] | None = None
    """Folder of the data; null: below ``data_root`` where it is downloaded, in the cache where it is rendered."""
    subset: Subset = II("protocol.subset")
    """all | no_large (108 HPatches sequences) | i | v."""
    sequences: Annotated[list[Name], Items(1, 100_000)] | None = None
    """Only these sequences."""
    shard: Annotated[str, Shard()] | None = None
    """Only part K of N, such as 3/16: whole sequences, about as many pixels in each part, the same parts everywhere.
    `bench merge` makes one run of the N runs; null: all."""


@dataclass
class RenderedConfig(DatasetConfig):
    """Views rendered from photographs: size in pixels, and how far a viewpoint may turn and zoom."""

    seed: Seed = 0
    height: RenderedSide = 480
    width: RenderedSide = 640
    max_rotation_deg: Annotated[float, Range(0, 180)] = 30.0
    max_scale: Annotated[float, Range(1, 4, "a view would be a blurred patch")] = 1.5

    def __post_init__(self) -> None:
        check_area("dataset", self.height, self.width)


@dataclass
class PhotosConfig(RenderedConfig):
    """Photographs of scikit-image, warped with seeded homographies and lit anew."""

    kind: Name = "photos"
    viewpoint_sequences: Annotated[int, Range(0, 13, "there are 13 photographs")] = 7
    illumination_sequences: Annotated[int, Range(0, 13, "there are 13 photographs")] = 6
    """Up to 13 each; 13 in all show 13 photographs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.viewpoint_sequences == self.illumination_sequences == 0:
            raise ConfigError(
                "dataset.viewpoint_sequences and dataset.illumination_sequences are both 0; set one above 0"
            )


@dataclass
class RotationScaleConfig(DatasetConfig):
    """Photographs of scikit-image, turned and zoomed by given amounts."""

    kind: Name = "rotation_scale"
    seed: Seed = 0
    height: RenderedSide = 480
    width: RenderedSide = 640
    photographs: Annotated[int, Range(1, 13, "there are 13 photographs")] = 7
    """The first of 13."""
    rotations_deg: Annotated[list[Rotation], Items()] = field(default_factory=list)
    """At scale 1."""
    scales: Annotated[list[Scale], Items()] = field(default_factory=list)
    """At rotation 0."""
    combined: Annotated[list[Any], Items()] = field(default_factory=list)
    """Pairs [rotation_deg, scale]."""

    def __post_init__(self) -> None:
        check_area("dataset", self.height, self.width)
        for pose in self.combined:
            if not isinstance(pose, Sequence) or [type(x) in (int, float) for x in pose] != [True, True]:
                raise ConfigError(f"dataset.combined has {pose}; allowed: pairs of numbers [rotation_deg, scale]")
            ROTATIONS.check("dataset.combined", pose[0])
            SCALES.check("dataset.combined", pose[1])


@dataclass
class HPatchesConfig(DatasetConfig):
    kind: Name = "hpatches"
    download: bool = True


@dataclass
class OxfordConfig(DatasetConfig):
    kind: Name = "oxford_affine"


@dataclass
class FolderConfig(RenderedConfig):
    """The user's own images: warped as `photos`, or a CSV of image1,image2,H-file."""

    kind: Name = "folder"
    csv: Annotated[str, Found("file", "a CSV file of image pairs")] | None = None
    """File with a row per pair; paths relative to the file. Replaces `root`."""


@dataclass
class CustomDatasetConfig(DatasetConfig):
    """A data set outside this package: ``kind`` is the name of an entry point, or an importable module with
    ``load(config, root) -> DataSet``."""

    kind: Annotated[str, DATASETS] = MISSING
    params: dict[str, Any] = field(default_factory=dict)
    """For the module; not checked here."""


DATASET_CONFIGS = {
    config.kind: config for config in (PhotosConfig, HPatchesConfig, OxfordConfig, RotationScaleConfig, FolderConfig)
}
DATASETS = Door(
    "data set",
    "bench.datasets",
    "load",
    {name: f"bench.data.{'oxford' if name == 'oxford_affine' else name}:load" for name in DATASET_CONFIGS},
)
