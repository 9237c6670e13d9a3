"""A homography that does not fit its images is named; real changes of view and light are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.core.types import DataSet, Size
from bench.data import load
from bench.data.images import read_image
from bench.data.plausible import impossible, suspicious, thumbnail
from bench.schema import HPatchesConfig, OxfordConfig, PhotosConfig, RotationScaleConfig


def alarms(data: DataSet) -> list[str]:
    return [warning for warning in data.warnings if "fits" in warning or "maps nothing" in warning]


@pytest.mark.slow
def test_generated_pairs_raise_no_alarm_and_their_inverses_do(tmp_path: Path) -> None:
    data = load(PhotosConfig(subset="all", viewpoint_sequences=3, illumination_sequences=2), tmp_path)
    assert data.warnings == ()
    inverted = 0
    for pair in (pair for pair in data.pairs if pair.split == "v"):
        reference, target = (thumbnail(read_image(ref.path)) for ref in (pair.reference, pair.target))
        H = np.linalg.inv(pair.H_ref_to_target)
        reason = impossible(H, reference.size) or suspicious(H, reference, target)
        inverted += reason is not None
    assert inverted == 15


@pytest.mark.slow
def test_no_alarm_on_many_turns_and_lights(tmp_path: Path) -> None:
    drawn = PhotosConfig(
        subset="all", viewpoint_sequences=4, illumination_sequences=4, seed=1, max_rotation_deg=180.0, max_scale=2.0
    )
    turned = RotationScaleConfig(
        subset="all", photographs=4, rotations_deg=[-180, -90, -45, 10, 30, 60, 135], scales=[0.25, 0.5, 0.7, 1.5, 2, 4]
    )
    assert [alarms(load(config, tmp_path)) for config in (drawn, turned)] == [[], []]


def test_no_alarm_on_real_pairs(shared: Path) -> None:
    real = (
        load(HPatchesConfig(root=str(shared / "data" / "hpatches"), subset="all"), shared),
        load(OxfordConfig(root=str(shared / "data" / "oxford_affine"), subset="all"), shared),
    )
    assert [alarms(data) for data in real] == [[], []]


def noise() -> np.ndarray:
    rng = np.random.default_rng(5)
    return cv2.resize(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)


def test_what_fits_another_frame_is_named() -> None:
    image = noise()
    turned = np.ascontiguousarray(np.rot90(image, -1))
    quarter = np.array([[0, -1.0, image.shape[0] - 1], [1, 0, 0], [0, 0, 1]])  # from image to turned
    plain, viewed = thumbnail(image), thumbnail(turned)
    assert suspicious(quarter, plain, viewed) is None
    assert "far worse than the identity" in str(suspicious(quarter, plain, plain))
    away = np.array([[1, 0, 400.0], [0, 1, 0], [0, 0, 1]])
    assert "maps nothing" in str(suspicious(away, plain, plain))
    shifted = thumbnail(np.roll(image, 60, axis=1))
    shift = np.array([[1, 0, 60.0], [0, 1, 0], [0, 0, 1]])
    assert suspicious(shift, plain, shifted) is None
    assert "far worse than its inverse" in str(suspicious(np.linalg.inv(shift), plain, shifted))


@pytest.mark.parametrize("scale", [1.0, -3.0])
def test_what_can_never_be_solved(scale: float) -> None:
    size = Size(100, 200)
    assert impossible(scale * np.eye(3), size) is None
    assert "mirrors" in str(impossible(scale * np.diag([-1.0, 1, 1]), size))
    assert "to infinity" in str(impossible(scale * np.array([[1, 0, 0], [0, 1, 0], [-0.02, 0, 1.0]]), size))
