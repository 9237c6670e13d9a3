"""Winograd's algorithm written into OpenVINO's graph, beside OpenVINO's own convolution: the same sums, taking turns.

Run with ``python -m tests.benchmarks.winograd_ir [--rounds N]``. One thread, CPU time. OpenVINO has no Winograd for f32
on x64. Here a 3x3 convolution becomes F(2x2, 3x3) or F(4x4, 3x3) in operations of its opset: strided slices that gather
the tiles, a product with the transform of the input, one batched product over the channels, a product with the
transform of the output, and a transposition. Layers are those of the network at 480x640. A ratio above 1: slower than
the plain convolution.

Reference: Lavin, Gray: Fast Algorithms for Convolutional Neural Networks, CVPR 2016.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from tests.benchmarks.pairing import median_ratio, take_turns

LAYERS = {"conv1_2": (64, 64, 480, 640), "conv2_2": (64, 64, 240, 320), "conv4_2": (128, 128, 60, 80)}
"""Layer -> channels in and out, height, width."""

F2 = (
    [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
    [[1, 1, 1, 0], [0, 1, -1, -1]],
)
F4 = (
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
)
TRANSFORMS = {2: F2, 4: F4}
"""Side of a tile -> transforms of the input, the kernel and the output, each of one axis."""


def constant(values: Any) -> Any:
    return ops.constant(np.asarray(values, np.float32))


def plain(kernel: NDArray[np.float32], height: int, width: int) -> Any:
    """The convolution as an IR has it, [1, C, H, W]."""
    image = ops.parameter([1, kernel.shape[1], height, width], np.float32)
    found = ops.convolution(image, constant(kernel), [1, 1], [1, 1], [1, 1], [1, 1])
    return openvino.Model([found], [image])


def winograd(kernel: NDArray[np.float32], height: int, width: int, tile: int) -> Any:
    """The same sums, channels last: [1, H, W, C]."""
    of_input, of_kernel, of_output = (np.asarray(matrix, np.float64) for matrix in TRANSFORMS[tile])
    side, (channels_out, channels, _, _) = tile + 2, kernel.shape
    rows, columns = height // tile, width // tile
    image = ops.parameter([1, height, width, channels], np.float32)
    padded = ops.pad(image, [0, 1, 1, 0], [0, 1, 1, 0], "constant", arg_pad_value=np.float32(0))
    parts = [
        ops.strided_slice(
            padded,
            [0, i, j, 0],
            [1, i + tile * (rows - 1) + 1, j + tile * (columns - 1) + 1, channels],
            [1, tile, tile, 1],
            [0] * 4,
            [0] * 4,
        )
        for i in range(side)
        for j in range(side)
    ]
    tiles = ops.reshape(ops.concat(parts, 0), [side * side, rows * columns * channels], False)
    moved = ops.matmul(constant(np.kron(of_input, of_input)), tiles, False, False)
    moved = ops.reshape(moved, [side * side, rows * columns, channels], False)
    kernels = np.einsum("ax,ocxy,by->abco", of_kernel, kernel.astype(np.float64), of_kernel)
    products = ops.matmul(moved, constant(kernels.reshape(side * side, channels, channels_out)), False, False)
    products = ops.reshape(products, [side * side, rows * columns * channels_out], False)
    found = ops.matmul(constant(np.kron(of_output, of_output)), products, False, False)
    found = ops.reshape(found, [tile, tile, rows, columns, channels_out], False)
    found = ops.reshape(ops.transpose(found, [2, 0, 3, 1, 4]), [1, height, width, channels_out], False)
    return openvino.Model([found], [image])


def compiled(model: Any, image: NDArray[np.float32]) -> Any:
    properties = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", properties).create_infer_request()
    return lambda: request.infer([image], share_inputs=True, share_outputs=True)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for name, (channels, channels_out, height, width) in LAYERS.items():
        rng = np.random.default_rng(0)
        image = rng.standard_normal((1, channels, height, width), np.float32)
        kernel = rng.standard_normal((channels_out, channels, 3, 3), np.float32)
        work = {"plain": compiled(plain(kernel, height, width), image)}
        last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
        for tile in TRANSFORMS:
            work[f"F({tile}x{tile})"] = compiled(winograd(kernel, height, width, tile), last)
        expected = work["plain"]().transpose(0, 2, 3, 1)
        for key in list(work)[1:]:
            np.testing.assert_allclose(work[key](), expected, atol=5e-3 * np.abs(expected).max() / 100)
        ms = take_turns(work, rounds)
        ratios = ", ".join(f"{key} {median_ratio(ms[key], ms['plain'])}" for key in list(work)[1:])
        print(f"{name} {channels}->{channels_out} {height}x{width}: plain {np.median(ms['plain']):.1f} ms; {ratios}")


if __name__ == "__main__":
    main()
