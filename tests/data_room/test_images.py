"""Every unreadable image ends in a DataError that names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.core.errors import DataError
from bench.data.images import EXTENSIONS, read_image


def texture(height: int = 40, width: int = 60) -> np.ndarray:
    rng = np.random.default_rng((0, height, width))
    return cv2.resize(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("extension", [".ppm", ".png", ".bmp", ".tif"])
def test_lossless_formats_round_trip(tmp_path: Path, extension: str) -> None:
    image = texture()
    path = tmp_path / f"1{extension}"
    assert cv2.imwrite(str(path), image)
    np.testing.assert_array_equal(read_image(path), image)


def test_grey_files_become_three_equal_channels(tmp_path: Path) -> None:
    path = tmp_path / "1.pgm"
    grey = texture()[:, :, 0]
    cv2.imwrite(str(path), grey)
    np.testing.assert_array_equal(read_image(path), np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("extension", [".ppm", ".png", ".jpg", ".bmp", ".webp"])
@pytest.mark.parametrize("fraction", [0.02, 0.5, 0.95])
def test_truncated_images_are_refused(tmp_path: Path, extension: str, fraction: float) -> None:
    assert extension in EXTENSIONS
    path = tmp_path / f"1{extension}"
    cv2.imwrite(str(path), texture(200, 300))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DataError, match=path.name):
        read_image(path)


def test_a_damaged_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    cv2.imwrite(str(path), texture(200, 300))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"1\.png"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is a text file, not an image\n", "not a complete image"),
        (b"", "empty"),
        (b"P6\n2000000 2000000\n255\nabc", "not a"),
        (b"P6\nten ten\n255\nabc", "not a"),
    ],
)
def test_files_that_are_no_images_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "1.ppm"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "1.ppm")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize(("height", "width", "readable"), [(15, 100, False), (100, 15, False), (16, 16, True)])
def test_sides_below_16_px_are_refused(tmp_path: Path, height: int, width: int, readable: bool) -> None:
    path = tmp_path / "1.png"
    cv2.imwrite(str(path), texture(height, width))
    if readable:
        assert read_image(path).shape == (height, width, 3)
    else:
        with pytest.raises(DataError, match=f"{height}x{width}"):
            read_image(path)
