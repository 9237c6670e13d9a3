"""Where the error enters: the output of every kernel of an IR against the same kernel of the FP32 IR.

A layer is what the runtime executes as one kernel: a convolution with the bias, ReLU and normalisation that follow it,
a pooling, a softmax. Its output is asked for in addition to the network's own; cutting inside a kernel would undo the
fusion and measure another program. Layers of the two models are joined by their friendly names, which conversion and
compression leave alone.

A worker process holds what :func:`create` returns: both IRs; its ``compare`` takes an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ModelError
from bench.core.types import Context, EvaluatedImage
from bench.features.select import to_float32
from bench.models.graphfile import is_graph_file
from bench.parity.drift import tensor_drift
from bench.runtimes.precision import executed
from bench.schema import SuperPointConfig
from bench.schema.options import PrecisionHint, Weights

HEADS = {"logits": "detector", "prob": "detector", "descriptors_raw": "descriptor"}
_STARTS = {"Convolution": "conv", "GroupConvolution": "conv", "MaxPool": "pool", "Softmax": "softmax"}
_FUSED = ("Add", "Subtract", "Multiply", "Relu", "PRelu", "Clamp")


@dataclass(frozen=True, slots=True)
class Layer:
    """One kernel of a model.

    Attributes
    ----------
    name : str
        For readers: part of the network, kind and number, e.g. ``encoder conv 3``.
    start, end : str
        Friendly names of its first and last node in the IR.
    """

    name: str
    start: str
    end: str


def layers_of(model: Any) -> list[Layer]:
    """List the kernels of the encoder and the heads of an ``openvino.Model``, in the order of execution.

    What follows the heads only in ``graph=full`` (suppression, dense descriptors) is left out.
    """
    parts = _parts(model)
    counts: dict[tuple[str, str], int] = {}
    found = []
    for node in model.get_ordered_ops():
        kind, part = _STARTS.get(node.get_type_name()), parts.get(node.get_friendly_name())
        if kind is None or part is None:
            continue
        end = node
        while (after := _fused_consumer(end)) is not None:
            end = after
        number = counts[part, kind] = counts.get((part, kind), 0) + 1
        name = f"{part} {kind} {number}" if kind != "softmax" else f"{part} {kind}"
        found.append(Layer(name, node.get_friendly_name(), end.get_friendly_name()))
    return found


def _parts(model: Any) -> dict[str, str]:
    """Friendly name of each node upstream of the heads -> encoder (both heads), detector or descriptor."""
    above: dict[str, set[str]] = {}
    for output in model.outputs:
        for head in output.get_names() & set(HEADS):
            queue, seen = [output.get_node()], set()
            while queue:
                node = queue.pop()
                name = node.get_friendly_name()
                if name not in seen:
                    seen.add(name)
                    above.setdefault(name, set()).add(HEADS[head])
                    queue += [value.get_source_output().get_node() for value in node.inputs()]
    return {name: next(iter(heads)) if len(heads) == 1 else "encoder" for name, heads in above.items()}


def _fused_consumer(node: Any) -> Any | None:
    """The only consumer, if it is an element-wise node with nothing but constants beside it."""
    consumers = [target.get_node() for target in node.output(0).get_target_inputs()]
    if len(consumers) != 1 or consumers[0].get_type_name() not in _FUSED:
        return None
    others = [value.get_source_output().get_node() for value in consumers[0].inputs()]
    beside = [other for other in others if other.get_friendly_name() != node.get_friendly_name()]
    return consumers[0] if all(other.get_type_name() == "Constant" for other in beside) else None


def shared_layers(model: Any, other: Any) -> list[tuple[Layer, Layer]]:
    """Layers of `model`, each with its counterpart in `other`.

    Joined by the name of the last node. If conversion numbered its nodes anew and no name fits, by position, where both
    models have the same number of layers. The end of a counterpart that quantises its output is the quantisation, as
    the runtime fuses it.

    Raises
    ------
    ModelError
        If neither is possible: the two are not conversions of one graph.
    """
    layers, others = layers_of(model), layers_of(other)
    nodes = {node.get_friendly_name(): node for node in other.get_ordered_ops()}
    types = {node.get_friendly_name(): node.get_type_name() for node in model.get_ordered_ops()}
    named = [layer for layer in layers if layer.end in nodes and nodes[layer.end].get_type_name() == types[layer.end]]
    if named:
        joined = [(layer, layer) for layer in named]
    elif [layer.name for layer in layers] == [layer.name for layer in others]:
        joined = list(zip(layers, others, strict=True))
    else:
        raise ModelError(
            f"the FP32 IR has {len(layers)} layers and the other {len(others)}, and no name is shared: they are not "
            "conversions of one graph"
        )
    return [(own, replace(found, end=_quantised(nodes[found.end]))) for own, found in joined]


def _quantised(node: Any) -> str:
    """Name of the quantisation that is the only consumer of a node, or else of the node."""
    consumers = {
        target.get_node().get_friendly_name(): target.get_node() for target in node.output(0).get_target_inputs()
    }
    if len(consumers) == 1:
        name, consumer = next(iter(consumers.items()))
        if consumer.get_type_name() == "FakeQuantize":
            return str(name)
    return str(node.get_friendly_name())


class Tapped:
    """A compiled model that also gives the outputs of some inner nodes."""

    def __init__(
        self,
        core: Any,
        model: Any,
        nodes: Sequence[str],
        shape: Sequence[int],
        properties: Mapping[str, object],
        device: str,
    ) -> None:
        tapped = model.clone()
        tapped.reshape(list(shape))
        by_name = {node.get_friendly_name(): node for node in tapped.get_ordered_ops()}
        tapped.add_outputs([by_name[name].output(0) for name in nodes])
        # A node that is an output of the network gets no second result, so results are looked up by their source.
        sources = [
            result.input(0).get_source_output().get_node().get_friendly_name() for result in tapped.get_results()
        ]
        self._index = {name: sources.index(name) for name in nodes}
        self._compiled = core.compile_model(tapped, device, dict(properties))
        self._request = self._compiled.create_infer_request()

    def run(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Output of each inner node for an image [1, H, W, 1]; valid until the next call."""
        self._request.infer([image], share_inputs=True)
        tensors = self._request.output_tensors
        return {name: tensors[index].data for name, index in self._index.items()}

    def executed(self) -> dict[str, tuple[str, str]]:
        """Precision and kernel by the friendly name of every node that was fused into the kernel."""
        found = {}
        for op in self._compiled.get_runtime_model().get_ordered_ops():
            facts = {key: str(getattr(value, "value", value)) for key, value in op.get_rt_info().items()}
            kernel = facts.get("primitiveType", "unknown")
            for name in facts.get("originalLayersNames", "").split(","):
                found[name] = (executed(kernel, facts.get("runtimePrecision", "unknown")), kernel)
        return found


