"""The network as ncnn reads it: ``model.param``, text with one layer a line, beside ``model.bin``, the numbers of the
layers in their order.

The layers are those of :mod:`bench.models.network`. Convolution and ReLU are one layer of ncnn. Where a batch
normalisation is followed by a 1x1 convolution, or follows one, it goes into its kernel and bias, in float64: such a
convolution sees no border. Before a 3x3 convolution it stays a layer (``Scale``): what is padded with zeros is the
normalised image, and a folded shift would be missing there.

References
----------
https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure and operators.md there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.models.network import (
    BATCH_NORM_EPSILON,
    CELL_PX,
    DESCRIPTOR_HEAD,
    DETECTOR_CHANNELS,
    DETECTOR_HEAD,
    ENCODER,
    LayerSpec,
)
from bench.models.weights import Weights, has_descriptors

_MAGIC = 7767517
_FLOAT32 = bytes(4)
"""Before the kernel of a convolution: its numbers are float32."""

Numbers = NDArray[np.float64]


def write_ncnn(directory: Path, weights: Weights, outputs: Sequence[str]) -> Path:
    """Write ``model.param`` and ``model.bin`` into a folder; returns the path of the first.

    Parameters
    ----------
    directory : Path
        Existing folder.
    weights : dict of str to float32
        Of a SuperPoint or a MagicPoint, see :mod:`bench.models.weights`.
    outputs : sequence of {"prob", "descriptors_raw"}
        Blobs that are computed. The input is ``image``, float32 [1, H, W]; ``prob`` is [1, H, W] and
        ``descriptors_raw`` [H/8, W/8, 256]. Sides that are no multiple of 8 are rounded down.
    """
    file = _File()
    file.layer("Input", [], ["image"])
    encoded = "image"
    for spec in ENCODER:
        encoded = file.convolution(encoded, spec.name, *_parameters(weights, spec), relu=True)
        encoded = file.scale(encoded, f"{spec.name}_bn", *_affine(weights, spec))
        if spec.pool:
            encoded = file.layer("Pooling", [encoded], [f"{spec.name}_pool"], "0=0 1=2 2=2 5=1")
    wanted = [name for name in outputs if name == "prob" or has_descriptors(weights)]
    ends = [f"encoded_{name}" for name in wanted]
    file.layer("Split", [encoded], ends)
    for name, end in zip(wanted, ends, strict=True):
        head = DETECTOR_HEAD if name == "prob" else DESCRIPTOR_HEAD
        found = file.head(end, head, weights)
        if name == "prob":
            file.layer("Softmax", [found], ["shares"], "0=0 1=1")
            # The last channel, "no keypoint here", is cut off.
            file.layer("Crop", ["shares"], ["pixels"], f"-23309=1,0 -23310=1,{DETECTOR_CHANNELS - 1} -23311=1,0")
            file.layer("PixelShuffle", ["pixels"], [name], f"0={CELL_PX}")
        else:
            file.layer("Permute", [found], [name], "0=3")  # channels last
    path = directory / "model.param"
    path.write_text(f"{_MAGIC}\n{len(file.lines)} {len(file.blobs)}\n" + "".join(f"{line}\n" for line in file.lines))
    path.with_suffix(".bin").write_bytes(b"".join(file.numbers))
    return path


def _parameters(weights: Weights, spec: LayerSpec) -> tuple[Numbers, Numbers]:
    """Kernel (HWIO) and bias of a convolution."""
    return tuple(weights[f"{spec.scope}/conv/{name}"].astype(np.float64) for name in ("kernel", "bias"))  # type: ignore[return-value]


def _affine(weights: Weights, spec: LayerSpec) -> tuple[Numbers, Numbers]:
    """Factor and shift of a batch normalisation, a channel each."""
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    gamma, beta, mean, variance = (weights[f"{spec.scope}/bn/{name}"].astype(np.float64) for name in names)
    factor = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    return factor, beta - factor * mean


@dataclass(slots=True)
class _File:
    """Lines of the ``.param`` and numbers of the ``.bin``."""

    lines: list[str] = field(default_factory=list)
    blobs: set[str] = field(default_factory=set)
    numbers: list[bytes] = field(default_factory=list)

    def layer(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], parameters: str = "") -> str:
        """Add a layer, named after its first output, which is returned."""
        self.blobs.update(outputs)
        head = f"{kind:<12} {outputs[0]:<20} {len(inputs)} {len(outputs)}"
        self.lines.append(" ".join(filter(None, (head, *inputs, *outputs, parameters))))
        return outputs[0]

    def convolution(self, features: str, name: str, kernel: Numbers, bias: Numbers, relu: bool) -> str:
        """Add a convolution that keeps the size."""
        side, _, _, channels = kernel.shape
        self.numbers += [_FLOAT32, _floats(kernel.transpose(3, 2, 0, 1)), _floats(bias)]
        parameters = f"0={channels} 1={side} 4={side // 2} 5=1 6={kernel.size}"
        return self.layer("Convolution", [features], [name], f"{parameters} 9=1" if relu else parameters)

    def scale(self, features: str, name: str, factor: Numbers, shift: Numbers) -> str:
        """Add a multiplication and an addition by channel."""
        self.numbers += [_floats(factor), _floats(shift)]
        return self.layer("Scale", [features], [name], f"0={len(factor)} 1=1")

    def head(self, features: str, specs: tuple[LayerSpec, ...], weights: Weights) -> str:
        """Add a head: a 3x3 convolution and a 1x1 convolution that both normalisations are part of."""
        first, second = specs
        features = self.convolution(features, f"{first.part}_conv1", *_parameters(weights, first), relu=True)
        factor, shift = _affine(weights, first)
        kernel, bias = _parameters(weights, second)
        bias = bias + np.einsum("i,hwio->o", shift, kernel)
        kernel = kernel * factor[:, None]
        factor, shift = _affine(weights, second)
        return self.convolution(features, f"{second.part}_conv2", kernel * factor, bias * factor + shift, relu=False)


def _floats(numbers: Numbers) -> bytes:
    return np.ascontiguousarray(numbers, "<f4").tobytes()
