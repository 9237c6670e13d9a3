"""Non-maximum suppression against naive implementations and against TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.core.errors import FeatureError
from bench.features.nms import box_footprint, square_footprint, suppress
from bench.schema import NmsConfig


def naive_greedy(response: NDArray[np.float32], footprint: NDArray[np.uint8], lowest: float) -> list[tuple[int, int]]:
    """Visit every pixel from the best to the worst and look for a kept one in its footprint."""
    radius = len(footprint) // 2
    height, width = response.shape
    pixels = [(y, x) for y in range(height) for x in range(width) if response[y, x] >= np.float32(lowest)]
    kept: list[tuple[int, int]] = []
    for y, x in sorted(pixels, key=lambda p: (-response[p], p)):
        if not any(
            abs(y - v) <= radius and abs(x - u) <= radius and footprint[y - v + radius, x - u + radius] for u, v in kept
        ):
            kept.append((x, y))
    return kept


@st.composite
def responses(draw: st.DrawFn) -> NDArray[np.float32]:
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 3, 20, 10**6]))  # few levels: many ties and plateaus
    return (rng.integers(0, levels, (height, width)) / np.float32(levels)).astype(np.float32)


@given(responses(), st.integers(1, 8), st.sampled_from([0.0, 0.1, 1 / 7, 0.3, 0.5, 1.0]), st.sampled_from([0, 3, 12]))
@settings(max_examples=200, deadline=None)
def test_box_equals_naive_greedy(response: NDArray[np.float32], size: int, iou: float, budget: int) -> None:
    xy, scores = suppress(response, NmsConfig("box", size, iou), 0.2, budget)
    expected = naive_greedy(response, box_footprint(size, iou), 0.2)[: budget or None]
    assert [tuple(p) for p in xy.tolist()] == expected
    assert scores.tolist() == [response[y, x] for x, y in expected]


@given(responses(), st.integers(1, 6), st.sampled_from([0, 5]), st.integers(0, 4))
@settings(max_examples=200, deadline=None)
def test_square_equals_naive_greedy_and_the_border_follows_it(
    response: NDArray[np.float32], radius: int, budget: int, border_px: int
) -> None:
    height, width = response.shape
    xy, _ = suppress(response, NmsConfig("square", radius), 0.2, budget, border_px)
    expected = [
        (x, y)
        for x, y in naive_greedy(response, square_footprint(radius), 0.2)
        if border_px <= x < width - border_px and border_px <= y < height - border_px
    ]
    assert [tuple(p) for p in xy.tolist()] == expected[: budget or None]


@pytest.mark.slow
@given(responses(), st.integers(1, 9), st.sampled_from([0.05, 0.1, 1 / 3]))
@settings(max_examples=40, deadline=None)
def test_box_equals_tensorflow(response: NDArray[np.float32], size: int, iou: float) -> None:
    tf = pytest.importorskip("tensorflow")
    y, x = np.nonzero(response >= np.float32(0.2))
    centres = np.stack([y, x], axis=1).astype(np.float32)
    boxes = np.concatenate([centres - size / 2, centres + size / 2], axis=1).astype(np.float32)
    kept = tf.image.non_max_suppression(boxes, response[y, x], len(boxes), iou_threshold=iou).numpy()
    found, _ = suppress(response, NmsConfig("box", size, iou), 0.2)
    assert found.tolist() == np.stack([x[kept], y[kept]], axis=1).tolist()


@given(responses(), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_maxpool_equals_torch_style_pooling(response: NDArray[np.float32], radius: int) -> None:
    def pool(image: NDArray[np.float32]) -> NDArray[np.float32]:
        padded = np.pad(image, radius, constant_values=-np.inf)
        window = (2 * radius + 1, 2 * radius + 1)
        return np.lib.stride_tricks.sliding_window_view(padded, window).max(axis=(2, 3))

    maxima = response == pool(response)
    for _ in range(2):
        covered = pool(maxima.astype(np.float32)) > 0
        rest = np.where(covered, 0, response)
        maxima |= (rest == pool(rest)) & ~covered
    y, x = np.nonzero(maxima & (response >= np.float32(0.1)))
    found, _ = suppress(response, NmsConfig("maxpool", radius), 0.1)
    assert {tuple(p) for p in found.tolist()} == set(zip(x.tolist(), y.tolist(), strict=True))


@pytest.mark.parametrize(("size", "neighbours", "reach"), [(4, 36, 3), (8, 136, 6)])
def test_box_footprint_sizes(size: int, neighbours: int, reach: int) -> None:
    footprint = box_footprint(size, 0.1)
    assert footprint.sum() - 1 == neighbours
    assert len(footprint) == 2 * reach + 1


def test_two_peaks_at_the_edge_of_the_footprint() -> None:
    response = np.zeros((20, 30), np.float32)
    response[5, 5], response[5, 8], response[5, 12] = 0.9, 0.8, 0.7
    xy, _ = suppress(response, NmsConfig("box", 4, 0.1), 0.01)
    assert xy.tolist() == [[5, 5], [12, 5]]  # 3 px apart: suppressed; 4 px from a suppressed one: kept


def test_none_keeps_all_candidates() -> None:
    response = np.array([[0.5, 0.1], [0.9, 0.5]], np.float32)
    xy, scores = suppress(response, NmsConfig("none"), 0.5)
    assert xy.tolist() == [[0, 1], [0, 0], [1, 1]]
    assert scores.tolist() == pytest.approx([0.9, 0.5, 0.5])


@pytest.mark.parametrize("kind", ["none", "box", "square", "maxpool"])
def test_nothing_above_the_threshold(kind: str) -> None:
    xy, scores = suppress(np.zeros((16, 16), np.float32), NmsConfig(kind), 0.5, 10)
    assert xy.shape == (0, 2) and scores.shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_is_refused(value: float) -> None:
    response = np.zeros((16, 16), np.float32)
    response[3, 3] = value
    with pytest.raises(FeatureError, match="NaN or infinity"):
        suppress(response, NmsConfig(), 0.5)


@pytest.mark.parametrize("shape", ["plateau", "ramp"])
def test_long_chains_are_exact(shape: str) -> None:
    response = np.ones((40, 60), np.float32)
    if shape == "ramp":
        response = np.linspace(0.1, 1, 2400, dtype=np.float32).reshape(40, 60)
    xy, _ = suppress(response, NmsConfig("box", 4, 0.1), 0.01)
    assert [tuple(p) for p in xy.tolist()] == naive_greedy(response, box_footprint(4, 0.1), 0.01)
