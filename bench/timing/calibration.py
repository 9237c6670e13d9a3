"""A fixed piece of work between blocks: when it slows down, the machine did, not the method."""

from __future__ import annotations

import time

import numpy as np

KERNEL = "sgemm 384, one thread, lower quartile"
"""Names what :meth:`CalibrationKernel.run_ms` measures; times of another kernel are not comparable."""
_SIDE = 384
WINDOW_MS = 15.0
_INTERRUPTED = 1.5
_LEAST = 4


class CalibrationKernel:
    """Single-precision product of two 384 x 384 matrices on one thread: 0.11 GFLOP, about a millisecond."""

    def __init__(self) -> None:
        import threadpoolctl

        rng = np.random.default_rng(0)
        self._a = rng.standard_normal((_SIDE, _SIDE), dtype=np.float32)
        self._b = rng.standard_normal((_SIDE, _SIDE), dtype=np.float32)
        self._out = np.empty_like(self._a)
        np.matmul(self._a, self._b, out=self._out)
        self._pools = threadpoolctl.ThreadpoolController()

    def measure(self) -> tuple[float, float]:
        """Multiply for 15 ms, at least four times.

        Returns
        -------
        product_ms : float
            Lower quartile of the products: the speed of a core, whatever interrupts it.
        interrupted_ms : float
            How much longer the products that took more than 1.5 times as long were: another process had the core, or
            a limit stopped this one.
        """
        found: list[float] = []
        with self._pools.limit(limits=1, user_api="blas"):
            end = time.perf_counter() + WINDOW_MS / 1e3
            while len(found) < _LEAST or time.perf_counter() < end:
                start = time.perf_counter_ns()
                np.matmul(self._a, self._b, out=self._out)
                found.append((time.perf_counter_ns() - start) / 1e6)
        times = np.array(found)
        usual = float(np.percentile(times, 25))
        return usual, float((times[times > _INTERRUPTED * usual] - usual).sum())