class LayerDrift:
    """The IR of a method on its device and the FP32 IR of the same SavedModel on the CPU, side by side."""

    def __init__(self, method: SuperPointConfig, context: Context) -> None:
        import openvino

        from bench.features.convert import model_files
        from bench.models.shape import input_shape
        from bench.models.store import model_of
        from bench.runtimes.openvino import DEVICE, device_of, properties_of

        directory, self._fingerprint = model_of(method.model, context)
        if is_graph_file(directory):
            raise ModelError(f"{directory}: runs as it is; layers are compared of a SavedModel or of weights")
        self._input_shape = input_shape
        self._core = openvino.Core()
        configs = (
            replace(
                method,
                weights=Weights.f32,
                inference_precision=PrecisionHint.f32,
                accuracy_control=False,
                device=DEVICE,
            ),
            method,
        )
        available = self._core.available_devices
        self._devices = [device_of(config) for config in configs]
        self._properties = [properties_of(config, context.threads, available) for config in configs]
        files = [model_files(config, directory, self._fingerprint, context) for config in configs]
        self._models = [self._core.read_model(str(file)) for file in files]
        self._layers = shared_layers(*self._models)

    def compare(self, image: EvaluatedImage) -> list[dict[str, object]]:
        """Rows of layers.csv for one image, in the order of execution."""
        shape = self._input_shape(image.size, self._fingerprint)
        grey = to_float32(image.grey, self._fingerprint.input_scale)[None, :, :, None]
        nodes = ([layer.end for layer, _ in self._layers], [found.end for _, found in self._layers])
        reference, other = (
            Tapped(self._core, model, names, shape, properties, device)
            for model, names, properties, device in zip(
                self._models, nodes, self._properties, self._devices, strict=True
            )
        )
        values, others, executed = reference.run(grey), other.run(grey), other.executed()
        rows: list[dict[str, object]] = []
        for layer, counterpart in self._layers:
            found = tensor_drift(values[layer.end], others[counterpart.end], ())
            precision, kernel = executed.get(counterpart.start, ("unknown", "unknown"))
            rows.append(
                {
                    "layer": layer.name,
                    "node": layer.end,
                    "joined_by": "name" if counterpart.start == layer.start else "position",
                    "shape": "x".join(map(str, values[layer.end].shape)),
                    "precision": precision,
                    "kernel": kernel,
                    "n_not_finite": found.n_not_finite,
                    "max_abs": found.max_abs,
                    "mean_abs": found.mean_abs,
                    "max_relative": found.max_relative,
                    "mean_relative": found.mean_relative,
                    "l2_relative": found.l2_relative,
                }
            )
        return rows


def create(name: str, config: SuperPointConfig, context: Context) -> LayerDrift:
    """Load the IR of the method `name` and the FP32 IR of the same model; converted on first use.

    Raises
    ------
    ModelError
        If the model is missing or refused, or the two IRs share no layers.
    """
    return LayerDrift(config, context)
