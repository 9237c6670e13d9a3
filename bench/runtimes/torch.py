"""SuperPoint under PyTorch, as its operations come (eager) or compiled by `torch.compile`, on the CPU."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import shutil
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.processes import call_in_child
from bench.core.types import Context, Size
from bench.models.fingerprint import Fingerprint
from bench.models.network import BATCH_NORM_EPSILON, CELL_PX, DESCRIPTOR_HEAD, DETECTOR_HEAD, ENCODER, LayerSpec
from bench.models.shape import input_shape
from bench.models.weights import Weights, load_weights
from bench.runtimes import precision
from bench.runtimes.base import Form, Outputs
from bench.schema import SuperPointConfig
from bench.schema.options import PrecisionHint

TITLE = "PyTorch"
FORM = Form.weights
READS: tuple[str, ...] = ()
_COMPILERS = ("g++", "clang++", "c++")
_SHAPES = 64
"""Image sizes that are compiled before `torch.compile` gives up and runs the operations as they come."""


def missing(config: SuperPointConfig) -> str | None:
    """See :func:`bench.runtimes.base.missing`."""
    if not importable("torch"):
        return "PyTorch is not installed (pip install 'superpoint-bench[torch]')"
    if config.compile and not any(map(shutil.which, (os.environ.get("CXX") or "g++", *_COMPILERS))):
        return f"torch.compile needs a C++ compiler, and there is none of {', '.join(_COMPILERS)}"
    if config.inference_precision == PrecisionHint.bf16 and not _bf16_of_host():
        return "this CPU has no bf16 units that PyTorch uses"
    return None


@functools.cache
def _bf16_of_host() -> bool:
    """Of this host, read in a process of its own: PyTorch stays out of this one."""
    found: bool = call_in_child(f"{__name__}:computes_bf16", title="the process that asks PyTorch for bf16")
    return found


def computes_bf16() -> bool:
    """Whether oneDNN has bf16 kernels for this CPU; PyTorch would compute it by slow substitutes without a word."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def library() -> Any:
    """Import PyTorch."""
    import torch

    return torch


def load(config: SuperPointConfig, model: Path, fingerprint: Fingerprint, context: Context) -> TorchNetwork:
    """Build the network from the weight file `model`.

    Raises
    ------
    ModelError
        If the CPU lacks the precision asked for, or PyTorch cannot compile the network.
    """
    if config.inference_precision == PrecisionHint.bf16 and not computes_bf16():
        raise ModelError("inference_precision=bf16 is not possible: this CPU has no bf16 units; use f32")
    if config.compile:
        # Of the compiler; else its files lie in the folder for temporary files.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(context.cache.resolve() / "torch")
    return TorchNetwork(config, load_weights(model), fingerprint, context.threads)


