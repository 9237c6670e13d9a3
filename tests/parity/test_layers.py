"""Layers of small OpenVINO models whose drift is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.parity.layers import Tapped, layers_of, shared_layers

PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
SHAPE = [1, 16, 24, 1]


def network(scale: float = 1.0, prefix: str = "", tail: bool = True) -> Any:
    """Two convolutions and a pooling, then a detector head with softmax and a descriptor head.

    `scale` multiplies the kernel of the second convolution; all values are powers of two, so that f32 is exact.
    """
    import openvino as ov
    from openvino import opset1
    from openvino import opset13 as ops

    def convolution(x: Any, name: str, channels: int, factor: float) -> Any:
        n = x.get_output_partial_shape(0)[1].get_length()
        kernel = np.zeros((channels, n, 3, 3), np.float32)
        kernel[:, :, 1, 1] = factor
        out = ops.convolution(x, ops.constant(kernel), [1, 1], [1, 1], [1, 1], [1, 1], name=f"{prefix}{name}")
        out = ops.add(out, ops.constant(np.full((1, channels, 1, 1), 0.5, np.float32)), name=f"{prefix}{name}_bias")
        return ops.relu(out, name=f"{prefix}{name}_relu")

    image = ops.parameter([1, -1, -1, 1], np.float32, name="image")
    x = ops.transpose(image, ops.constant(np.array([0, 3, 1, 2])))
    x = convolution(x, "conv_a", 2, 1.0)
    x = opset1.max_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], name=f"{prefix}pool")
    x = convolution(x, "conv_b", 2, scale)
    detector = ops.softmax(convolution(x, "conv_d", 2, 1.0), 1, name=f"{prefix}softmax")
    heads = {"prob": detector}
    if tail:
        heads["descriptors_raw"] = convolution(x, "conv_e", 4, 1.0)
    results = []
    for name, node in heads.items():
        node.output(0).set_names({name})
        results.append(ops.result(node.output(0)))
    return ov.Model(results, [image], "network")


def test_layers_are_the_fused_kernels_named_by_their_part() -> None:
    layers = layers_of(network())
    encoder = ["encoder conv 1", "encoder pool 1", "encoder conv 2"]
    assert [layer.name for layer in layers][:3] == encoder
    assert {layer.name for layer in layers[3:]} == {"detector conv 1", "detector softmax", "descriptor conv 1"}
    ends = {layer.name: (layer.start, layer.end) for layer in layers}
    assert ends["encoder conv 1"] == ("conv_a", "conv_a_relu")
    assert ends["detector softmax"] == ("softmax", "softmax")


def test_a_detector_has_no_encoder_of_its_own() -> None:
    assert {layer.name.split()[0] for layer in layers_of(network(tail=False))} == {"detector"}


def test_layers_are_joined_by_name_or_else_by_position() -> None:
    assert all(layer == other for layer, other in shared_layers(network(), network()))
    renamed = shared_layers(network(), network(prefix="x_"))
    assert all(other.end == f"x_{layer.end}" and other.name == layer.name for layer, other in renamed)
    with pytest.raises(ModelError, match="not conversions of one graph"):
        shared_layers(network(), network(prefix="x_", tail=False))


def test_the_error_enters_where_the_kernel_differs() -> None:
    import openvino as ov

    core = ov.Core()
    shared = shared_layers(network(), network(scale=1.25))
    nodes = [layer.end for layer, _ in shared]
    a, b = (Tapped(core, network(scale), nodes, SHAPE, PROPERTIES, "CPU") for scale in (1.0, 1.25))
    image = np.full(SHAPE, 0.25, np.float32)
    values, others = a.run(image), b.run(image)
    # 0.25 + 0.5 in both channels; the second convolution adds both: 2 * 0.75 * scale + 0.5.
    assert (values["conv_a_relu"] == 0.75).all() and (others["conv_a_relu"] == 0.75).all()
    assert (others["pool"] == 0.75).all()
    assert (values["conv_b_relu"] == 2.0).all()
    assert others["conv_b_relu"] == pytest.approx(2.375)
    assert values["softmax"] == pytest.approx(0.5)
    executed = a.executed()
    assert executed["conv_b_relu"][0] == "f32"


def test_a_quantised_output_is_read_after_the_quantisation() -> None:
    from openvino import opset13 as ops

    quantised = network()
    (pool,) = (node for node in quantised.get_ordered_ops() if node.get_friendly_name() == "pool")
    low, high = ops.constant(np.float32(0)), ops.constant(np.float32(1))
    coarse = ops.fake_quantize(pool.input_value(0), low, high, low, high, 3, name="quantisation")
    pool.input(0).replace_source_output(coarse.output(0))
    ends = {layer.name: other.end for layer, other in shared_layers(network(), quantised)}
    assert ends["encoder conv 1"] == "quantisation" and ends["encoder pool 1"] == "pool"
