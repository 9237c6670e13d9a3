"""The four stages.  Each reads what the one before left in the run's folder and can be run alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import ConfigError
from bench.core.files import write_atomic
from bench.models.network import build_network
from bench.models.weights import load_weights, network_weights, set_network_weights
from bench.train.adapt import adapt_folder, labels_digest, load_photographs
from bench.train.config import AdaptDetector, DescriptorLoss, TrainConfig
from bench.train.data import PREVIEW_STREAM, generator, magicpoint_batch, superpoint_batch, synthetic_sample
from bench.train.loop import Cadence, Stage, fit
from bench.train.losses import detector_loss, hinge_loss, info_nce_loss, sample_descriptors
from bench.train.synthetic_shapes import SHAPES


def _cadence(config: TrainConfig) -> Cadence:
    return Cadence(config.log_every_steps, config.checkpoint_every_s)


def synthetic_shapes(config: TrainConfig, out: Path) -> Path:
    """Draw a grid of samples with their corners, one row a shape, and return the PNG."""
    import cv2

    zoom = 2
    rows = []
    for i, shape in enumerate(config.synthetic_shapes.shapes or list(SHAPES)):
        row = []
        for j in range(config.synthetic_shapes.preview_columns):
            rng = generator(config.seed, PREVIEW_STREAM, i, j)
            image, corners = synthetic_sample(rng, config.synthetic_shapes, shape)
            tile = cv2.resize(np.rint(image * 255).astype(np.uint8), None, fx=zoom, fy=zoom)
            tile = cv2.cvtColor(tile, cv2.COLOR_GRAY2BGR)
            for x, y in (corners + 0.5) * zoom - 0.5:
                cv2.circle(tile, (round(float(x)), round(float(y))), 3, (0, 0, 255), 1, cv2.LINE_AA)
            row.append(tile)
        rows.append(np.hstack(row))
    path = out / "synthetic_shapes" / "preview.png"
    _, encoded = cv2.imencode(".png", np.vstack(rows))
    write_atomic(path, encoded.tobytes())
    return path


def magicpoint(config: TrainConfig, out: Path) -> Path:
    """Train the detector on Synthetic Shapes and return its weight file."""
    import keras

    keras.utils.set_random_seed(config.seed)
    network = build_network(descriptors=False, dtype=config.dtype)

    def losses(targets: Any, outputs: Any) -> dict[str, Any]:
        return {"detector": detector_loss(outputs["logits"], targets["cells"], targets["mask"])}

    shapes = asdict(config.synthetic_shapes)
    del shapes["preview_columns"]
    stage = Stage(
        name="magicpoint",
        network=network,
        batch=lambda step: magicpoint_batch(config.seed, step, config.magicpoint.batch, config.synthetic_shapes),
        losses=losses,
        loss_names=("detector",),
        steps=config.magicpoint.steps,
        optimizer=config.magicpoint.optimizer,
        compile=config.compile,
        settings={
            "seed": config.seed,
            "dtype": config.dtype,
            "magicpoint": asdict(config.magicpoint),
            "synthetic_shapes": shapes,
        },
    )
    return fit(stage, out / "magicpoint", _cadence(config))


def adapt(config: TrainConfig, out: Path) -> Path:
    """Find the keypoints of every photograph by Homographic Adaptation and return the folder of labels."""
    weights = Path(config.adapt.weights) if config.adapt.weights else out / "magicpoint" / "weights.npz"
    if config.adapt.detector in (AdaptDetector.magicpoint, AdaptDetector.both) and not weights.is_file():
        raise ConfigError(f"stage=adapt needs detector weights, none at {weights}; run stage=magicpoint first")
    assert config.data is not None  # TrainConfig refuses the stage without it
    return adapt_folder(config.data, out / "adapt", weights, config.adapt, config.seed, config.dtype, config.compile)


def superpoint(config: TrainConfig, out: Path) -> Path:
    """Train detector and descriptors on pairs of warped photographs and return the weight file."""
    import keras

    settings = config.superpoint
    labels = out / "adapt"
    if not labels.is_dir():
        raise ConfigError(f"stage=superpoint needs labels, none at {labels}; run stage=adapt first")
    assert config.data is not None  # TrainConfig refuses the stage without it
    photos = load_photographs(config.data, labels, config.adapt.short_side_px)

    keras.utils.set_random_seed(config.seed)
    network = build_network(descriptors=True, dtype=config.dtype)
    magicpoint_weights = out / "magicpoint" / "weights.npz"
    if settings.init_weights:
        set_network_weights(network, load_weights(settings.init_weights), settings.init_weights)
    elif magicpoint_weights.is_file():
        arrays = {**network_weights(network), **load_weights(magicpoint_weights)}
        set_network_weights(network, arrays, str(magicpoint_weights))

    def losses(targets: Any, outputs: Any) -> dict[str, Any]:
        parts = {"detector": detector_loss(outputs["logits"], targets["cells"], targets["mask"])}
        half = outputs["descriptors_raw"].shape[0] // 2
        first, second = outputs["descriptors_raw"][:half], outputs["descriptors_raw"][half:]
        chosen = settings.descriptor_loss
        if chosen.kind == DescriptorLoss.hinge:
            mask = targets["mask"][half:]
            loss = hinge_loss(
                (first, second),
                targets["homography"],
                mask,
                chosen.positive_weight,
                chosen.positive_margin,
                chosen.negative_margin,
            )
        else:
            points = (targets["points_first"], targets["points_second"])
            descriptors = (sample_descriptors(first, points[0]), sample_descriptors(second, points[1]))
            loss = info_nce_loss(descriptors, points, targets["valid"], chosen.temperature, chosen.ignore_px)
        parts["descriptor"] = chosen.weight * loss
        return parts

    stage = Stage(
        name="superpoint",
        network=network,
        batch=lambda step: superpoint_batch(config.seed, step, photos, settings),
        losses=losses,
        loss_names=("detector", "descriptor"),
        steps=settings.steps,
        optimizer=settings.optimizer,
        compile=config.compile,
        settings={
            "seed": config.seed,
            "dtype": config.dtype,
            "superpoint": asdict(settings),
            "labels": labels_digest(labels),
        },
    )
    return fit(stage, out / "superpoint", _cadence(config))
