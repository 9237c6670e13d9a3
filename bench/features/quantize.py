"""INT8 by NNCF's post-training quantisation, optionally under accuracy control."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.core.errors import ModelError
from bench.core.types import Features
from bench.data import calibration
from bench.data.calibration import CalibrationPair
from bench.features.decode import Decoding, decode
from bench.features.select import to_float32
from bench.geometry.solve import estimate_repeatedly, solve
from bench.metrics.homography import accuracy
from bench.models.recipe import Recipe, converted, require_nncf
from bench.schema import EstimatorConfig, NmsConfig, ProtocolConfig
from bench.schema.options import NmsKind

CALIBRATION_IMAGES = 100
VALIDATION_PAIRS = 40
THRESHOLD_PX = 3.0
_PROTOCOL = ProtocolConfig(name="calibration", estimator=EstimatorConfig(repeats=5))
_DECODING = Decoding(NmsConfig(NmsKind.box, 8, 0.1), min_probability=0.001, border_px=0, max_keypoints=300)


def quantize(recipe: Recipe) -> Any:
    """Quantise the network of a recipe.

    Calibrated on :func:`bench.data.calibration.images`; under accuracy control, layers are reverted to floating point
    until the mean success probability on :func:`bench.data.calibration.pairs` drops by at most ``max_drop``.

    Parameters
    ----------
    recipe : Recipe

    Returns
    -------
    openvino.Model
        With free height and width.

    Raises
    ------
    ModelError
        If NNCF is not installed, or the drop cannot be kept.
    """
    require_nncf()
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = converted(recipe.saved_model, recipe.outputs)
    # One image after the other, whatever batch the graph allows.
    model.reshape([1, -1, -1, 1])
    data = nncf.Dataset(
        [
            to_float32(image, recipe.input_scale)[None, :, :, None]
            for image in calibration.images(CALIBRATION_IMAGES, recipe.seed)
        ]
    )
    if not recipe.accuracy_control:
        return nncf.quantize(model, data, subset_size=CALIBRATION_IMAGES)
    return _controlled(nncf, model, data, recipe)


def _controlled(nncf: Any, model: Any, data: Any, recipe: Recipe) -> Any:
    if "descriptors_raw" not in recipe.outputs:
        raise ModelError(
            "accuracy_control needs descriptors, because it measures estimated homographies; choose descriptors=true "
            "or accuracy_control=false"
        )

    def validate(compiled: Any, pairs: Iterable[CalibrationPair]) -> tuple[float, list[float]]:
        scores = [success_probability(compiled, pair, recipe.input_scale) for pair in pairs]
        return float(np.mean(scores)), scores

    try:
        return nncf.quantize_with_accuracy_control(
            model,
            calibration_dataset=data,
            validation_dataset=nncf.Dataset(calibration.pairs(VALIDATION_PAIRS, recipe.seed)),
            validation_fn=validate,
            max_drop=recipe.max_drop,
            subset_size=CALIBRATION_IMAGES,
        )
    except RuntimeError as error:
        raise ModelError(f"accuracy control failed with max_drop={recipe.max_drop}: {error}") from error


def success_probability(compiled: Any, pair: CalibrationPair, input_scale: float) -> float:
    """Share of repeated estimations of a pair whose corner error is at most 3 px.

    Parameters
    ----------
    compiled : openvino.CompiledModel
        With outputs ``prob`` and ``descriptors_raw``.
    pair : CalibrationPair
    input_scale : float
        Value of white.
    """

    def features(image: Any) -> Features:
        results = compiled(to_float32(image, input_scale)[None, :, :, None])
        return decode(results["prob"][0], results["descriptors_raw"][0], _DECODING, calibration.SIZE)

    solved = solve(pair.prepared, features(pair.reference), features(pair.target), _PROTOCOL)
    found = estimate_repeatedly(solved, _PROTOCOL.estimator, seed=0)
    return 0.0 if found is None else accuracy(found.errors_px, THRESHOLD_PX)
