"""Sampled outputs against analytic answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.check.outputs import compare_outputs, projections, sample, sampled_images
from bench.core.errors import StoreError
from tests.check.simulate import STORED, World, features

WORLD = World(sequences=3, methods=("superpoint",))
SAME = {"superpoint": "superpoint"}


def write(folder: Path, arrays: dict[tuple[str, str], dict[str, Any]]) -> Path:
    for (method, image), content in arrays.items():
        path = folder / "features" / method / f"{image}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **content, **STORED)
    return folder / "features"


@pytest.fixture
def arrays() -> dict[tuple[str, str], dict[str, Any]]:
    return features(WORLD, 300)


@pytest.fixture
def baseline(tmp_path: Path, arrays: Any) -> Any:
    return sample(write(tmp_path / "baseline", arrays), ["superpoint"], keypoints=24, images=6)


def test_first_and_last_image_of_each_sequence_are_sampled(tmp_path: Path, arrays: Any) -> None:
    folder = write(tmp_path, arrays)
    assert sampled_images(folder, "superpoint", 6) == [f"s00{s}/{k}" for s in range(3) for k in (1, 6)]
    assert len(sampled_images(folder, "superpoint", 99)) == 18
    assert sampled_images(folder, "superpoint", 1) == ["s000/1", "s001/1", "s002/1"]
    assert sampled_images(folder, "absent", 6) == []


def test_a_baseline_samples_evenly_by_rank_and_spares_the_edge_of_the_budget(baseline: Any, arrays: Any) -> None:
    assert len(baseline) == 6 * 24
    first = baseline[baseline["image"] == "s000/1"]
    expected = arrays["superpoint", "s000/1"]["keypoints"][np.linspace(0, 269, 24).round().astype(int)]
    np.testing.assert_array_equal(first[["x", "y"]].to_numpy() / 16, expected)


def test_identical_outputs_are_found_without_change(tmp_path: Path, baseline: Any, arrays: Any) -> None:
    found = compare_outputs(baseline, write(tmp_path / "candidate", arrays), SAME, 0.5)
    assert len(found) == 6
    assert found["keypoints_found"].eq(1).all()
    assert found["descriptor_change"].max() < 1e-3  # float16
    assert set(found["sequence"]) == {"s000", "s001", "s002"}


def test_a_shift_by_one_pixel_loses_every_keypoint(tmp_path: Path, baseline: Any, arrays: Any) -> None:
    for content in arrays.values():
        content["keypoints"] = content["keypoints"] + np.float32([1, 0])
    candidate = write(tmp_path / "candidate", arrays)
    assert compare_outputs(baseline, candidate, SAME, 0.5)["keypoints_found"].mean() < 0.05
    wide = compare_outputs(baseline, candidate, SAME, 1.0)
    assert wide["keypoints_found"].eq(1).all()


def test_scaled_descriptors_change_by_the_scale(tmp_path: Path, baseline: Any, arrays: Any) -> None:
    for content in arrays.values():
        content["descriptors"] = content["descriptors"] * np.float32(1.5)
    found = compare_outputs(baseline, write(tmp_path / "candidate", arrays), SAME, 0.5)
    np.testing.assert_allclose(found["descriptor_change"], 0.5, atol=1e-3)


def test_descriptor_noise_is_estimated_without_bias(tmp_path: Path, baseline: Any, arrays: Any) -> None:
    rng = np.random.default_rng(5)
    for content in arrays.values():
        noise = rng.standard_normal(content["descriptors"].shape).astype(np.float32)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        content["descriptors"] = content["descriptors"] + np.float32(0.1) * noise
    found = compare_outputs(baseline, write(tmp_path / "candidate", arrays), SAME, 0.5)
    assert np.sqrt((found["descriptor_change"] ** 2).mean()) == pytest.approx(0.1, rel=0.2)


def test_lost_keypoints_count_by_their_share(tmp_path: Path, baseline: Any, arrays: Any) -> None:
    for content in arrays.values():
        for key in content:
            content[key] = content[key][:100]  # a higher threshold: the weakest two thirds are gone
    found = compare_outputs(baseline, write(tmp_path / "candidate", arrays), SAME, 0.5)
    expected = (np.linspace(0, 269, 24).round() < 100).mean()
    np.testing.assert_allclose(found["keypoints_found"], expected)


def test_failed_images_and_images_without_keypoints_lose_everything(tmp_path: Path, baseline: Any, arrays: Any) -> None:
    del arrays["superpoint", "s000/1"]
    for key, values in list(arrays["superpoint", "s001/1"].items()):
        arrays["superpoint", "s001/1"][key] = values[:0]
    found = compare_outputs(baseline, write(tmp_path / "candidate", arrays), SAME, 0.5).set_index("image")
    assert found.loc[["s000/1", "s001/1"], "keypoints_found"].eq(0).all()
    assert found.loc[["s000/1", "s001/1"], "descriptor_change"].isna().all()
    assert found.loc["s002/1", "keypoints_found"] == 1


def test_several_orientations_at_one_place_are_told_apart(tmp_path: Path, arrays: Any) -> None:
    for content in arrays.values():
        content["keypoints"][1::2] = content["keypoints"][::2]
    folder = write(tmp_path / "baseline", arrays)
    found = compare_outputs(sample(folder, ["superpoint"], 24, 6), folder, SAME, 0.5)
    assert found["descriptor_change"].max() < 1e-3


def test_detectors_and_binary_descriptors(tmp_path: Path, arrays: Any) -> None:
    rng = np.random.default_rng(0)
    for content in arrays.values():
        content["descriptors"] = rng.integers(0, 256, (300, 32), dtype=np.uint8)
    binary = write(tmp_path / "binary", arrays)
    samples = sample(binary, ["superpoint"], 24, 6)
    assert compare_outputs(samples, binary, SAME, 0.5)["descriptor_change"].max() < 1e-3
    for content in arrays.values():
        content["descriptors"] = ~content["descriptors"]
    inverted = compare_outputs(samples, write(tmp_path / "inverted", arrays), SAME, 0.5)
    np.testing.assert_allclose(inverted["descriptor_change"], 2.0, atol=0.05)  # two points may share a pixel
    for content in arrays.values():
        del content["descriptors"]
    detector = write(tmp_path / "detector", arrays)
    found = compare_outputs(sample(detector, ["superpoint"], 24, 6), detector, SAME, 0.5)
    assert found["keypoints_found"].eq(1).all()
    assert found["descriptor_change"].isna().all()


def test_projections_keep_squared_lengths_on_average() -> None:
    vectors = np.random.default_rng(0).standard_normal((4000, 128)).astype(np.float32)
    ratio = (projections(vectors) ** 2).mean() / (vectors.astype(float) ** 2).sum(axis=1).mean()
    assert ratio == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ({"keypoints": np.zeros((300, 2))}, r"keypoints must be \(N, 2\) float32, got \(300, 2\) float64"),
        ({"keypoints": np.zeros((300, 3), np.float32)}, r"got \(300, 3\)"),
        ({"keypoints": np.full((300, 2), np.nan, np.float32)}, "NaN"),
        ({"keypoints": np.full((300, 2), 5000, np.float32)}, "outside the image"),
        ({"descriptors": np.zeros((299, 64), np.float32)}, r"descriptors must be \(300, D\)"),
    ],
    ids=["dtype", "shape", "nan", "outside", "short"],
)
def test_edited_features_are_refused_on_either_side(
    tmp_path: Path, baseline: Any, arrays: Any, edit: dict[str, Any], sentence: str
) -> None:
    arrays["superpoint", "s001/6"] |= edit
    folder = write(tmp_path / "edited", arrays)
    with pytest.raises(StoreError, match=rf"s001/6\.npz: .*{sentence}"):
        sample(folder, ["superpoint"], 24, 6)
    with pytest.raises(StoreError, match=sentence):
        compare_outputs(baseline, folder, SAME, 0.5)
