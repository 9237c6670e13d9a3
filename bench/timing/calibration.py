"""A fixed piece of work between blocks: when it slows down, the machine did, not the method."""

from __future__ import annotations

import time

import numpy as np

_SIDE = 384
_REPEATS = 4


class CalibrationKernel:
    """Single-precision matrix products of fixed size on one thread, about 2 GFLOP/call at most a few milliseconds."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._a = rng.standard_normal((_SIDE, _SIDE), dtype=np.float32)
        self._b = rng.standard_normal((_SIDE, _SIDE), dtype=np.float32)
        self._out = np.empty_like(self._a)

    def run_ms(self) -> float:
        """Wall time of one call in milliseconds; the smallest of three, to measure speed rather than interruptions."""
        best = np.inf
        for _ in range(3):
            start = time.perf_counter_ns()
            for _ in range(_REPEATS):
                np.matmul(self._a, self._b, out=self._out)
            best = min(best, (time.perf_counter_ns() - start) / 1e6)
        return float(best)
