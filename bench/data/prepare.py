"""From the source image to the evaluated image, and from the source homography to the evaluated one.

Coordinates are xy with pixel centres at integers. A sampler with half-pixel centres (area, linear) that makes `n`
pixels of `m` maps source x to ``(x + 0.5) n / m - 0.5``; TensorFlow 1's bilinear sampler reads output x at ``x m / n``
and so maps source x to ``x n / m``. Both are followed per axis and with the true integer sizes unless ``homography``
says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import DataError
from bench.core.types import EvaluatedImage, ImageRef, Pair, PreparedPair, Size, Transform
from bench.data.images import MINIMUM_SIDE_PX, read_image
from bench.geometry.transforms import scaling, translation
from bench.schema import ImageConfig
from bench.schema.options import HomographyMode, ImageDtype, Kernel, MultipleMode, ResizePolicy, TargetSize
from bench.schema.values import max_pixels

# Weights of B, G, R.
_BT601 = (0.114, 0.587, 0.299)
_BT601_SWAPPED = (0.2989, 0.5870, 0.1140)  # tf.image.rgb_to_grayscale's weights of R, G, B applied to B, G, R
_BT709 = (0.0721, 0.7154, 0.2125)  # skimage.color.rgb2gray

Grey = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes and offsets of one preparation.

    Attributes
    ----------
    part : Size
        Size of the part of the source image that is resized; the whole image unless ``crop_first``.
    part_at : (int, int)
        x and y of its corner in the source image.
    resized : Size
        Size after the resize.
    crop : (int, int)
        x and y of the evaluated image's corner in the resized image.
    evaluated : Size
        Size after the crop.
    nominal_scale : (Fraction, Fraction)
        Scale of x and y before the sides became integers.
    nominal_crop : (int, int)
        Offset of the crop computed from the unrounded sides, as rpautrat does.
    """

    part: Size
    part_at: tuple[int, int]
    resized: Size
    crop: tuple[int, int]
    evaluated: Size
    nominal_scale: tuple[Fraction, Fraction]
    nominal_crop: tuple[int, int]


def _rounded(length: Fraction, rounding: str) -> int:
    if rounding == "truncate":
        return math.floor(length)
    if rounding == "ceil":
        return math.ceil(length)
    return math.floor(length + Fraction(1, 2))


