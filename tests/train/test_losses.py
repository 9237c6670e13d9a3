"""Losses against straightforward loops in NumPy, and their limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.train.losses import detector_loss, hinge_loss, info_nce_loss, normalise, sample_descriptors


def tensor(array: np.ndarray) -> Any:
    import keras

    return keras.ops.convert_to_tensor(array)


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.normal(size=shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def test_detector_loss_by_hand() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 65)).astype(np.float32)
    cells = rng.dirichlet(np.ones(65), (2, 3, 4)).astype(np.float32)
    mask = (rng.random((2, 3, 4)) > 0.3).astype(np.float32)
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    total = -sum(float(cells[place] @ logs[place]) for place in zip(*np.nonzero(mask), strict=True))
    loss = detector_loss(tensor(logits), tensor(cells), tensor(mask))
    assert float(loss) == pytest.approx(total / mask.sum(), rel=1e-5)


def test_detector_loss_of_equal_logits_is_log_65_and_an_empty_mask_gives_zero() -> None:
    logits, cells = np.zeros((1, 2, 2, 65), np.float32), np.zeros((1, 2, 2, 65), np.float32)
    cells[..., 7] = 1
    ones, zeros = np.ones((1, 2, 2), np.float32), np.zeros((1, 2, 2), np.float32)
    assert float(detector_loss(tensor(logits), tensor(cells), tensor(ones))) == pytest.approx(np.log(65), rel=1e-6)
    assert float(detector_loss(tensor(logits), tensor(cells), tensor(zeros))) == 0


def test_sampling_is_bilinear_from_the_corner_with_edge_clamp() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(2, 4, 5, 7)).astype(np.float32)
    points = np.array([[[0, 0], [8, 16], [12, 4]], [[39, 31], [3, 30], [-2, 9]]], np.float32)
    sampled = np.asarray(sample_descriptors(tensor(raw), tensor(points)))
    expected = [
        [raw[0, 0, 0], raw[0, 2, 1], (raw[0, 0, 1] + raw[0, 0, 2] + raw[0, 1, 1] + raw[0, 1, 2]) / 4],
        [raw[1, 3, 4], raw[1, 3, 0] * 0.625 + raw[1, 3, 1] * 0.375, raw[1, 1, 0] * 0.875 + raw[1, 2, 0] * 0.125],
    ]
    lengths = np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(sampled, np.array(expected) / lengths, atol=1e-5)


@pytest.mark.parametrize("ignore_px", [0.0, 7.0, 60.0])
def test_info_nce_equals_a_loop(ignore_px: float) -> None:
    rng = np.random.default_rng(1)
    batch, count = 3, 8
    descriptors = unit(rng, batch, count, 6), unit(rng, batch, count, 6)
    points = tuple(rng.uniform(0, 40, (batch, count, 2)).astype(np.float32) for _ in range(2))
    valid = (rng.random((batch, count)) > 0.25).astype(np.float32)
    total = 0.0
    everywhere = [(b, k) for b in range(batch) for k in range(count)]
    for source, target in ((0, 1), (1, 0)):
        losses = []
        for b, k in everywhere:
            if not valid[b, k]:
                continue
            denominator = 0.0
            for c, m in everywhere:
                near = c == b and np.linalg.norm(points[target][b, k] - points[target][c, m]) < ignore_px
                if (c, m) == (b, k) or (valid[c, m] and not near):
                    denominator += np.exp(descriptors[source][b, k] @ descriptors[target][c, m] / 0.07)
            losses.append(np.log(denominator) - descriptors[source][b, k] @ descriptors[target][b, k] / 0.07)
        total += np.mean(losses) / 2
    loss = info_nce_loss(
        (tensor(descriptors[0]), tensor(descriptors[1])),
        (tensor(points[0]), tensor(points[1])),
        tensor(valid),
        0.07,
        ignore_px,
    )
    assert float(loss) == pytest.approx(total, rel=1e-4)


def test_hinge_loss_equals_a_loop() -> None:
    rng = np.random.default_rng(2)
    raw = tuple(rng.normal(size=(2, 3, 4, 5)).astype(np.float32) for _ in range(2))
    homographies = np.stack([np.eye(3), [[1.1, 0.1, 4], [-0.1, 0.9, 3], [0.001, 0, 1]]]).astype(np.float32)
    mask = (rng.random((2, 3, 4)) > 0.3).astype(np.float32)
    first, second = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in raw)
    total, counted = 0.0, 0
    for b in range(2):
        for i, j in np.ndindex(3, 4):
            x, y, w = homographies[b].astype(float) @ (8 * j, 8 * i, 1)
            for k, m in np.ndindex(3, 4):
                if not mask[b, k, m]:
                    continue
                product = first[b, i, j] @ second[b, k, m]
                near = np.hypot(x / w - 8 * m, y / w - 8 * k) <= 8
                total += 250 * max(0, 1 - product) if near else max(0, product - 0.2)
                counted += 1
    arguments = (tensor(raw[0]), tensor(raw[1])), tensor(homographies), tensor(mask)
    assert float(hinge_loss(*arguments, 250.0, 1.0, 0.2)) == pytest.approx(total / counted, rel=1e-4)


def test_normalise_gives_length_one_and_leaves_zero_finite() -> None:
    values = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(np.asarray(normalise(tensor(values))), [[0.6, 0.8], [0, 0]], atol=1e-6)
