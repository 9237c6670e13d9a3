"""The ground truth follows every resize and crop."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import DataError
from bench.core.types import EvaluatedImage, ImageRef, Pair, Size
from bench.data.prepare import plan, prepare_image, prepare_pair, resize, source_to_evaluated, to_grey
from bench.geometry.transforms import transform_points
from bench.schema import ImageConfig
from bench.schema.presets import preset

SOURCE = Size(300, 410)
CENTRES = np.array([[80.3, 70.6], [205.7, 90.2], [318.1, 75.4], [110.8, 210.9], [221.5, 200.0], [312.4, 222.3]])
SIGMA = 9.0

GEOMETRIES = [
    {"policy": "original"},
    {"policy": "short_side", "short_side": 200},
    {"policy": "short_side", "short_side": 200, "multiple_of": 8},
    {"policy": "short_side", "short_side": 203, "multiple_of": 8, "multiple_mode": "resize_up"},
    {"policy": "short_side", "short_side": 457, "rounding": "truncate"},
    {"policy": "short_side", "short_side": 211, "rounding": "ceil"},
    {"policy": "fixed", "height": 200, "width": 500},
    {"policy": "fixed", "height": 260, "width": 250},
    {"policy": "cover_crop", "height": 240, "width": 320, "rounding": "truncate"},
    {"policy": "cover_crop", "height": 200, "width": 300, "rounding": "truncate"},
    {"policy": "cover_topleft", "height": 240, "width": 320},
    {"policy": "cover_topleft", "height": 240, "width": 320, "crop_first": True},
    {"policy": "cover_topleft", "height": 200, "width": 300, "crop_first": True},
    {"policy": "cover_crop", "height": 240, "width": 300, "crop_first": True},
]


def blobs(size: Size, centres: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """Gaussian blobs at exact sub-pixel positions, three equal channels."""
    y, x = np.mgrid[0 : size.height, 0 : size.width].astype(np.float64)
    level = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) for cx, cy in centres)
    return np.repeat(np.rint(np.clip(250 * level, 0, 255)).astype(np.uint8)[:, :, None], 3, axis=2)


def centroid(grey: np.ndarray, near: np.ndarray, radius: float) -> np.ndarray:
    """Centre of mass of grey levels, iterated so that the window is centred on it."""
    y, x = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]].astype(np.float64)
    at = near
    for _ in range(6):
        weight = grey.astype(np.float64) * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * radius**2))
        at = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    return at


def write(folder: Path, name: str, image: np.ndarray) -> ImageRef:
    path = folder / f"{name}.png"
    assert cv2.imwrite(str(path), image)
    return ImageRef(f"v_blobs/{name}", path)


@pytest.mark.parametrize("kernel", ["area", "linear", "tf1_bilinear"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_blobs_lie_where_the_transform_says(
    tmp_path: Path, geometry: dict[str, object], kernel: str, dtype: str
) -> None:
    config = ImageConfig(kernel=kernel, dtype=dtype, **geometry)  # type: ignore[arg-type]
    ref = write(tmp_path, "1", blobs(SOURCE, CENTRES))
    image = prepare_image(ref, config)
    expected = transform_points(image.T_source_to_evaluated, CENTRES)
    scale = min(image.T_source_to_evaluated[0, 0], image.T_source_to_evaluated[1, 1])
    checked = 0
    for at in expected:
        margin = 4 * SIGMA * scale
        if margin < at[0] < image.size.width - margin and margin < at[1] < image.size.height - margin:
            found = centroid(image.grey, at, SIGMA * scale)
            np.testing.assert_allclose(found, at, atol=0.05)
            checked += 1
    assert checked >= 3
    assert image.grey.dtype == np.dtype(dtype)
    assert image.grey.max() > (0.9 if dtype == "float32" else 230)


@pytest.mark.parametrize("kernel", ["area", "linear", "tf1_bilinear"])
@pytest.mark.parametrize("target_size", ["own", "reference"])
@pytest.mark.parametrize(
    "geometry", [{"policy": "short_side", "short_side": 200}, {"policy": "cover_crop", "height": 240, "width": 300}]
)
def test_homographies_map_blobs_to_blobs(
    tmp_path: Path, geometry: dict[str, object], kernel: str, target_size: str
) -> None:
    config = ImageConfig(kernel=kernel, target_size=target_size, dtype="float32", **geometry)  # type: ignore[arg-type]
    H = np.array([[1.1, 0.0, 14.3], [0.0, 1.1, -8.7], [0.0, 0.0, 1.0]])
    target_size_px = Size(360, 440)
    ref = write(tmp_path, "1", blobs(SOURCE, CENTRES))
    target = write(tmp_path, "2", blobs(target_size_px, transform_points(H, CENTRES), SIGMA * 1.1))
    pair = Pair(ref, target, H, "v_blobs", "v", "v_blobs/1-2")
    image_ref = prepare_image(ref, config)
    image_target = prepare_image(target, config, image_ref)
    prepared = prepare_pair(pair, image_ref, image_target, config)
    if target_size == "reference":
        assert image_target.size == image_ref.size
    assert (prepared.size_ref, prepared.size_target) == (image_ref.size, image_target.size)
    for source in CENTRES[[1, 4]]:
        at_ref = centroid(image_ref.grey, transform_points(image_ref.T_source_to_evaluated, source)[0], 5)
        at_target = transform_points(prepared.H_ref_to_target, at_ref)[0]
        np.testing.assert_allclose(centroid(image_target.grey, at_target, 5), at_target, atol=0.05)


def test_round_trip_and_composition_are_exact() -> None:
    rng = np.random.default_rng(3)
    config = ImageConfig(policy="cover_crop", height=240, width=320)
    sizes = [Size(300, 410), Size(700, 500)]
    images = [
        EvaluatedImage(str(i), np.zeros((240, 320), np.uint8), source_to_evaluated(size, plan(size, config), config))
        for i, size in enumerate(sizes)
    ]
    H = np.array([[0.9, 0.1, 20.0], [-0.05, 1.2, 3.0], [1e-4, -2e-4, 1.0]])
    refs = [ImageRef(str(i), Path(str(i))) for i in range(2)]
    forward = prepare_pair(Pair(refs[0], refs[1], H, "s", "v", "s/1-2"), images[0], images[1], config)
    back = prepare_pair(Pair(refs[1], refs[0], np.linalg.inv(H), "s", "v", "s/2-1"), images[1], images[0], config)
    xy = rng.uniform((0, 0), (319, 239), (50, 2))
    np.testing.assert_allclose(
        transform_points(back.H_ref_to_target, transform_points(forward.H_ref_to_target, xy)), xy, atol=1e-8
    )
    through_source = transform_points(np.linalg.inv(images[0].T_source_to_evaluated), xy)
    expected = transform_points(images[1].T_source_to_evaluated, transform_points(H, through_source))
    np.testing.assert_allclose(transform_points(forward.H_ref_to_target, xy), expected, atol=1e-8)
    assert forward.H_ref_to_target[2, 2] == 1.0


def test_tf1_sampler_and_nominal_scale_differ_as_measured() -> None:
    # A 700x1000 image scaled by 24/35 becomes 480x685: the sampler reads column 680 at 680 * 1000 / 685.
    source = Size(700, 1000)
    exact = ImageConfig(policy="cover_topleft", kernel="tf1_bilinear", rounding="truncate")
    nominal = ImageConfig(
        policy="cover_topleft", kernel="tf1_bilinear", rounding="truncate", homography="nominal_scale"
    )
    layout = plan(source, exact)
    assert layout.resized == Size(480, 685)
    dst = np.array([[680.0, 0.0]])
    src = [
        transform_points(np.linalg.inv(source_to_evaluated(source, layout, config)), dst)[0, 0]
        for config in (exact, nominal)
    ]
    assert src[0] == pytest.approx(680 * 1000 / 685)
    assert src[1] == pytest.approx(680 * 35 / 24)


def test_nominal_scale_is_rpautrats_formula_with_pads() -> None:
    sizes = [Size(700, 1000), Size(640, 800)]
    config = ImageConfig(
        policy="cover_crop",
        height=480,
        width=640,
        rounding="truncate",
        kernel="tf1_bilinear",
        homography="nominal_scale",
    )
    H = np.array([[0.88, 0.31, -39.4], [-0.18, 0.94, 153.2], [2e-4, -1.6e-5, 1.0]])
    images = []
    for i, size in enumerate(sizes):
        layout = plan(size, config)
        T = source_to_evaluated(size, layout, config)
        images.append(EvaluatedImage(str(i), np.zeros((480, 640), np.uint8), T))
    refs = [ImageRef(str(i), Path(str(i))) for i in range(2)]
    prepared = prepare_pair(Pair(refs[0], refs[1], H, "s", "v", "s/1-2"), images[0], images[1], config)

    def matrices(size: Size) -> tuple[np.ndarray, np.ndarray]:
        s = max(480 / size.height, 640 / size.width)
        pad_x, pad_y = int((size.width * s - 640) / 2), int((size.height * s - 480) / 2)
        return np.diag([s, s, 1.0]), np.array([[1.0, 0, pad_x], [0, 1.0, pad_y], [0, 0, 1.0]])

    (S1, T1), (S2, T2) = matrices(sizes[0]), matrices(sizes[1])
    expected = np.linalg.inv(T2) @ S2 @ H @ np.linalg.inv(S1) @ T1
    np.testing.assert_allclose(prepared.H_ref_to_target, expected / expected[2, 2], rtol=1e-12, atol=1e-12)
    assert plan(sizes[0], config).crop == (22, 0)


def test_reference_scale_uses_the_references_transform_on_both_sides() -> None:
    config = ImageConfig(policy="cover_topleft", height=240, width=320, homography="reference_scale")
    sizes = [Size(480, 640), Size(960, 1280)]
    images = [
        EvaluatedImage(str(i), np.zeros((240, 320), np.uint8), source_to_evaluated(s, plan(s, config), config))
        for i, s in enumerate(sizes)
    ]
    refs = [ImageRef(str(i), Path(str(i))) for i in range(2)]
    H = np.array([[2.0, 0, 10.0], [0, 2.0, 6.0], [0, 0, 1.0]])
    prepared = prepare_pair(Pair(refs[0], refs[1], H, "s", "v", "s/1-2"), images[0], images[1], config)
    np.testing.assert_allclose(prepared.H_ref_to_target, [[2.0, 0, 5.0], [0, 2.0, 3.0], [0, 0, 1.0]], atol=1e-12)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(64, 4000),
    st.integers(64, 4000),
    st.sampled_from(["short_side", "cover_crop", "cover_topleft", "fixed"]),
    st.sampled_from(["round", "truncate", "ceil"]),
    st.sampled_from([1, 8, 16]),
    st.sampled_from(["crop", "resize_up"]),
)
def test_sizes_are_what_the_policy_promises(
    height: int, width: int, policy: str, rounding: str, multiple: int, mode: str
) -> None:
    config = ImageConfig(policy=policy, rounding=rounding, multiple_of=multiple, multiple_mode=mode)
    layout = plan(Size(height, width), config)
    assert layout.evaluated.height % multiple == layout.evaluated.width % multiple == 0
    assert layout.crop[0] >= 0 and layout.crop[0] + layout.evaluated.width <= layout.resized.width
    assert layout.crop[1] >= 0 and layout.crop[1] + layout.evaluated.height <= layout.resized.height
    if policy == "short_side":
        assert min(layout.evaluated.height, layout.evaluated.width) == 480
    else:
        assert layout.evaluated == Size(480, 640)
    assert layout.nominal_crop == layout.crop or rounding != "truncate" or policy != "cover_crop"


def test_crop_first_cuts_the_source_to_whole_pixels_and_stretches_that_part() -> None:
    """700x1000 covers 240x320 by a factor .3429: 320 / .3429 = 933.3 columns are cut to 933, all 700 rows stay."""
    source = Size(700, 1000)
    config = ImageConfig(policy="cover_topleft", height=240, width=320, crop_first=True)
    layout = plan(source, config)
    assert (layout.part, layout.part_at, layout.resized, layout.crop) == (
        Size(700, 933),
        (0, 0),
        Size(240, 320),
        (0, 0),
    )
    T = source_to_evaluated(source, layout, config)
    # Half-pixel centres: the outer edges -0.5 and 932.5 (699.5) of the part become -0.5 and 319.5 (239.5).
    edges = transform_points(T, [[-0.5, -0.5], [932.5, 699.5]])
    np.testing.assert_allclose(edges, [[-0.5, -0.5], [319.5, 239.5]], atol=1e-12)
    centred = ImageConfig(policy="cover_crop", height=240, width=320, crop_first=True)
    layout = plan(source, centred)
    assert layout.part_at == (33, 0)
    edges = transform_points(source_to_evaluated(source, layout, centred), [[32.5, -0.5], [965.5, 699.5]])
    np.testing.assert_allclose(edges, [[-0.5, -0.5], [319.5, 239.5]], atol=1e-12)
    # Resized first, the same image is 343 columns wide, of which 320 are kept: 0.11 px away at the right edge.
    last = ImageConfig(policy="cover_topleft", height=240, width=320)
    edge = transform_points(source_to_evaluated(source, plan(source, last), last), [[932.5, 699.5]])
    assert edge[0, 0] - 319.5 == pytest.approx(933 * 343 / 1000 - 320)


@pytest.mark.parametrize("size", [(480, 640), (600, 950), (850, 680), (765, 1000), (1024, 768), (300, 410)])
def test_pytorch_superpoint_image_is_the_sources(size: tuple[int, int], tmp_path: Path) -> None:
    """Its steps written out: grey, cut, resize, with the lines of its loader done by hand."""
    rng = np.random.default_rng(size)
    image = cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 2)
    ref = write(tmp_path, "1", image)
    scale = max(240 / size[0], 320 / size[1])
    grey = np.rint(image @ np.array([0.299, 0.587, 0.114]))  # the first channel, blue, weighted as red
    cut = grey[: int(240 / scale), : int(320 / scale)].astype(np.uint8)
    expected = cv2.resize(cut, (320, 240), interpolation=cv2.INTER_AREA)
    found = prepare_image(ref, preset("pytorch_superpoint").image)
    assert np.abs(found.grey.astype(int) - expected).max() <= 1
    # Nominal scale of image 1 for both, whatever was cut.
    np.testing.assert_allclose(found.T_source_to_evaluated, np.diag([scale, scale, 1]), atol=1e-12)


def test_multiple_of_crops_or_enlarges() -> None:
    crop = plan(SOURCE, ImageConfig(policy="original", multiple_of=16))
    assert (crop.resized, crop.evaluated) == (SOURCE, Size(288, 400))
    up = plan(SOURCE, ImageConfig(policy="original", multiple_of=16, multiple_mode="resize_up"))
    assert (up.resized, up.evaluated) == (Size(304, 416), Size(304, 416))


def test_images_that_become_too_small_are_refused(tmp_path: Path) -> None:
    ref = write(tmp_path, "1", np.zeros((20, 300, 3), np.uint8))
    with pytest.raises(DataError, match="20x300"):
        prepare_image(ref, ImageConfig(policy="original", multiple_of=32))


def test_grey_weights() -> None:
    pixels = np.array([[[200, 0, 0], [0, 200, 0], [0, 0, 200], [255, 255, 255]]], dtype=np.uint8)  # B, G, R, white
    modes = ("bt601", "bt601_swapped", "bt601_swapped_cv2", "bt709")
    levels = {mode: to_grey(pixels, mode, fractional=True)[0] * 255 for mode in modes}
    np.testing.assert_allclose(levels["bt601_swapped_cv2"], [60, 117, 23, 255], atol=1e-3)
    np.testing.assert_allclose(levels["bt601"], [22.8, 117.4, 59.8, 255], atol=1e-3)
    np.testing.assert_allclose(levels["bt709"], [14.42, 143.08, 42.5, 255], atol=1e-3)
    # TensorFlow's uint8 result: floor(255.5 / 255 * level), blue weighted as red.
    np.testing.assert_allclose(levels["bt601_swapped"], [59, 117, 22, 255], atol=1e-3)
    np.testing.assert_array_equal(to_grey(pixels, "bt601", fractional=False)[0], [23, 117, 60, 255])
    for mode in levels:
        assert to_grey(pixels, mode, fractional=False).dtype == np.uint8
        assert to_grey(pixels, mode, fractional=True).dtype == np.float32


def test_tf1_bilinear_samples_at_dst_times_scale() -> None:
    ramp = np.tile(np.arange(12, dtype=np.float32), (4, 1))
    out = resize(ramp, Size(4, 8), "tf1_bilinear")
    np.testing.assert_allclose(out[0], np.minimum(np.arange(8) * 1.5, 11), atol=1e-5)
    up = resize(ramp, Size(4, 24), "tf1_bilinear")
    np.testing.assert_allclose(up[0], np.minimum(np.arange(24) * 0.5, 11), atol=1e-5)


def test_area_averages_along_the_axis_that_shrinks() -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 1, (40, 40)).astype(np.float32)
    out = resize(noise, Size(80, 10), "area")
    np.testing.assert_allclose(out[0], noise[0].reshape(10, 4).mean(axis=1), atol=1e-5)


def test_a_sliver_is_not_enlarged_beyond_the_memory(tmp_path: Path) -> None:
    """16 x 30 000 px with a short side of 100 000 px would be 19 terabytes."""
    path = tmp_path / "sliver.png"
    cv2.imwrite(str(path), np.zeros((16, 30_000), np.uint8))
    with pytest.raises(DataError, match=r"sliver\.png: an image of .* fit the memory"):
        prepare_image(ImageRef("s/1", path), ImageConfig(policy="short_side", short_side=100_000))
