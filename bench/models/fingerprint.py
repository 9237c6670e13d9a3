"""What a SavedModel is: identity, inputs and outputs."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core.errors import ModelError
from bench.models.network import BATCH_NORM_EPSILON, layer_specs
from bench.models.savedmodel import SavedModelGraph, check_constants, read_saved_model
from bench.models.variables import check_variables
from bench.models.weights import Weights, has_descriptors

SPARSE_OUTPUTS = ("prob", "descriptors_raw")
"""What decoding needs; the other outputs are computed only for ``graph=full``."""

_MAGICPOINT_2018 = "7b48271517bec821a84814906ea1b6726134fcd3ef0c7fe5cab96f6a531e5228"
"""Graph of magic-point_02-12-2018, exported before the authors normalised their input."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Identity and contract of a SavedModel of SuperPoint or MagicPoint.

    Attributes
    ----------
    graph_sha256, variables_sha256 : str
        Of ``saved_model.pb``, and of the names and bytes of the files in ``variables/``.
    input_tensor, output_tensors : str, dict
        Tensor names by signature key.
    input_scale : float
        Value of white: 1 or 255.
    batch : int or None
        Batch size the graph is built for; None: any.
    """

    graph_sha256: str
    variables_sha256: str
    tensorflow_version: str
    nodes: int
    input_tensor: str
    output_tensors: dict[str, str]
    descriptors: bool
    input_scale: float
    channels: int
    batch: int | None

    @property
    def key(self) -> str:
        """Short name of graph and variables, for cache folders."""
        return hashlib.sha256((self.graph_sha256 + self.variables_sha256).encode()).hexdigest()[:16]

    def outputs(self, graph: str, descriptors: bool = True) -> tuple[str, ...]:
        """Signature keys that a method computes.

        Parameters
        ----------
        graph : {"sparse", "full"}
        descriptors : bool
            False leaves the descriptors out of the sparse graph.
        """
        if graph == "full":
            return tuple(sorted(self.output_tensors))
        return tuple(key for key in SPARSE_OUTPUTS if key in self.output_tensors and (descriptors or key == "prob"))

    def as_dict(self) -> dict[str, object]:
        """For manifests; JSON-able."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WeightsFingerprint(Fingerprint):
    """Identity of weights that no SavedModel was exported from: graph and names are those of the package's network.

    Attributes
    ----------
    graph_sha256, variables_sha256 : str
        Of the table of layers, and of the names and bytes of the arrays.
    """

    source: str = "weights"


def weights_fingerprint(weights: Weights, input_scale: float | None = None) -> WeightsFingerprint:
    """Fingerprint of weights; white is 1 unless `input_scale` says otherwise."""
    descriptors = has_descriptors(weights)
    specs = layer_specs(descriptors)
    digest = hashlib.sha256()
    for name, array in weights.items():
        digest.update(name.encode() + b"\0" + array.tobytes())
    return WeightsFingerprint(
        graph_sha256=hashlib.sha256(repr((specs, BATCH_NORM_EPSILON)).encode()).hexdigest(),
        variables_sha256=digest.hexdigest(),
        tensorflow_version="",
        nodes=0,
        input_tensor="image",
        output_tensors={key: key for key in SPARSE_OUTPUTS if descriptors or key == "prob"},
        descriptors=descriptors,
        input_scale=1.0 if input_scale is None else input_scale,
        channels=1,
        batch=None,
    )


def read_fingerprint(directory: Path, input_scale: float | None = None) -> Fingerprint:
    """Fingerprint of a SavedModel, without running it.

    Parameters
    ----------
    directory : Path
    input_scale : float or None
        Value of white; None: by the graph.

    Raises
    ------
    ModelError
        If the folder holds no SavedModel, one whose graph could do more than compute, one whose signature is not that
        of SuperPoint or MagicPoint, or one whose variables are damaged or not finite.
    """
    graph = read_saved_model(directory)
    channels = _check_signature(graph, directory)
    check_variables(directory)
    check_constants(directory, graph)
    graph_sha256 = hashlib.sha256((directory / "saved_model.pb").read_bytes()).hexdigest()
    prob = graph.outputs["prob"].shape
    return Fingerprint(
        graph_sha256=graph_sha256,
        variables_sha256=_variables_sha256(directory),
        tensorflow_version=graph.tensorflow_version,
        nodes=len(graph.nodes),
        input_tensor=graph.inputs["image"].name,
        output_tensors={key: tensor.name for key, tensor in sorted(graph.outputs.items())},
        descriptors="descriptors_raw" in graph.outputs,
        input_scale=_input_scale(graph, graph_sha256, directory) if input_scale is None else input_scale,
        channels=channels,
        batch=prob[0] if prob and prob[0] > 0 else None,
    )


def _variables_sha256(directory: Path) -> str:
    digest = hashlib.sha256()
    files = sorted((directory / "variables").glob("variables.*"))
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _check_signature(graph: SavedModelGraph, directory: Path) -> int:
    """Number of input channels of a signature that is understood."""
    if set(graph.inputs) != {"image"}:
        raise ModelError(f"{directory}: the signature's inputs are {sorted(graph.inputs)}, SuperPoint has one, 'image'")
    image = graph.inputs["image"]
    if image.dtype != "float32" or image.shape is None or len(image.shape) != 4:
        raise ModelError(f"{directory}: input 'image' is {image.dtype} {image.shape}, expected float32 [N, H, W, 1]")
    if image.shape[3] != 1:
        raise ModelError(
            f"{directory}: input 'image' has {image.shape[3]} channels, expected 1 (SuperPoint sees grey images: its "
            "first kernel is 3x3x1x64)"
        )
    ranks = {"prob": 3, "descriptors_raw": 4} if "descriptors" in graph.outputs else {"prob": 3}
    for key, rank in ranks.items():
        tensor = graph.outputs.get(key)
        if tensor is None:
            raise ModelError(f"{directory}: no output {key!r}; the signature has {sorted(graph.outputs)}")
        if tensor.dtype != "float32" or (tensor.shape is not None and len(tensor.shape) != rank):
            found = f"{tensor.dtype} {tensor.shape}"
            raise ModelError(f"{directory}: output {key!r} is {found}, expected float32 with {rank} axes")
    return image.shape[3]


def _input_scale(graph: SavedModelGraph, graph_sha256: str, directory: Path) -> float:
    if graph_sha256 == _MAGICPOINT_2018:
        return 255.0
    if graph.inputs["image"].name.startswith("superpoint/"):
        return 1.0
    raise ModelError(
        f"{directory}: the graph does not say whether white is 1 or 255 (the MagicPoint of December 2018 takes 255, "
        "exports since November 2019 take 1); set model.input_scale=1 or model.input_scale=255"
    )
