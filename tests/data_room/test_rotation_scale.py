"""Photographs turned and zoomed by given amounts."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.config import compose
from bench.core.errors import ConfigError, DataError
from bench.core.types import DataSet
from bench.data import load
from bench.data.images import read_image
from bench.geometry.transforms import transform_points
from bench.schema import RotationScaleConfig


def _load(root: Path, **changes: object) -> DataSet:
    settings: dict[str, object] = {
        "subset": "all",
        "height": 96,
        "width": 128,
        "photographs": 2,
        "rotations_deg": [0.0, 30.0, -90.0],
        "scales": [1.0, 0.5],
        "combined": [[30, 1.5]],
    }
    return load(RotationScaleConfig(**{**settings, **changes}), root)  # type: ignore[arg-type]


def test_every_photograph_has_every_pose_once(tmp_path: Path) -> None:
    data = _load(tmp_path)
    assert [pair.name for pair in data.pairs[:5]] == [
        f"v_astronaut/1-{pose}" for pose in ("r0_s1", "r30_s1", "r-90_s1", "r0_s0.5", "r30_s1.5")
    ]
    assert len(data.pairs) == data.pairs_expected == 10
    assert {pair.split for pair in data.pairs} == {"v"}
    assert data.digest == _load(tmp_path).digest


def test_the_homography_turns_and_magnifies_about_the_centre(tmp_path: Path) -> None:
    centre = np.array([63.5, 47.5])
    for pair in _load(tmp_path).pairs:
        rotation, scale = (float(part) for part in pair.name.split("-r")[1].split("_s"))
        moved = transform_points(pair.H_ref_to_target, np.array([centre, [centre[0] + 10, centre[1]]]))
        np.testing.assert_allclose(moved[0], centre, atol=1e-9)
        angle = math.radians(rotation)
        np.testing.assert_allclose(
            moved[1] - centre, 10 * scale * np.array([math.cos(angle), math.sin(angle)]), atol=1e-9
        )


def test_the_images_show_what_the_homography_says(tmp_path: Path) -> None:
    for pair in _load(tmp_path).pairs:
        reference, target = (
            cv2.GaussianBlur(cv2.cvtColor(read_image(ref.path), cv2.COLOR_BGR2GRAY), (0, 0), 2).astype(float)
            for ref in (pair.reference, pair.target)
        )
        mapped = cv2.warpPerspective(reference, pair.H_ref_to_target, (128, 96), flags=cv2.INTER_AREA)
        seen = cv2.warpPerspective(np.ones((96, 128)), pair.H_ref_to_target, (128, 96)) > 0.99
        assert np.abs(mapped - target)[seen].mean() < 0.25 * np.abs(reference - target)[seen].std() + 6


def test_impossible_poses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are all empty"):
        _load(tmp_path, rotations_deg=[], scales=[], combined=[])
    with pytest.raises(ConfigError, match="photographs=14 is not possible; allowed: 1 to 13"):
        _load(tmp_path, photographs=14)
    with pytest.raises(DataError, match="all sequences here are of subset v"):
        _load(tmp_path, subset="i")
    for override, message in (
        ("dataset.scales=[9]", r"dataset.scales\[0\]=9.0 is not possible; allowed: 0.25 to 4"),
        ("dataset.rotations_deg=[200]", r"dataset.rotations_deg\[0\]=200.0 is not possible"),
        ("dataset.combined=[[30]]", r"dataset.combined has \[30\]; allowed: pairs of numbers"),
        ("dataset.combined=[30]", "dataset.combined has 30; allowed: pairs of numbers"),
    ):
        with pytest.raises(ConfigError, match=message):
            compose(["dataset=rotation_scale", override])
