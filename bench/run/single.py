"""One pair in this process: two images, a homography and a method in, a row out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.core.errors import DataError
from bench.core.types import Context, EvaluatedImage, Features, ImageRef, Pair
from bench.data.images import read_image
from bench.data.prepare import prepare_array, prepare_pair
from bench.features.base import Extractor, PairwiseMethod, create
from bench.geometry.solve import solve, solve_correspondences
from bench.run.pair import measure_pair
from bench.schema import MatcherConfig, MethodConfig, ProtocolConfig, RunConfig
from bench.timing.host import resolve_threads

Image = str | Path | NDArray[np.uint8]
Method = str | Extractor | PairwiseMethod | Callable[[EvaluatedImage], Features]


def evaluate(
    image_ref: Image,
    image_target: Image,
    H_ref_to_target: ArrayLike,
    method: Extractor | PairwiseMethod | Callable[[EvaluatedImage], Features],
    protocol: ProtocolConfig,
    matcher: MatcherConfig | None = None,
    seed: int = 0,
) -> dict[str, object]:
    """Run a loaded method on one pair: :func:`bench.evaluate` without configurations.

    Parameters
    ----------
    image_ref, image_target : path, or (H, W) or (H, W, 3) uint8
        Grey or RGB.
    H_ref_to_target : (3, 3) float
        Maps pixels of the reference image to pixels of the target image.
    method : Extractor, PairwiseMethod or callable
    protocol : ProtocolConfig
    matcher : MatcherConfig, optional
        Of the method, instead of the protocol's.
    seed : int

    Returns
    -------
    dict
        A row of ``pairs.parquet``.

    Raises
    ------
    BenchError
        If an image cannot be read or is of another type, or the method's output breaks its contract.
    """
    H = np.asarray(H_ref_to_target, dtype=np.float64)
    if H.shape != (3, 3) or not np.isfinite(H).all():
        raise DataError(f"a homography is (3, 3) and finite, got {H.tolist()}")
    reference = prepare_array("pair/ref", _bgr(image_ref), protocol.image)
    target = prepare_array("pair/target", _bgr(image_target), protocol.image, reference)
    images = [ImageRef(each.key, Path()) for each in (reference, target)]
    pair = Pair(images[0], images[1], H, "pair", "-", "pair/ref-target")
    prepared = prepare_pair(pair, reference, target, protocol.image)
    if isinstance(method, PairwiseMethod):
        given = method.correspond(reference, target)[0]
        return measure_pair(solve_correspondences(prepared, given, protocol), seed)[0].cells()
    extract = (lambda image: method.extract(image)[0]) if isinstance(method, Extractor) else method
    solved = solve(prepared, extract(reference), extract(target), protocol, matcher)
    return measure_pair(solved, seed)[0].cells()


def load_method(name: str, config: RunConfig) -> tuple[Extractor | PairwiseMethod, MatcherConfig | None]:
    """Load a method of a configuration in this process, with the matcher it brings."""
    method: MethodConfig = config.methods[name]
    if config.protocol.keypoints.gt_filter:
        method.max_keypoints = 0  # the budget applies after the filter
    context = Context(resolve_threads(config.threads), Path(config.cache), Path(config.data_root), config.seed)
    return create(name, method, context), method.matcher


def _bgr(image: Image) -> NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise DataError(f"an image is a path, or (H, W) or (H, W, 3) uint8, got {image.shape} {image.dtype}")
    return np.ascontiguousarray(image[..., ::-1] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))
