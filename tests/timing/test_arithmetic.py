"""The arithmetic of the network, against the network itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.core.types import Size
from bench.timing.arithmetic import matmul_peak_gflops, superpoint_gmac


def test_a_vga_image_takes_26_gmac() -> None:
    assert superpoint_gmac(Size(480, 640)) == pytest.approx(26.1, abs=0.1)


def test_work_is_proportional_to_pixels() -> None:
    assert superpoint_gmac(Size(240, 320)) * 4 == pytest.approx(superpoint_gmac(Size(480, 640)))


def test_the_count_equals_the_kernels_of_the_shipped_weights() -> None:
    with np.load(Path(bench.__file__).parent / "models/assets/builtin.npz", allow_pickle=False) as arrays:
        kernels = {name: arrays[name].shape for name in arrays.files if arrays[name].ndim == 4}
    assert len(kernels) == 12
    gmac = 0.0
    for name, shape in kernels.items():
        stage = re.search(r"vgg/conv(\d)", name)
        down = 2 ** (int(stage[1]) - 1) if stage else 8
        gmac += np.prod(shape) * 480 * 640 / down**2 / 1e9
    assert superpoint_gmac(Size(480, 640)) == pytest.approx(gmac)


def test_the_peak_is_a_plausible_rate() -> None:
    assert 1 < matmul_peak_gflops(1, side=256, seconds=0.05) < 1e5
