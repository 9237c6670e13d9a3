"""Losses of the detector and of the descriptors, for any Keras backend.

References
----------
Detector cross-entropy and hinge loss: DeTone, Malisiewicz, Rabinovich: SuperPoint, CVPRW 2018, section 3.4.
InfoNCE: van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding, 2018.
"""

from __future__ import annotations

from typing import Any

from bench.models.network import CELL_PX

_MASKED = -1e9


def detector_loss(logits: Any, cells: Any, mask: Any) -> Any:
    """Cross-entropy over the 65 channels of a cell, averaged over the cells that count.

    Parameters
    ----------
    logits : (N, h, w, 65) float32
    cells : (N, h, w, 65) float32
        Wanted distribution of each cell: its pixels, row by row, then "no keypoint".
    mask : (N, h, w) float32
        1 for cells that count, 0 for cells outside the photograph.

    Returns
    -------
    scalar float32
    """
    from keras import ops

    losses = -ops.sum(cells * ops.log_softmax(logits, axis=-1), axis=-1)
    return ops.sum(losses * mask) / ops.maximum(ops.sum(mask), 1.0)


def sample_descriptors(raw: Any, points: Any) -> Any:
    """Sample descriptors at points, bilinearly at (x/8, y/8) with edge clamp, and normalise them.

    This is the value that the exported graph's dense map has at the point.

    Parameters
    ----------
    raw : (B, h, w, C) float32
    points : (B, K, 2) float32, xy in pixels

    Returns
    -------
    (B, K, C) float32, of length 1
    """
    from keras import ops

    batch, height, width, channels = raw.shape
    count = points.shape[1]
    x = ops.clip(points[..., 0] / CELL_PX, 0.0, width - 1.0)
    y = ops.clip(points[..., 1] / CELL_PX, 0.0, height - 1.0)
    x0, y0 = ops.floor(x), ops.floor(y)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    left, top = ops.cast(x0, "int32"), ops.cast(y0, "int32")
    right, bottom = ops.minimum(left + 1, width - 1), ops.minimum(top + 1, height - 1)
    first = ops.arange(batch, dtype="int32")[:, None] * (height * width)
    flat = ops.reshape(raw, (batch * height * width, channels))

    def at(row: Any, column: Any) -> Any:
        index = ops.reshape(first + row * width + column, (-1,))
        return ops.reshape(ops.take(flat, index, axis=0), (batch, count, channels))

    upper = at(top, left) * (1.0 - fx) + at(top, right) * fx
    lower = at(bottom, left) * (1.0 - fx) + at(bottom, right) * fx
    return normalise(upper * (1.0 - fy) + lower * fy)


def normalise(descriptors: Any) -> Any:
    """Scale the last axis to length 1."""
    from keras import ops

    squares = ops.sum(descriptors * descriptors, axis=-1, keepdims=True)
    return descriptors * ops.rsqrt(squares + 1e-10)


def info_nce_loss(
    descriptors: tuple[Any, Any], points: tuple[Any, Any], valid: Any, temperature: float, ignore_px: float
) -> Any:
    """Symmetric InfoNCE over the corresponding points of a whole batch.

    Every point has one positive, its correspondence in the other image; the negatives are the points of all images of
    the batch, except those of the same image closer than ``ignore_px`` to the positive.

    Parameters
    ----------
    descriptors : two (B, K, C) float32, of length 1
        Of the first and of the second images.
    points : two (B, K, 2) float32
        xy in pixels of the points, in the order of their correspondence.
    valid : (B, K) float32
        1 where both points lie inside their images, else 0.
    temperature : float
        Divides the cosine similarities.
    ignore_px : float
        Radius in pixels.

    Returns
    -------
    scalar float32
    """
    from keras import ops

    batch, count, channels = descriptors[0].shape
    total = batch * count
    first, second = (ops.reshape(each, (total, channels)) for each in descriptors)
    weights = ops.reshape(valid, (total,))
    positives = ops.sum(first * second, axis=-1) / temperature
    similarity = ops.matmul(first, ops.transpose(second)) / temperature
    same_image = ops.reshape(ops.eye(batch, dtype="float32"), (batch, 1, batch, 1))
    others = 1.0 - ops.eye(count, dtype="float32")

    def direction(scores: Any, xy: Any) -> Any:
        offsets = xy[:, :, None, :] - xy[:, None, :, :]
        close = ops.cast(ops.sum(offsets * offsets, axis=-1) < ignore_px**2, "float32") * others
        excluded = ops.reshape(same_image * (_MASKED * close)[:, :, None, :], (total, total))
        absent = _MASKED * (1.0 - weights)[None, :]
        losses = ops.logsumexp(scores + (excluded + absent), axis=1) - positives
        return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)

    return 0.5 * (direction(similarity, points[1]) + direction(ops.transpose(similarity), points[0]))


def hinge_loss(
    raw: tuple[Any, Any],
    homographies: Any,
    mask: Any,
    positive_weight: float,
    positive_margin: float,
    negative_margin: float,
) -> Any:
    """The paper's descriptor loss: a hinge on every pair of cells of two images.

    A cell stands for the pixel (8 column, 8 row), where the exported graph samples it without interpolation.

    Parameters
    ----------
    raw : two (B, h, w, C) float32
        Descriptors of the first and of the second images, not normalised.
    homographies : (B, 3, 3) float32
        From the first to the second images, in pixels.
    mask : (B, h, w) float32
        1 for cells of the second images that count.
    positive_weight, positive_margin, negative_margin : float
        lambda_d, m_p and m_n of the paper.

    Returns
    -------
    scalar float32
    """
    from keras import ops

    batch, height, width, channels = raw[0].shape
    cells = height * width
    first, second = (normalise(ops.reshape(each, (batch, cells, channels))) for each in raw)
    columns = ops.tile(ops.arange(width, dtype="float32") * CELL_PX, (height,))
    rows = ops.repeat(ops.arange(height, dtype="float32") * CELL_PX, width)
    homogeneous = ops.stack([columns, rows, ops.ones_like(rows)], axis=1)
    mapped = ops.matmul(homogeneous[None], ops.transpose(homographies, (0, 2, 1)))
    mapped = mapped[..., :2] / ops.maximum(mapped[..., 2:], 1e-6)
    offsets = mapped[:, :, None, :] - homogeneous[None, None, :, :2]
    positive = ops.cast(ops.sum(offsets * offsets, axis=-1) <= CELL_PX**2, "float32")
    products = ops.matmul(first, ops.transpose(second, (0, 2, 1)))
    losses = positive_weight * positive * ops.relu(positive_margin - products) + (1.0 - positive) * ops.relu(
        products - negative_margin
    )
    counted = ops.reshape(mask, (batch, 1, cells))
    return ops.sum(losses * counted) / ops.maximum(ops.sum(counted) * cells, 1.0)