class TorchNetwork:
    """The network as a module of PyTorch; `torch.compile` makes a program for each image size."""

    def __init__(self, config: SuperPointConfig, weights: Weights, fingerprint: Fingerprint, threads: int) -> None:
        torch = library()
        torch.set_num_threads(threads)
        # Refused once PyTorch has started its threads; `info` reports the value in force.
        if torch.get_num_interop_threads() != 1:
            torch.set_num_interop_threads(1)
        self._torch = torch
        self._fingerprint = fingerprint
        self._config = config
        self._threads = threads
        self._keys = fingerprint.outputs("sparse", config.descriptors)
        self._shapes: set[tuple[int, ...]] = set()
        if config.compile:
            _set_up_compiler()
        start = time.perf_counter()
        self._eager = _network(torch, weights, "descriptors_raw" in self._keys)
        self._run = torch.compile(self._eager, dynamic=False) if config.compile else self._eager
        self._costs: dict[str, object] = {"load_ms": 1e3 * (time.perf_counter() - start)}
        self._layers = self._dispatched()

    def prepare(self, size: Size, batch: int = 1) -> None:
        """Compile for a shape, if the network is compiled.

        Raises
        ------
        ModelError
            If PyTorch cannot compile it.
        """
        shape = tuple(input_shape(size, self._fingerprint, batch))
        if not self._config.compile or shape in self._shapes:
            return
        start = time.perf_counter()
        try:
            self.infer(np.zeros(shape, np.float32))
        except Exception as error:  # of the compiler, in many classes
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise ModelError(f"torch.compile failed for input {list(shape)} ([N, H, W, 1]): {reason}") from error
        self._costs.setdefault("compile_ms", 1e3 * (time.perf_counter() - start))
        self._shapes.add(shape)

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        """Run [N, H, W, 1] images; neither inputs nor outputs are copied."""
        found = self._forward(self._run, images)
        return {key: found[key].float().numpy() for key in self._keys}

    def _forward(self, network: Any, images: NDArray[np.float32]) -> Any:
        torch = self._torch
        with warnings.catch_warnings():
            # Images that cannot be written to: the network does not.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor = torch.from_numpy(images.reshape(len(images), 1, *images.shape[1:3]))
        bf16 = self._config.inference_precision == PrecisionHint.bf16
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network(tensor)

    def _dispatched(self) -> list[dict[str, str]]:
        """Convolutions as PyTorch calls them for a small image, with the type of the numbers they get."""
        from torch.utils._python_dispatch import TorchDispatchMode

        found: list[dict[str, str]] = []
        names = {"torch.float32": "f32", "torch.bfloat16": "bf16", "torch.float16": "f16"}
        # `set_float32_matmul_precision` and its kin let oneDNN compute f32 numbers in bf16.
        allowed = str(getattr(getattr(self._torch.backends.mkldnn, "conv", None), "fp32_precision", "ieee"))

        class Listener(TorchDispatchMode):  # type: ignore[misc]
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                name = str(func)
                if "conv" in name:
                    executed = names.get(str(args[0].dtype), str(args[0].dtype))
                    executed = allowed if executed == "f32" and allowed in ("bf16", "tf32") else executed
                    row = {"name": f"conv_{len(found)}", "type": "Convolution", "precision": executed, "kernel": name}
                    found.append(row)
                return func(*args, **(kwargs or {}))

        with Listener():
            self._forward(self._eager, np.zeros((1, 2 * CELL_PX, 2 * CELL_PX, 1), np.float32))
        return found

    def info(self) -> dict[str, dict[str, object]]:
        """Facts for MethodInfo; the precision is that of the numbers that the convolutions get."""
        torch = self._torch
        counts = Counter(layer["precision"] for layer in self._layers)
        shares = {name: count / len(self._layers) for name, count in counts.most_common()}
        hint = self._config.inference_precision
        return {
            "precision": {
                "requested": f"weights f32, autocast {hint}" if hint != PrecisionHint.f32 else "weights f32",
                "resolved": ", ".join(shares),
                "executed": shares,
                "kernels": sorted({layer["kernel"] for layer in self._layers}),
                "label": precision.label("f32", shares),
                "layers": self._layers,
            },
            "versions": {"torch": importlib.metadata.version("torch"), "numpy": np.__version__},
            "threads": {
                "requested": self._threads,
                "intra_op": torch.get_num_threads(),
                "inter_op": torch.get_num_interop_threads(),
                "onednn": torch.backends.mkldnn.is_available(),
                "compiled": self._config.compile,
            },
            "costs": self._costs,
        }


def _set_up_compiler() -> None:
    """Import what `torch.compile` needs, and set it up for processes that are timed."""
    import torch._dynamo
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = _SHAPES
    # No processes of its own beside those that are timed.
    torch._inductor.config.compile_threads = 1
    # A size has one or two files: compiling their headers in advance costs more than it saves.
    torch._inductor.config.cpp_cache_precompile_headers = False


def _network(torch: Any, weights: Weights, descriptors: bool) -> Any:
    """The network as a module: [N, 1, H, W] to ``prob`` [N, H, W] and ``descriptors_raw`` [N, H/8, W/8, 256]."""

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = _blocks(torch, ENCODER, weights)
            self.detector = _blocks(torch, DETECTOR_HEAD, weights)
            self.descriptor = _blocks(torch, DESCRIPTOR_HEAD, weights) if descriptors else None

        def forward(self, image: Any) -> dict[str, Any]:
            encoded = self.encoder(image)
            shares = torch.softmax(self.detector(encoded), 1)[:, :-1]
            found = {"prob": torch.nn.functional.pixel_shuffle(shares, CELL_PX).squeeze(1)}
            if self.descriptor is not None:
                found["descriptors_raw"] = self.descriptor(encoded).permute(0, 2, 3, 1).contiguous()
            return found

    return Network().eval()


def _blocks(torch: Any, specs: tuple[LayerSpec, ...], weights: Weights) -> Any:
    layers = []
    for spec in specs:
        arrays = {
            name: torch.from_numpy(weights[f"{spec.scope}/{name}"].copy())
            for name in ("conv/kernel", "conv/bias", "bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance")
        }
        convolution = torch.nn.Conv2d(spec.channels_in, spec.channels_out, spec.kernel_px, padding=spec.kernel_px // 2)
        kernel = arrays["conv/kernel"].permute(3, 2, 0, 1).contiguous()
        convolution.load_state_dict({"weight": kernel, "bias": arrays["conv/bias"]})
        normalisation = torch.nn.BatchNorm2d(spec.channels_out, eps=BATCH_NORM_EPSILON)
        normalisation.load_state_dict(
            {
                "weight": arrays["bn/gamma"],
                "bias": arrays["bn/beta"],
                "running_mean": arrays["bn/moving_mean"],
                "running_var": arrays["bn/moving_variance"],
                "num_batches_tracked": torch.tensor(0),
            }
        )
        layers += [convolution, *([torch.nn.ReLU()] if spec.relu else []), normalisation]
        layers += [torch.nn.MaxPool2d(2)] if spec.pool else []
    return torch.nn.Sequential(*layers)
