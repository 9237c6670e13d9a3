"""How much SuperPoint computes, and how much this machine can."""

from __future__ import annotations

import time

import numpy as np

from bench.core.types import Size

_ENCODER = (
    (1, 64, 1),
    (64, 64, 1),
    (64, 64, 2),
    (64, 64, 2),
    (64, 128, 4),
    (128, 128, 4),
    (128, 128, 8),
    (128, 128, 8),
)
"""(input channels, output channels, downsampling) of the eight 3x3 convolutions (DeTone et al. 2018, section 3.1)."""
_HEADS = ((128, 256, 9), (256, 65, 1), (128, 256, 9), (256, 256, 1))
"""(input channels, output channels, kernel elements) of detector and descriptor head at 1/8 resolution."""


def superpoint_gmac(size: Size, descriptors: bool = True) -> float:
    """Multiply-accumulate operations of one forward pass in units of 10^9; 26.1 at 480x640 (HxW).

    Convolutions only; batch norm, pooling and softmax are below one percent.

    Parameters
    ----------
    size : Size
        Sides divisible by 8.
    descriptors : bool
        False: MagicPoint, without the descriptor head.
    """
    pixels = size.height * size.width
    encoder = sum(9 * cin * cout * pixels / down**2 for cin, cout, down in _ENCODER)
    heads = sum(k * cin * cout * pixels / 64 for cin, cout, k in (_HEADS if descriptors else _HEADS[:2]))
    return (encoder + heads) / 1e9


def matmul_peak_gflops(threads: int, side: int = 1536, seconds: float = 1.0) -> float:
    """Best rate of a single-precision matrix product on this machine, in 10^9 floating-point operations a second.

    The product of two side x side matrices takes 2 side^3 operations; NumPy's BLAS runs it on `threads` threads.
    """
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    best_s = np.inf
    with threadpool_limits(threads):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            np.matmul(a, b, out=out)
            best_s = min(best_s, time.perf_counter() - start)
    return 2 * side**3 / best_s / 1e9
