"""The expected duration of matching uncapped keypoints."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bench.core.types import Features, ImageRef, Pair, Size
from bench.geometry.nearest import match
from bench.run.duration import Expected, expected_matching
from bench.schema import MatcherConfig

SIZE = Size(480, 640)


def pair(number: int) -> Pair:
    images = (ImageRef(f"s/{number}a", Path("a")), ImageRef(f"s/{number}b", Path("b")))
    return Pair(*images, np.eye(3), "s", "viewpoint", f"s/{number}")


def features(n: int) -> Features:
    rng = np.random.default_rng(n)
    xy = rng.uniform(0, 400, (n, 2)).astype(np.float32)
    return Features(xy, np.linspace(1, 0, n, dtype=np.float32), rng.integers(0, 256, (n, 32)).astype(np.uint8), SIZE)


def test_the_time_of_a_block_is_multiplied_by_the_blocks_and_the_pairs() -> None:
    """A block of 500 of 2000 keypoints that takes a second: four seconds a pair, ten pairs, two methods."""
    clock = itertools.count()
    found = expected_matching(
        [pair(k) for k in range(10)], ["orb", "brisk"], lambda method, key: features(2000), lambda: next(clock)
    )
    assert found == Expected(pytest.approx(80.0), 2000)


def test_failed_and_empty_extractions_take_no_time() -> None:
    found = expected_matching([pair(0), pair(1)], ["orb"], lambda method, key: features(0) if "0" in key else None)
    assert found == Expected(0.0, 0)
    assert expected_matching([], ["orb"], lambda method, key: None) == Expected(0.0, 0)


def test_seconds_are_shared_by_the_processes() -> None:
    assert "takes about 60 s in 2 processes" in Expected(120, 9000).sentence(580, 2)
    alone = Expected(1200, 9000).sentence(580, 1)
    assert "for 580 rows, up to about 9000 keypoints an image, takes about 20 min in 1 process," in alone


def test_memory_stays_bounded_for_uncapped_keypoints() -> None:
    """17 000 x 9 000 distances would be 300 MB in 16 bits."""
    rng = np.random.default_rng(0)
    ref, target = features(17_000), features(9_000)
    assert ref.descriptors is not None
    assert target.descriptors is not None
    target.descriptors[:4000] = ref.descriptors[9000:13_000] ^ (rng.random((4000, 32)) < 0.3).astype(np.uint8)
    tracemalloc.start()
    found = match(ref, target, MatcherConfig())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) > 3900
    assert peak < 16 * 2**20
