"""The weights of a model, whatever form it comes in, for runtimes that build the network from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import ModelError
from bench.models.network import DESCRIPTOR_HEAD, DETECTOR_HEAD, ENCODER, LayerSpec
from bench.models.savedmodel import SavedModelGraph, read_saved_model
from bench.models.variables import read_variables
from bench.models.weights import Weights, check_weights, load_weights

_LAYERS = {
    "Conv2D": "Conv",
    "BiasAdd": "Bias",
    "Relu": "Relu",
    "FusedBatchNorm": "BatchNorm",
    "FusedBatchNormV2": "BatchNorm",
    "FusedBatchNormV3": "BatchNorm",
    "MaxPool": "Pool",
    "Softmax": "Softmax",
    "DepthToSpace": "Spread",
}
_PASSING = frozenset({"Identity", "Pack", "Unpack", "Reshape", "Squeeze", "StridedSlice", "ExpandDims", "Placeholder"})
"""Operations that move numbers and change none."""


def weights_of(model: Path) -> Weights:
    """Weights of a weight file (``.npz``) or of a SavedModel with the network of sp_v6, under the names of sp_v6.

    Parameters
    ----------
    model : Path
        As :func:`bench.models.store.model_of` gives it.

    Raises
    ------
    ModelError
        If the file is damaged, or the SavedModel computes another network: its layers are compared one by one.
    """
    if model.suffix == ".npz":
        return load_weights(model)
    graph = read_saved_model(model)
    heads = {"prob": DETECTOR_HEAD, "descriptors_raw": DESCRIPTOR_HEAD}
    for key, head in heads.items():
        if key not in graph.outputs:
            continue
        expected = [*_expected(ENCODER + head), *(("Softmax", "Spread") if key == "prob" else ())]
        found = list(reversed(list(_path(graph, key))))
        if found != expected:
            raise ModelError(
                f"{model}: output {key!r} is computed by {_words(found)}, not by the layers of sp_v6, so that its "
                "weights alone do not say what it computes; backend=tensorflow and backend=openvino run its graph"
            )
    variables = {name.replace("magicpoint/", "superpoint/", 1): array for name, array in read_variables(model).items()}
    return check_weights({name: array for name, array in variables.items() if _belongs(name)}, str(model))


def _belongs(name: str) -> bool:
    """False for what training leaves behind: steps and moments of the optimiser."""
    return name.startswith("superpoint/") and name.rpartition("/")[2] in (
        "kernel",
        "bias",
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
    )


def _expected(specs: tuple[LayerSpec, ...]) -> Iterator[str]:
    for spec in specs:
        yield from ("Conv", "Bias", *(("Relu",) if spec.relu else ()), "BatchNorm", *(("Pool",) if spec.pool else ()))


def _path(graph: SavedModelGraph, key: str) -> Iterator[str]:
    """Layers from an output back to the image; an operation that is no layer of sp_v6 has its own name."""
    nodes = {node.name: node for node in graph.nodes}
    image = graph.inputs["image"].name.partition(":")[0]
    name = graph.outputs[key].name.partition(":")[0]
    for _ in range(len(nodes)):
        node = nodes.get(name)
        if node is None or name == image:
            return
        if node.op not in _PASSING:
            yield _LAYERS.get(node.op, node.op)
        if not node.inputs:
            return
        name = node.inputs[0].lstrip("^").partition(":")[0]


def _words(layers: list[str]) -> str:
    return f"{len(layers)} layers, the first {', '.join(layers[:4]) or 'none'}"