def _scaled(size: Size, factor: Fraction, rounding: str) -> Size:
    return Size(_rounded(size.height * factor, rounding), _rounded(size.width * factor, rounding))


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def plan(source: Size, config: ImageConfig, reference: Size | None = None) -> Plan:
    """Compute the sizes of a preparation with exact fractions, so that 480 / 522 * 522 is 480.

    Parameters
    ----------
    source : Size
        Size of the image file.
    config : ImageConfig
    reference : Size, optional
        Evaluated size of the pair's reference image; with ``target_size: reference`` the image is stretched to it.

    Raises
    ------
    DataError
        If the evaluated image would have a side shorter than 16 px, or the image is enlarged to more pixels than fit
        the memory.
    """
    if config.target_size == TargetSize.reference and reference is not None:
        scale_to = (Fraction(reference.width, source.width), Fraction(reference.height, source.height))
        return Plan(source, (0, 0), reference, (0, 0), reference, scale_to, (0, 0))

    resize_up = config.multiple_mode == MultipleMode.resize_up
    part, part_at = source, (0, 0)
    crop_x = crop_y = nominal_x = nominal_y = 0
    if config.policy in (ResizePolicy.fixed, ResizePolicy.cover_crop, ResizePolicy.cover_topleft):
        height, width = config.height, config.width
        if resize_up:
            height, width = _up(height, config.multiple_of), _up(width, config.multiple_of)
        scale = (Fraction(width, source.width), Fraction(height, source.height))
        resized = final = Size(height, width)
        if config.policy != ResizePolicy.fixed:
            scale = (max(scale), max(scale))
            # Rounding never falls below the crop: the covering side is exact, the other at least as long.
            resized = _scaled(source, max(scale), config.rounding)
        if config.crop_first:
            part, resized = Size(math.floor(height / scale[1]), math.floor(width / scale[0])), final
        if config.policy == ResizePolicy.cover_crop:
            if config.crop_first:
                part_at = ((source.width - part.width) // 2, (source.height - part.height) // 2)
            else:
                crop_x, crop_y = (resized.width - width) // 2, (resized.height - height) // 2
            nominal_x = math.floor((source.width * scale[0] - width) / 2)
            nominal_y = math.floor((source.height * scale[1] - height) / 2)
    else:
        factor = Fraction(1)
        if config.policy == ResizePolicy.short_side:
            factor = Fraction(config.short_side, min(source.height, source.width))
        scale = (factor, factor)
        resized = Size(
            _rounded(source.height * factor, config.rounding), _rounded(source.width * factor, config.rounding)
        )
        if resize_up:
            resized = Size(_up(resized.height, config.multiple_of), _up(resized.width, config.multiple_of))
        final = resized
    if not resize_up:
        multiple = config.multiple_of
        final = Size(final.height // multiple * multiple, final.width // multiple * multiple)
    if min(final.height, final.width) < MINIMUM_SIDE_PX:
        raise DataError(
            f"an image of {source} px (HxW) becomes {final}; each side must keep at least {MINIMUM_SIDE_PX} px; "
            "change protocol.image.policy or multiple_of, or use a larger image"
        )
    if resized.height * resized.width > max(max_pixels(), source.height * source.width):
        raise DataError(
            f"an image of {source} px (HxW) becomes {resized}, more than the {max_pixels()} pixels that fit the memory "
            "of this machine; change protocol.image.policy, or crop the image"
        )
    return Plan(part, part_at, resized, (crop_x, crop_y), final, scale, (nominal_x, nominal_y))


def source_to_evaluated(source: Size, layout: Plan, config: ImageConfig) -> Transform:
    """Transform from source pixels to evaluated pixels.

    Parameters
    ----------
    source : Size
    layout : Plan
    config : ImageConfig
        ``homography: exact`` follows the sampler; ``nominal_scale`` and ``reference_scale`` give rpautrat's
        ``T(-pad) S(s)`` (patches_dataset.py L62-92), which the resized image follows only approximately.

    Returns
    -------
    (3, 3) float64
    """
    if config.homography != HomographyMode.exact:
        crop_x, crop_y = layout.nominal_crop
        return translation(-crop_x, -crop_y) @ scaling(float(layout.nominal_scale[0]), float(layout.nominal_scale[1]))
    scale_x = layout.resized.width / layout.part.width
    scale_y = layout.resized.height / layout.part.height
    resize = scaling(scale_x, scale_y)
    if config.kernel != Kernel.tf1_bilinear:
        resize = translation((scale_x - 1) / 2, (scale_y - 1) / 2) @ resize
    return translation(-layout.crop[0], -layout.crop[1]) @ resize @ translation(-layout.part_at[0], -layout.part_at[1])


def to_grey(image: NDArray[np.uint8], mode: str, *, fractional: bool) -> Grey:
    """Convert BGR to grey levels.

    Parameters
    ----------
    image : (H, W, 3) uint8
        BGR.
    mode : {"bt601", "bt601_swapped", "bt601_swapped_cv2", "bt709"}
        The swapped ones are quantised to 256 levels in both cases: ``bt601_swapped`` as tf.image.rgb_to_grayscale does
        for uint8 input, ``bt601_swapped_cv2`` as cv2.cvtColor(RGB2GRAY) does.
    fractional : bool
        False: uint8 in [0, 255]; True: float32 in [0, 1].
    """
    if mode == "bt601" and not fractional:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    if mode == "bt601_swapped_cv2":
        swapped = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        return swapped.astype(np.float32) / np.float32(255.0) if fractional else swapped
    weights = {"bt601": _BT601, "bt601_swapped": _BT601_SWAPPED, "bt709": _BT709}[mode]
    grey = cv2.transform(image.astype(np.float32), np.array([weights], dtype=np.float32)).reshape(image.shape[:2])
    if mode == "bt601_swapped":
        # TensorFlow scales [0, 1] by 255.5 and truncates.
        grey = np.floor(grey * np.float32(255.5 / 255.0))
    if not fractional:
        return np.asarray(np.clip(np.rint(grey), 0, 255), dtype=np.uint8)
    return np.asarray(np.clip(grey / np.float32(255.0), 0.0, 1.0), dtype=np.float32)


def _resize_tf1(grey: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Bilinear interpolation at ``dst * scale`` (tf.compat.v1.image.resize_bilinear, align_corners=False)."""

    def taps(n_out: int, n_in: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        position = np.arange(n_out, dtype=np.float32) * np.float32(n_in / n_out)
        low = np.minimum(np.floor(position).astype(np.intp), n_in - 1)
        return low, np.minimum(low + 1, n_in - 1), (position - low).astype(np.float32)

    y0, y1, fy = taps(size.height, grey.shape[0])
    x0, x1, fx = taps(size.width, grey.shape[1])
    rows = grey[y0] + (grey[y1] - grey[y0]) * fy[:, None]
    return np.asarray(rows[:, x0] + (rows[:, x1] - rows[:, x0]) * fx, dtype=np.float32)


def resize(grey: Grey, size: Size, kernel: str) -> Grey:
    """Resize a grey image, keeping its dtype.

    Parameters
    ----------
    grey : (H, W) uint8 or float32
    size : Size
    kernel : {"area", "linear", "tf1_bilinear"}
        ``area`` averages along each axis that shrinks and interpolates linearly along each axis that grows.
    """
    height, width = grey.shape
    if (height, width) == (size.height, size.width):
        return grey
    if kernel == "tf1_bilinear":
        resized = _resize_tf1(grey.astype(np.float32), size)
        return np.clip(np.rint(resized), 0, 255).astype(np.uint8) if grey.dtype == np.uint8 else resized
    shrinks_x, shrinks_y = size.width < width, size.height < height
    if kernel == "area" and shrinks_x != shrinks_y:
        # cv2.INTER_AREA averages only when both axes shrink, so shrink one axis first.
        first = (size.width, height) if shrinks_x else (width, size.height)
        grey = cv2.resize(grey, first, interpolation=cv2.INTER_AREA)
    area = kernel == "area" and shrinks_x and shrinks_y
    out = cv2.resize(grey, (size.width, size.height), interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR)
    return cast(Grey, out)


def prepare_image(ref: ImageRef, config: ImageConfig, reference: EvaluatedImage | None = None) -> EvaluatedImage:
    """Read a source image and make the evaluated image of it.

    Parameters
    ----------
    ref : ImageRef
    config : ImageConfig
    reference : EvaluatedImage, optional
        Evaluated reference image of the sequence; used with ``target_size: reference`` only.

    Returns
    -------
    EvaluatedImage
        ``T_source_to_evaluated`` is exact, or what the protocol takes it for: see :func:`source_to_evaluated`.

    Raises
    ------
    DataError
        If the file cannot be read or the evaluated image would be smaller than 16 px.
    """
    return prepare_array(ref.key, read_image(ref.path), config, reference, ref.path)


def prepare_array(
    key: str,
    image: NDArray[np.uint8],
    config: ImageConfig,
    reference: EvaluatedImage | None = None,
    path: Path | None = None,
) -> EvaluatedImage:
    """Make the evaluated image of an image in memory; `prepare_image` without the file.

    Parameters
    ----------
    key : str
    image : (H, W, 3) uint8
        BGR.
    config, reference
        As for :func:`prepare_image`.
    path : Path, optional
        Where the image was read from.
    """
    source = Size(*image.shape[:2])
    try:
        layout = plan(source, config, reference.size if reference is not None else None)
    except DataError as error:
        raise DataError(f"{path or key}: {error}") from error
    grey = to_grey(image, config.grey, fractional=config.dtype == ImageDtype.float32)
    evaluated = _laid_out(grey, layout, config.kernel)
    colour = _Colour(image if path is None else path, layout, config.kernel)
    return EvaluatedImage(key, evaluated, source_to_evaluated(source, layout, config), path, colour)


def _laid_out(grey: Grey, layout: Plan, kernel: str) -> Grey:
    """Take the part, resize it and crop, as a plan says."""
    x, y = layout.part_at
    resized = resize(grey[y : y + layout.part.height, x : x + layout.part.width], layout.resized, kernel)
    x, y = layout.crop
    return cast(Grey, np.ascontiguousarray(resized[y : y + layout.evaluated.height, x : x + layout.evaluated.width]))


@dataclass(frozen=True, slots=True)
class _Colour:
    """Prepares the channels of an image as its grey levels were; of a file only the path travels to workers."""

    source: Path | NDArray[np.uint8]
    layout: Plan
    kernel: str

    def __call__(self) -> NDArray[np.uint8]:
        image = read_image(self.source) if isinstance(self.source, Path) else self.source
        channels = [_laid_out(image[..., k], self.layout, self.kernel) for k in (2, 1, 0)]
        return np.stack(channels, axis=-1).astype(np.uint8)


def prepare_pair(
    pair: Pair, image_ref: EvaluatedImage, image_target: EvaluatedImage, config: ImageConfig
) -> PreparedPair:
    """Bring the ground truth of a pair into the frames of its evaluated images.

    ``H' = T_target H T_ref^-1``; with ``homography: reference_scale`` the reference's transform stands on both sides,
    as in pytorch-superpoint (patches_dataset.py L81-92).

    Parameters
    ----------
    pair : Pair
    image_ref, image_target : EvaluatedImage
    config : ImageConfig

    Returns
    -------
    PreparedPair
        ``H_ref_to_target[2, 2]`` is 1 unless it vanishes.
    """
    T_ref = image_ref.T_source_to_evaluated
    T_target = T_ref if config.homography == HomographyMode.reference_scale else image_target.T_source_to_evaluated
    H = T_target @ np.asarray(pair.H_ref_to_target, dtype=np.float64) @ np.linalg.inv(T_ref)
    if abs(H[2, 2]) > 1e-12 * np.abs(H).max():
        H = H / H[2, 2]
    return PreparedPair(pair, H, image_ref.size, image_target.size, image_target.T_source_to_evaluated)
