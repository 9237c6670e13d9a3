"""Reading image files: a clear error, or all pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import DataError
from bench.core.types import Size

MINIMUM_SIDE_PX = 16
EXTENSIONS = (".ppm", ".pgm", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def read_bytes(path: Path) -> bytes:
    """Return a file's content.

    Raises
    ------
    DataError
        If the file is missing, empty or cannot be read.
    """
    try:
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
        Content of the file: PPM, PGM, PNG, JPEG, BMP, TIFF or WebP. An EXIF orientation is applied, more than 8 bits
        are reduced to 8, an alpha channel is dropped.
    path : Path
        Named in errors.

    Returns
    -------
    (H, W, 3) uint8
        BGR.

    Raises
    ------
    DataError
        If the content is not a complete image, or a side is shorter than 16 px.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DataError(f"{path}: not a readable image ({error.err}); restore it from its source") from error
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
