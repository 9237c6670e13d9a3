"""Features from files: both layouts, both frames, and every refusal with the file's name."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import ConfigError, FeatureError
from bench.core.types import Context, EvaluatedImage, ImageRef
from bench.features.exchange import npz_bytes, write_hdf5
from bench.features.imported import ImportedExtractor, create, map_to_evaluated
from bench.geometry.transforms import scaling, transform_points, translation
from bench.schema import ImportedConfig

T = translation(-20, 0) @ translation(-0.5, -0.5) @ scaling(0.5, 0.5) @ translation(0.5, 0.5)


@pytest.fixture
def image(tmp_path: Path) -> EvaluatedImage:
    """A file of 100x160 (HxW), halved and cropped by 20 px at the left to 50x60."""
    path = tmp_path / "data/v_wall/1.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), np.zeros((100, 160, 3), np.uint8))
    return EvaluatedImage("v_wall/1", np.zeros((50, 60), np.uint8), T, path)


def some(n: int = 30, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "keypoints": rng.uniform([45, 0], [159, 99], (n, 2)).astype(np.float32),
        "scores": rng.uniform(size=n).astype(np.float32),
        "descriptors": rng.normal(size=(n, 8)).astype(np.float32),
    }


def save(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


def imported(tmp_path: Path, **values: Any) -> ImportedExtractor:
    values = {"suffix": "mine", "max_keypoints": 1000, "threads": 1} | values
    return create("mine", ImportedConfig(**values), Context(1, tmp_path, tmp_path))


def beside(image: EvaluatedImage) -> Path:
    assert image.source_path is not None
    return Path(f"{image.source_path}.mine")


def test_npz_beside_the_image_in_d2_nets_convention(tmp_path: Path, image: EvaluatedImage) -> None:
    arrays = some()
    with_scale = np.c_[arrays["keypoints"], np.ones(30)]  # D2-Net: x, y, scale
    save(beside(image), **(arrays | {"keypoints": with_scale}))
    features, times = imported(tmp_path).extract(image)
    order = np.argsort(-arrays["scores"])
    np.testing.assert_array_equal(features.scores, arrays["scores"][order])
    np.testing.assert_array_equal(features.descriptors, arrays["descriptors"][order])
    np.testing.assert_allclose(features.keypoints, transform_points(T, arrays["keypoints"][order]), atol=1e-5)
    assert np.isnan([times.preprocess_ms, times.infer_ms, times.decode_ms, times.total_ms]).all()


def test_npz_below_a_folder(tmp_path: Path, image: EvaluatedImage) -> None:
    save(tmp_path / "features/v_wall/1.png.mine", **some())
    features, _ = imported(tmp_path, path=str(tmp_path / "features"), max_keypoints=7).extract(image)
    assert len(features) == 7
    assert features.scores[0] == some()["scores"].max()


def test_hdf5_in_hlocs_layout(tmp_path: Path, image: EvaluatedImage) -> None:
    arrays = some()
    with h5py.File(tmp_path / "f.h5", "w") as file:
        node = file.create_group("v_wall/1.png")
        node["keypoints"] = arrays["keypoints"].astype(np.float16)
        node["scores"] = arrays["scores"].astype(np.float16)
        node["descriptors"] = arrays["descriptors"].T.astype(np.float16)
        node["image_size"] = [160, 100]
    features, _ = imported(tmp_path, format="hdf5", path=str(tmp_path / "f.h5")).extract(image)
    assert len(features) == 30
    assert features.descriptors is not None
    assert features.descriptors.shape == (30, 8)
    rank = np.argsort(-arrays["scores"].astype(np.float16), kind="stable")[0]
    np.testing.assert_array_equal(features.descriptors[0], arrays["descriptors"][rank].astype(np.float16))


def elsewhere(case: str, folder: Path) -> str:
    """A file of features whose keypoints lie elsewhere; returns what the refusal says."""
    arrays = some()
    secret = folder / "secret"
    secret.write_bytes(arrays["keypoints"].astype(np.float64).tobytes())
    with h5py.File(folder / "other.h5", "w") as file:
        write_hdf5(file, "v_wall/1.png", **arrays)
    with h5py.File(folder / "f.h5", "w") as file:
        if case == "external group":
            file["v_wall/1.png"] = h5py.ExternalLink("other.h5", "/v_wall/1.png")
            return "'v_wall/1.png' is an external link"
        if case == "external parent":
            file["v_wall"] = h5py.ExternalLink("other.h5", "/v_wall")
            return "'v_wall' is an external link"
        write_hdf5(file, "v_wall/1.png", **arrays)
        del file["v_wall/1.png/keypoints"]
        node = file["v_wall/1.png"]
        shape = arrays["keypoints"].shape
        if case == "external array":
            node["keypoints"] = h5py.ExternalLink("other.h5", "/v_wall/1.png/keypoints")
            return "keypoints' is an external link"
        if case == "soft link":
            node["keypoints"] = h5py.SoftLink("/elsewhere")
            file["elsewhere"] = arrays["keypoints"]
            return "keypoints' is a soft link"
        if case == "external storage":
            node.create_dataset("keypoints", shape, np.float64, external=[(str(secret), 0, secret.stat().st_size)])
            return "keypoints' is kept outside the file"
        if case == "huge":
            node.create_dataset("keypoints", (1 << 40, 2), np.float64, chunks=(1024, 2))
            return "keypoints' would be 17592186044416 bytes"
        layout = h5py.VirtualLayout(shape, np.float64)
        layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "v_wall/1.png/keypoints", shape)
        node.create_virtual_dataset("keypoints", layout)
    return "keypoints' is a virtual data set"


@pytest.mark.parametrize(
    "case", ["external group", "external parent", "external array", "soft link", "external storage", "virtual", "huge"]
)
def test_hdf5_must_hold_its_own_data(case: str, tmp_path: Path, image: EvaluatedImage) -> None:
    message = elsewhere(case, tmp_path)
    with pytest.raises(FeatureError, match=rf"f\.h5: refused, .*{message}"):
        imported(tmp_path, format="hdf5", path=str(tmp_path / "f.h5")).extract(image)


def test_a_pipe_is_no_file_of_features(tmp_path: Path, image: EvaluatedImage) -> None:
    beside(image).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(beside(image))
    with pytest.raises(FeatureError, match="not a regular file"):
        imported(tmp_path).extract(image)


def test_evaluated_frame_takes_coordinates_as_they_are(tmp_path: Path, image: EvaluatedImage) -> None:
    arrays = some() | {"keypoints": np.random.default_rng(1).uniform(0, [59, 49], (30, 2)).astype(np.float32)}
    save(beside(image), **arrays)
    features, _ = imported(tmp_path, frame="evaluated").extract(image)
    np.testing.assert_array_equal(features.keypoints, arrays["keypoints"][np.argsort(-arrays["scores"])])


def test_keypoints_the_crop_removed_are_dropped_and_counted(tmp_path: Path, image: EvaluatedImage) -> None:
    arrays = some()
    arrays["keypoints"][:12, 0] = 5  # left of the crop at source x = 40
    save(beside(image), **arrays)
    made = imported(tmp_path)
    for _ in range(2):
        assert len(made.extract(image)[0]) == 18
    assert made.info().costs == {"dropped_keypoints": 12.0}


def test_uint8_descriptors_are_binary(tmp_path: Path, image: EvaluatedImage) -> None:
    binary = np.random.default_rng(0).integers(0, 256, (30, 32), dtype=np.uint8)
    save(beside(image), **(some() | {"descriptors": binary}))
    features, _ = imported(tmp_path).extract(image)
    assert features.descriptors is not None
    assert features.descriptors.dtype == np.uint8


def test_detectors_have_no_descriptors(tmp_path: Path, image: EvaluatedImage) -> None:
    arrays = some()
    del arrays["descriptors"]
    save(beside(image), **arrays)
    made = imported(tmp_path, descriptors=False)
    assert made.extract(image)[0].descriptors is None
    assert not made.info().has_descriptors
    with pytest.raises(FeatureError, match="has no descriptors .*descriptors=false"):
        imported(tmp_path).extract(image)


def test_no_keypoints_are_a_legitimate_result(tmp_path: Path, image: EvaluatedImage) -> None:
    save(beside(image), **some(0))
    assert len(imported(tmp_path).extract(image)[0]) == 0


@given(seed=st.integers(0, 2**32 - 1))
def test_mapping_there_and_back_is_exact(seed: int) -> None:
    """Sub-pixel coordinates, integers and zero come back bit by bit through any resize and crop."""
    rng = np.random.default_rng(seed)
    s = rng.uniform(0.1, 3, 2)
    transform = translation(*-rng.integers(0, 300, 2)) @ translation(-0.5, -0.5) @ scaling(*s) @ translation(0.5, 0.5)
    xy = np.concatenate([rng.uniform(0.001, 4000, (40, 2)), rng.integers(0, 4000, (40, 2)), np.zeros((1, 2))]).astype(
        np.float32
    )
    source = transform_points(np.linalg.inv(transform), xy)
    np.testing.assert_array_equal(map_to_evaluated(source, transform), xy)


def broken() -> dict[str, tuple[dict[str, Any], str]]:
    good = some()
    nan, far = good["keypoints"].copy(), good["keypoints"].copy()
    nan[3, 1], far[3, 1] = np.nan, 99.6
    infinite = good["descriptors"].copy()
    infinite[0, 0] = np.inf
    return {
        "keypoints (2, N)": (good | {"keypoints": good["keypoints"].T}, r"\(2,\) numbers for keypoints \(2, 30\)"),
        "one-dimensional keypoints": (good | {"keypoints": np.zeros(30)}, r"keypoints must be \(N, 2\)"),
        "text keypoints": (good | {"keypoints": np.full((30, 2), "a")}, r"keypoints must be \(N, 2\)"),
        "too few scores": (good | {"scores": good["scores"][:-1]}, r"scores must be \(30,\)"),
        "descriptors (D, N)": (good | {"descriptors": good["descriptors"].T}, r"descriptors must be \(30, D\)"),
        "integer descriptors": (good | {"descriptors": np.zeros((30, 8), int)}, "floats, or uint8 if binary"),
        "no scores": ({k: v for k, v in good.items() if k != "scores"}, r"has no scores \(found: descriptors, keyp"),
        "NaN keypoint": (good | {"keypoints": nan}, "keypoints contain NaN"),
        "NaN score": (good | {"scores": np.full(30, np.nan)}, "scores contain NaN"),
        "infinite descriptor": (good | {"descriptors": infinite}, "descriptors contain NaN, infinity"),
        "huge descriptor": (good | {"descriptors": np.full((30, 8), 1e300)}, "beyond float32"),
        "outside": (good | {"keypoints": far}, r"1 of 30 keypoints lie outside the image of 100x160 \(HxW\)"),
        "objects": (good | {"scores": np.array([None] * 30)}, "never unpickled"),
    }


@pytest.mark.parametrize("case", broken())
def test_refusals_of_npz_name_the_file(case: str, tmp_path: Path, image: EvaluatedImage) -> None:
    arrays, message = broken()[case]
    path = save(beside(image), **arrays)
    with pytest.raises(FeatureError, match=message) as caught:
        imported(tmp_path).extract(image)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("case", [case for case in broken() if case not in ("objects", "text keypoints")])
def test_refusals_of_hdf5_name_file_and_group(case: str, tmp_path: Path, image: EvaluatedImage) -> None:
    arrays, message = broken()[case]
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for name, value in arrays.items():
            file[f"v_wall/1.png/{name}"] = value.T if name == "descriptors" else value
    with pytest.raises(FeatureError, match=message) as caught:
        imported(tmp_path, format="hdf5", path=str(tmp_path / "f.h5")).extract(image)
    assert "f.h5:v_wall/1.png" in str(caught.value)


class Exploding:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickles_are_never_opened(tmp_path: Path, image: EvaluatedImage) -> None:
    bomb = tmp_path / "bomb"
    for content in (pickle.dumps(Exploding(bomb)), b"text", b"", b"PK\x03\x04 truncated"):
        beside(image).write_bytes(content)
        with pytest.raises(FeatureError, match=r"1\.png\.mine: not a readable npz"):
            imported(tmp_path).extract(image)
    save(beside(image), **(some() | {"scores": np.array([Exploding(bomb)] * 30, object)}))
    with pytest.raises(FeatureError, match="never unpickled"):
        imported(tmp_path).extract(image)
    with beside(image).open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(FeatureError, match="single array"):
        imported(tmp_path).extract(image)
    assert not bomb.exists()


def test_truncated_npz_and_damaged_hdf5(tmp_path: Path, image: EvaluatedImage) -> None:
    whole = npz_bytes(**some())
    for length in (10, len(whole) // 2, len(whole) - 30):
        beside(image).write_bytes(whole[:length])
        with pytest.raises(FeatureError, match="not a readable npz"):
            imported(tmp_path).extract(image)
    path = tmp_path / "f.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(FeatureError, match="not readable as HDF5"):
        imported(tmp_path, format="hdf5", path=str(path)).extract(image)


def test_missing_features_of_an_image(tmp_path: Path, image: EvaluatedImage) -> None:
    with pytest.raises(FeatureError, match=r"1\.png\.mine: no such file"):
        imported(tmp_path).extract(image)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        write_hdf5(file, "other/2.png", **some())
    with pytest.raises(FeatureError, match=r"has no group 'v_wall/1\.png' \(the file begins with: other\)"):
        imported(tmp_path, format="hdf5", path=str(tmp_path / "f.h5")).extract(image)


def test_check_looks_at_all_images_before_any_work(tmp_path: Path, image: EvaluatedImage) -> None:
    assert image.source_path is not None
    images = [ImageRef(f"v_wall/{k}", image.source_path.with_name(f"{k}.png")) for k in (1, 2, 3)]
    made = imported(tmp_path)
    with pytest.raises(FeatureError, match=r"1\.png\.mine: no such file.* \(and 2 more of 3 images\)"):
        made.check(images)
    for ref in images:
        ref.path.write_bytes(image.source_path.read_bytes())
        save(Path(f"{ref.path}.mine"), **some())
    made.check(images)


def test_coordinates_outside_the_evaluated_image(tmp_path: Path, image: EvaluatedImage) -> None:
    save(beside(image), **some())
    with pytest.raises(FeatureError, match=r"outside the image of 50x60 .*frame=evaluated"):
        imported(tmp_path, frame="evaluated").extract(image)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"suffix": None}, r"methods\.mine\.suffix is missing"),
        ({"path": "nowhere"}, r"methods\.mine\.path=nowhere is not a folder"),
        ({"format": "hdf5"}, r"methods\.mine\.path=None is not a file"),
        ({"format": "hdf5", "path": "nowhere.h5"}, "is not a file"),
    ],
)
def test_impossible_configurations(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        imported(tmp_path, **values)
