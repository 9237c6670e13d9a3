"""OpenCV's methods: what OpenCV finds, under the budget and rules of the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import ConfigError, FeatureError, ModelError
from bench.core.types import Context, EvaluatedImage, Features, Size
from bench.features import opencv
from bench.features.base import create
from bench.features.opencv import find_factory, one_per_pixel, root_sift, suppress_keypoints
from bench.schema import CustomConfig, NmsConfig, OpenCVConfig, SiftConfig

ALGORITHMS = ("sift", "rootsift", "orb", "akaze", "brisk", "kaze")
DESCRIPTORS = {
    "sift": (128, np.float32),
    "rootsift": (128, np.float32),
    "orb": (32, np.uint8),
    "akaze": (61, np.uint8),
    "brisk": (64, np.uint8),
    "kaze": (64, np.float32),
}


def textured(height: int = 240, width: int = 320, seed: int = 0) -> EvaluatedImage:
    """Blurred blocks of random grey: corners and blobs of many sizes."""
    rng = np.random.default_rng(seed)
    grey = cv2.resize(rng.integers(0, 256, (30, 40), dtype=np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return EvaluatedImage("set/1", cv2.GaussianBlur(grey, (0, 0), 1.5), np.eye(3))


def extractor(algorithm: str, tmp_path: Path, threads: int = 1, **values: Any) -> opencv.OpenCVExtractor:
    values = {
        "max_keypoints": 200,
        "classical_max": None,
        "integer": False,
        "nms": NmsConfig(),
        "sift": SiftConfig(),
    } | values
    config = OpenCVConfig(algorithm=algorithm, threads=threads, **values)
    made = create(algorithm, config, Context(threads, tmp_path, tmp_path))
    assert isinstance(made, opencv.OpenCVExtractor)
    return made


def extract(algorithm: str, tmp_path: Path, image: EvaluatedImage | None = None, **values: Any) -> Features:
    return extractor(algorithm, tmp_path, **values).extract(image or textured())[0]


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_budget_order_and_descriptors(algorithm: str, tmp_path: Path) -> None:
    features = extract(algorithm, tmp_path, max_keypoints=50)
    assert len(features) == 50
    assert (np.diff(features.scores) <= 0).all()
    assert features.descriptors is not None
    assert (features.descriptors.shape[1], features.descriptors.dtype) == DESCRIPTORS[algorithm]


@pytest.mark.parametrize("algorithm", ["akaze", "brisk", "kaze"])
def test_budget_takes_the_best_of_all(algorithm: str, tmp_path: Path) -> None:
    """Without a budget of its own, the algorithm's 50 best are the first 50 of everything it finds."""
    few, every = (extract(algorithm, tmp_path, max_keypoints=n) for n in (50, 0))
    assert len(every) > 50
    np.testing.assert_array_equal(few.keypoints, every.keypoints[:50])
    np.testing.assert_array_equal(few.descriptors, every.descriptors[:50])


def test_sift_is_opencvs_sift(tmp_path: Path) -> None:
    image = textured()
    keypoints, descriptors = cv2.SIFT_create(nfeatures=80).detectAndCompute(image.grey, None)
    features = extract("sift", tmp_path, image, max_keypoints=80)
    expected = {(*k.pt, k.response, d.tobytes()) for k, d in zip(keypoints, descriptors, strict=True)}
    found = {
        (*xy, s, d.tobytes())
        for xy, s, d in zip(features.keypoints.tolist(), features.scores.tolist(), features.descriptors, strict=True)
    }
    assert found <= expected
    assert len(features) == 80


