"""Every unreadable image ends in a DataError that names the file."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bench.core.errors import DataError
from bench.data.images import EXTENSIONS, findings, read_image


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


def test_jpeg_data_that_the_decoder_repairs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.jpg"
    cv2.imwrite(str(path), np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8))
    whole = path.read_bytes()
    assert list(findings(whole, path)) == []
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(50):
        damaged = bytearray(whole)
        for position in rng.integers(len(whole) // 4, len(whole) - 2, 20):
            damaged[position] ^= 1 << int(rng.integers(8))
        try:
            read = list(findings(bytes(damaged), path))
        except DataError as error:
            assert "damaged image (" in str(error)
            found += 1
        else:
            found += bool(read)
    assert found >= 45  # a flip that leaves a valid code leaves no trace


def test_bytes_after_the_last_pixel_are_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "1.jpg"
    cv2.imwrite(str(path), texture())
    content = path.read_bytes()
    (finding,) = findings(content[:-2] + bytes(7) + content[-2:], path)
    assert "extraneous bytes before marker 0xd9" in finding


@pytest.mark.parametrize(
    ("extension", "gain", "warned"), [(".png", 16, True), (".png", 257, False), (".tif", 16, True), (".pgm", 16, True)]
)
def test_twelve_bits_in_sixteen_are_a_finding(tmp_path: Path, extension: str, gain: int, warned: bool) -> None:
    path = tmp_path / f"1{extension}"
    cv2.imwrite(str(path), (texture()[:, :, 0].astype(np.uint16) * gain).astype(np.uint16))
    assert read_image(path).shape == (40, 60, 3)
    assert ["largest value is" in finding for finding in findings(path.read_bytes(), path)] == [True] * warned


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_orientation_is_applied_and_a_finding(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "1.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(texture()).save(path, exif=exif)
    assert read_image(path).shape[:2] == ((40, 60) if orientation == 1 else (60, 40))
    found = list(findings(path.read_bytes(), path))
    assert ["EXIF orientation 6 is applied" in finding for finding in found] == [True] * (orientation == 6)


def test_images_of_floats_are_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "1.tif"
    cv2.imwrite(str(path), texture()[:, :, 0].astype(np.float32))
    with pytest.raises(DataError, match="floats are not supported"):
        read_image(path)


def test_sizes_beyond_memory_are_refused_by_the_header(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    header = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 1000) + b"IDAT" + bytes(1000))
    with pytest.raises(DataError, match="more than 150 million pixels"):
        read_image(path)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(DataError, match="not a regular file"):
        read_image(tmp_path / "1.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is a text file, not an image\n", "not a complete image"),
        (b"", "empty"),
        (b"P6\n2000000 2000000\n255\nabc", "more than 150 million pixels"),
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
    with pytest.raises(DataError, match="not a regular file"):
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
