"""Embedded photographs turned and zoomed by given amounts: accuracy as a curve over rotation and scale."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import ConfigError
from bench.core.types import DataSet, Size
from bench.data.generated import Pose, Settings, build
from bench.data.hpatches import find_image
from bench.data.photos import MAX_MAGNIFICATION, PHOTOGRAPHS, recipe
from bench.data.sequences import Candidate, choose, collect
from bench.schema import RotationScaleConfig
from bench.schema.options import Subset


def poses(config: RotationScaleConfig) -> tuple[Pose, ...]:
    """The targets of every photograph: rotations at scale 1, scales at rotation 0, then the combined ones."""
    turned = [Pose(rotation, 1.0) for rotation in config.rotations_deg]
    zoomed = [Pose(0.0, scale) for scale in config.scales]
    both = [Pose(rotation, scale) for rotation, scale in config.combined]
    # Names, not values, must differ: they are the names of files and pairs.
    return tuple({pose.name: pose for pose in [*turned, *zoomed, *both]}.values())


def load(config: RotationScaleConfig, data_root: Path) -> DataSet:
    """Load the data set; its images are made in the cache of this machine on first use.

    Pairs are named ``v_<photograph>/1-r<rotation_deg>_s<scale>``.

    Raises
    ------
    ConfigError
        If there is no pose, or more photographs are asked for than there are.
    DataError
        If scikit-image's photographs are missing, or the cache cannot be written.
    """
    targets = poses(config)
    if not targets:
        raise ConfigError("dataset.rotations_deg, dataset.scales and dataset.combined are all empty; give one of them")
    if config.photographs > len(PHOTOGRAPHS):
        raise ConfigError(f"dataset.photographs={config.photographs} is not possible; allowed: 1 to {len(PHOTOGRAPHS)}")
    recipes = [recipe("v", name) for name in sorted(PHOTOGRAPHS[: config.photographs])]
    settings = Settings(Size(config.height, config.width), config.seed, 0.0, 1.0, MAX_MAGNIFICATION, targets)
    root = Path(config.root) if config.root is not None else None
    folder = build("rotation_scale", recipes, settings, root)
    names = choose([each.name for each in recipes], config.sequences, folder)
    names = [] if config.subset == Subset.i else names
    candidates = [
        Candidate(
            name,
            "v",
            f"{name}/1-{pose.name}",
            find_image(folder / name, "1", name),
            find_image(folder / name, pose.name, name),
            folder / name / f"H_1_{pose.name}",
        )
        for name in names
        for pose in targets
    ]
    return collect(
        "rotation_scale",
        candidates,
        sequences_expected=len(names),
        pairs_expected=len(candidates),
        looked_for=f"viewpoint sequences in {folder} (subset {config.subset}); all sequences here are of subset v",
    )