def test_classical_max_is_asked_of_the_detector(tmp_path: Path) -> None:
    """ORB spreads its own budget over the pyramid, so 100 of 400 are not the 100 it gives when asked for 100."""
    asked_100 = extract("orb", tmp_path, max_keypoints=100)
    best_of_400 = extract("orb", tmp_path, max_keypoints=100, classical_max=400)
    assert len(asked_100) == len(best_of_400) == 100
    assert best_of_400.scores.sum() > asked_100.scores.sum()
    assert extractor("sift", tmp_path, classical_max=77).info().fingerprint["params"]["nfeatures"] == 77


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_zero_keeps_all(algorithm: str, tmp_path: Path) -> None:
    assert len(extract(algorithm, tmp_path, max_keypoints=0)) > 200


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_blank_image_has_no_keypoints(algorithm: str, tmp_path: Path) -> None:
    blank = EvaluatedImage("blank", np.full((120, 160), 128, np.uint8), np.eye(3))
    for integer, applies_to in ((False, "maps"), (True, "all")):
        features = extract(algorithm, tmp_path, blank, integer=integer, nms=NmsConfig(applies_to=applies_to))
        assert len(features) == 0
        assert features.descriptors is not None
        assert (features.descriptors.shape, features.descriptors.dtype) == (
            (0, DESCRIPTORS[algorithm][0]),
            DESCRIPTORS[algorithm][1],
        )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_smallest_image_gives_features_or_a_feature_error(algorithm: str, tmp_path: Path) -> None:
    image = EvaluatedImage("tiny", textured(16, 16).grey, np.eye(3))
    try:
        features = extract(algorithm, tmp_path, image)
    except FeatureError as error:
        assert "tiny" in str(error)
    else:
        assert features.size == Size(16, 16)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_same_image_same_bits_whatever_the_threads(algorithm: str, tmp_path: Path) -> None:
    one, two = (extract(algorithm, tmp_path, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.keypoints, two.keypoints)
    np.testing.assert_array_equal(one.descriptors, two.descriptors)


def test_fractional_grey_levels_are_truncated(tmp_path: Path) -> None:
    image = textured()
    fractional = EvaluatedImage("f", (image.grey.astype(np.float32) + np.float32(0.9)).clip(0, 255) / 255, np.eye(3))
    np.testing.assert_array_equal(
        extract("sift", tmp_path, fractional).descriptors, extract("sift", tmp_path, image).descriptors
    )


def test_integer_coordinates_hold_one_keypoint_each(tmp_path: Path) -> None:
    plain = extract("sift", tmp_path, max_keypoints=0)
    whole = extract("sift", tmp_path, max_keypoints=0, integer=True)
    assert (whole.keypoints == np.trunc(whole.keypoints)).all()
    pixels = set(map(tuple, whole.keypoints.tolist()))
    assert len(pixels) == len(whole) < len(plain)
    assert pixels == set(map(tuple, np.trunc(plain.keypoints).tolist()))


def test_the_last_keypoint_of_a_pixel_wins() -> None:
    pixels = np.array([[3, 2], [5, 5], [3, 2], [0, 0], [3, 2]])
    assert one_per_pixel(pixels, Size(10, 10)).tolist() == [1, 3, 4]
    assert one_per_pixel(np.zeros((0, 2), np.int64), Size(10, 10)).tolist() == []


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 40), size=st.integers(1, 8))
def test_suppression_equals_a_greedy_loop(seed: int, n: int, size: int) -> None:
    """Boxes of one side overlap by more than the IoU threshold; the better keypoint stays."""
    rng = np.random.default_rng(seed)
    flat = rng.permutation(20 * 30)[:n]
    pixels = np.stack([flat % 30, flat // 30], axis=1)
    scores = rng.integers(-3, 4, n).astype(np.float32)
    expected: list[int] = []
    for i in np.lexsort((pixels[:, 0], pixels[:, 1], -scores)):
        overlaps = []
        for j in expected:
            width, height = np.maximum(0, size - np.abs(pixels[i] - pixels[j]))
            overlaps.append(width * height / (2 * size * size - width * height))
        if all(overlap <= 0.1 for overlap in overlaps):
            expected.append(int(i))
    kept = suppress_keypoints(pixels, scores, NmsConfig(kind="box", size=size, iou=0.1), Size(20, 30))
    assert sorted(kept.tolist()) == sorted(expected)


@pytest.mark.parametrize("integer", [False, True])
def test_suppression_applies_to_classical_keypoints_on_request(integer: bool, tmp_path: Path) -> None:
    everything = extract("sift", tmp_path, max_keypoints=0, integer=integer)
    spread = extract("sift", tmp_path, max_keypoints=0, integer=integer, nms=NmsConfig("square", 4, applies_to="all"))
    assert 0 < len(spread) < len(everything)
    pixels = np.trunc(spread.keypoints) if integer else np.rint(spread.keypoints)
    distance = np.abs(pixels[:, None] - pixels[None]).max(axis=-1)
    np.fill_diagonal(distance, 99)
    assert distance.min() > 4
    # sub-pixel positions survive unless they are truncated
    assert (spread.keypoints == np.trunc(spread.keypoints)).all() == integer


def test_rootsift_is_the_hellinger_map_of_sift(tmp_path: Path) -> None:
    sift, root = (extract(name, tmp_path) for name in ("sift", "rootsift"))
    np.testing.assert_array_equal(sift.keypoints, root.keypoints)
    a = np.asarray(sift.descriptors, np.float64)
    np.testing.assert_allclose(root.descriptors, np.sqrt(a / a.sum(axis=1, keepdims=True)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(root.descriptors, axis=1), 1, atol=1e-5)
    assert root_sift(np.zeros((1, 128), np.float32)).tolist() == [[0.0] * 128]


def test_stage_times_and_info(tmp_path: Path) -> None:
    made = extractor("akaze", tmp_path)
    made.warm_up(Size(240, 320))
    _, times = made.extract(textured())
    assert times.infer_ms > 0
    assert times.decode_ms > 0
    info = made.info()
    assert info.has_descriptors
    assert info.versions == {"opencv": cv2.__version__}
    assert info.threads["opencv"] == 1


@pytest.mark.parametrize("algorithm", ["sift", "rootsift"])
def test_precise_upscale_leaves_keypoints_where_they_are(algorithm: str, tmp_path: Path) -> None:
    """A turn by 180 degrees is exact: x becomes W - 1 - x. A shift of all keypoints does not turn with the image."""
    image = textured()
    turned = EvaluatedImage("set/2", np.ascontiguousarray(image.grey[::-1, ::-1]), np.eye(3))
    shifts = {}
    for precise in (True, False):
        made = extractor(algorithm, tmp_path, max_keypoints=0, sift=SiftConfig(precise_upscale=precise))
        a, b = (made.extract(x)[0].keypoints for x in (image, turned))
        back = np.array([image.size.width - 1, image.size.height - 1]) - b
        nearest = back[np.hypot(*(a[:, None] - back[None]).transpose(2, 0, 1)).argmin(axis=1)]
        shifts[precise] = np.median(a - nearest, axis=0)
        word = "precise" if precise else "default"
        assert made.info().precision == {"label": f"fp32, {word} upscale"}
    np.testing.assert_allclose(shifts[True], 0, atol=0.03)
    np.testing.assert_allclose(shifts[False], 0.5, atol=0.1)  # a quarter of a pixel from each image


def test_the_protocols_parameters_of_sift_reach_opencv(tmp_path: Path) -> None:
    few = extract("sift", tmp_path, max_keypoints=0, sift=SiftConfig(contrast_threshold=0.1))
    default, many = (
        extract("sift", tmp_path, max_keypoints=0, sift=s)
        for s in (SiftConfig(), SiftConfig(edge_threshold=40.0, octave_layers=5))
    )
    assert 0 < len(few) < len(default) < len(many)
    plain = cv2.SIFT_create().detect(textured().grey, None)
    assert len(default) == len(plain)
    made = extractor("sift", tmp_path, sift=SiftConfig(precise_upscale=True), params={"enable_precise_upscale": False})
    assert made.info().fingerprint["params"]["enable_precise_upscale"] is False
    assert made.info().precision["label"] == "fp32, default upscale"


def test_parameters_reach_opencv(tmp_path: Path) -> None:
    strict = extract("sift", tmp_path, params={"contrastThreshold": 0.2}, max_keypoints=0)
    assert 0 < len(strict) < len(extract("sift", tmp_path, max_keypoints=0))
    assert len(extract("orb", tmp_path, params={"nfeatures": 20})) <= 20


@pytest.mark.parametrize("params", [{"nfeatuers": 5}, {"contrastThreshold": "much"}, {"nOctaveLayers": [1]}])
def test_refused_parameters_are_a_config_error(params: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"methods\.sift\.params=.*it takes: SIFT_create\("):
        extractor("sift", tmp_path, params=params)


def test_an_algorithm_missing_from_this_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(opencv._FACTORIES, "kaze", "NOT_BUILT_create")
    with pytest.raises(ModelError, match=r"kaze is not in this build .*opencv-contrib-python"):
        find_factory("kaze")


def test_wrong_schema(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OpenCVConfig"):
        opencv.create("x", CustomConfig(backend="opencv"), Context(1, tmp_path, tmp_path))
