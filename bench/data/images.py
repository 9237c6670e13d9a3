"""Reading image files: a clear error, or all pixels."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.core.errors import DataError
from bench.core.types import Size

T = TypeVar("T")

MINIMUM_SIDE_PX = 16
MAX_PIXELS = 150_000_000
_ORIENTATION = 0x0112
EXTENSIONS = (".ppm", ".pgm", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def read_bytes(path: Path) -> bytes:
    """Return a file's content.

    Raises
    ------
    DataError
        If the file is missing, empty or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for ever
            raise DataError(f"{path}: is not a regular file; restore it or take the pair out of the data set")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; restore it or take the pair out of the data set") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the file and its rights") from error
    if not data:
        raise DataError(f"{path}: the file is empty; restore it from its source")
    return data


def decode_image(data: bytes, path: Path) -> NDArray[np.uint8]:
    """Decode the content of an image file.

    Parameters
    ----------
    data : bytes
        Content of the file: PPM, PGM, PNG, JPEG, BMP, TIFF or WebP. An EXIF orientation is applied: coordinates are
        those of the image as it is viewed. More than 8 bits are reduced to 8, an alpha channel is dropped.
    path : Path
        Named in errors.

    Returns
    -------
    (H, W, 3) uint8
        BGR.

    Raises
    ------
    DataError
        If the content is not a complete image, holds floats, has more than 150 million pixels, or a side is shorter
        than 16 px.
    """
    _check_pixel_count(data, path)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DataError(f"{path}: not a readable image ({error.err}); restore it from its source") from error
    if image is None and _bits(data).dtype.kind == "f":
        raise DataError(f"{path}: images of floats are not supported; convert it to 8 or 16 bits")
    if image is None:
        raise DataError(
            f"{path}: not a complete image (starts with {data[:8]!r}, {len(data)} bytes); "
            "it is truncated, damaged or of another type; restore it from its source"
        )
    size = Size(*image.shape[:2])
    if min(size.height, size.width) < MINIMUM_SIDE_PX:
        raise DataError(
            f"{path}: {size} px (HxW) is too small; each side must have at least {MINIMUM_SIDE_PX} px; "
            "use a larger image"
        )
    return np.asarray(image, dtype=np.uint8)


def findings(data: bytes, path: Path) -> Iterator[str]:
    """What is odd about an image that can be decoded; a sentence each.

    Parameters
    ----------
    data : bytes
        Content of the file.
    path : Path
        Named in the sentences.

    Raises
    ------
    DataError
        If the decoder repaired damaged JPEG data.
    """
    if data[:2] == b"\xff\xd8":
        yield from _jpeg_findings(data, path)
    if data[:2] in (b"P5", b"P6", b"II", b"MM") or (data[:4] == b"\x89PNG" and data[24:25] == b"\x10"):
        levels = _bits(data)
        if levels.dtype == np.uint16 and 0 < levels.max() < 4096:
            yield (
                f"{path}: 16-bit file whose largest value is {levels.max()}: it is read as nearly black; "
                "scale its values to the full range"
            )
    orientation = _header(data, lambda image: image.getexif().get(_ORIENTATION, 1))
    if orientation not in (None, 1):
        yield (
            f"{path}: EXIF orientation {orientation} is applied; "
            "homographies must hold for the image as it is viewed, not for stored pixels"
        )


def _jpeg_findings(data: bytes, path: Path) -> Iterator[str]:
    """Ask the decoder, which reports damage on the standard error stream and nowhere else."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        said = file.read()
    pattern = rb"(?:Corrupt JPEG data: [^\n]*|Premature end of JPEG[^\n]*|[^\n]*JPEG[^\n]*)\n?"
    reports = [report.decode(errors="replace").strip() for report in re.findall(pattern, said)]
    if other := re.sub(pattern, b"", said):
        os.write(2, other)  # of another thread
    for report in reports:
        # Bytes between the data and the end are a habit of some cameras: no pixel depends on them.
        if "extraneous bytes before marker 0xd9" not in report:
            raise DataError(f"{path}: damaged image ({report}); restore it from its source")
        yield f"{path}: {report}"


def _bits(data: bytes) -> NDArray[np.generic]:
    """The image with the type its file has; empty if it cannot be decoded."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    return np.zeros(0, np.uint8) if image is None else np.asarray(image)


def _header(data: bytes, read: Callable[[Image.Image], T]) -> T | None:
    """Read from an image's header; None where Pillow does not know the format."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            return read(image)
    except Image.DecompressionBombError:
        raise
    except Exception:  # headers may be damaged in any way; the decoder has the last word
        return None


def _check_pixel_count(data: bytes, path: Path) -> None:
    try:
        width, height = _header(data, lambda image: image.size) or (0, 0)
        allowed = width * height <= MAX_PIXELS
    except Image.DecompressionBombError:
        allowed = False
    if not allowed:
        raise DataError(f"{path}: has more than {MAX_PIXELS // 1_000_000} million pixels; use a smaller image")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file; see :func:`decode_image`.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (H, W, 3) uint8
        BGR.

    Raises
    ------
    DataError
        If the file is missing, empty, not an image, truncated, damaged, or a side is shorter than 16 px.
    """
    return decode_image(read_bytes(path), path)


def pixel_count(path: Path) -> int:
    """Pixels of an image file, from its header where Pillow knows the format.

    Raises
    ------
    DataError
        If the file is missing, empty or no image.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            width, height = image.size
    except Exception:  # a format that only OpenCV reads, or a missing file, which is named there
        height, width = read_image(path).shape[:2]
    return width * height
