"""Requested, resolved and executed precision, read from what the runtime compiled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from bench.core.errors import ModelError

NEEDS = {"f16": "FP16", "bf16": "BF16"}
"""Hint -> OpenVINO's name of the capability."""
_INTEGER = ("u8", "i8")
_KERNEL_PRECISION = re.compile(r"_(f32|f16|fp16|bf16|u8|i8)$", re.IGNORECASE)


def check_hint(hint: str, capabilities: list[str], device: str = "CPU") -> None:
    """Refuse an execution precision the device does not have; OpenVINO would run in another without a word.

    Parameters
    ----------
    hint : {"f32", "f16", "bf16", "auto"}
    capabilities : list of str
        ``OPTIMIZATION_CAPABILITIES`` of the device.
    device : str

    Raises
    ------
    ModelError
    """
    lacking = missing_units(hint, capabilities, device)
    if lacking is not None:
        raise ModelError(
            f"inference_precision={hint} is not possible: {lacking} (OpenVINO reports {', '.join(capabilities)}); use "
            f"inference_precision={'auto' if hint == 'f32' else 'f32'}"
        )


def missing_units(hint: str, capabilities: Collection[str], device: str = "CPU") -> str | None:
    """What a device lacks for an execution precision, in words; None: nothing.

    >>> missing_units("f16", ["FP32", "BF16"]), missing_units("f32", ["FP32"])
    ('this CPU has no f16 units', None)
    >>> missing_units("f32", ["FP16", "INT8"], "NPU")
    'this NPU has no f32 units'
    """
    needed = NEEDS.get(hint, "FP32" if hint == "f32" else None)
    return None if needed is None or needed in capabilities else f"this {device} has no {hint} units"


def layers(compiled: Any) -> list[dict[str, str]]:
    """Layers of a compiled OpenVINO model: name, type, precision and kernel, constants left out.

    The precision is that of the kernel, for example f32 of ``brgconv_avx512_f32``.  The plugin's own
    ``runtimePrecision`` is used where the kernel's name does not say it: for compressed weights it reports the f16 of
    the weights although the kernel computes in f32.
    """
    rows = []
    for op in compiled.get_runtime_model().get_ordered_ops():
        facts = {key: str(getattr(value, "value", value)) for key, value in op.get_rt_info().items()}
        if facts.get("layerType") not in ("Const", "Input", "Output", None):
            kernel = facts.get("primitiveType", "unknown")
            rows.append(
                {
                    "name": op.get_friendly_name(),
                    "type": facts["layerType"],
                    "precision": executed(kernel, facts.get("runtimePrecision", "unknown")),
                    "kernel": kernel,
                }
            )
    return rows


def executed(kernel: str, runtime_precision: str) -> str:
    """Precision a layer computes in.

    >>> executed("brgconv_avx512_f32", "f16"), executed("jit_avx2_I8", "u8"), executed("ref_any", "f32")
    ('f32', 'i8', 'f32')
    """
    match = _KERNEL_PRECISION.search(kernel)
    return match[1].lower().replace("fp16", "f16") if match else runtime_precision


def describe(weights: str, hint: str, resolved: str, rows: list[dict[str, str]]) -> dict[str, object]:
    """Precision of an OpenVINO method for tables and manifests.

    Parameters
    ----------
    weights : {"f32", "f16", "int8"}
    hint : {"f32", "f16", "bf16", "auto"}
    resolved : str
        ``INFERENCE_PRECISION_HINT`` of the compiled model.
    rows : list of dict
        From :func:`layers`.

    Returns
    -------
    dict
        ``requested``, ``resolved``, ``executed`` (share of the convolution layers by precision), ``label``, ``layers``.
    """
    convolutions = [row for row in rows if row["type"] == "Convolution"]
    counts = Counter(row["precision"] for row in convolutions)
    shares = {precision: count / len(convolutions) for precision, count in counts.most_common()}
    return {
        "requested": f"weights {weights}, hint {hint}",
        "resolved": resolved,
        "executed": shares,
        "kernels": sorted({row["kernel"] for row in convolutions}),
        "label": label(weights, shares),
        "layers": rows,
    }


def label(weights: str, shares: Mapping[str, float]) -> str:
    """A few words for tables.

    Parameters
    ----------
    weights : {"f32", "f16", "int8"}
    shares : mapping of str to float
        Share of the convolution layers by precision.

    >>> label("f32", {"f32": 1.0}), label("f16", {"f32": 1.0}), label("f32", {"bf16": 1.0})
    ('FP32', 'FP16 weights, f32 compute', 'FP32 weights, bf16 compute')
    >>> label("int8", {"u8": 0.75, "f32": 0.25})
    'INT8 (u8 75 %, f32 25 % of convolutions)'
    """
    if weights == "int8":
        parts = ", ".join(f"{precision} {100 * share:.0f} %" for precision, share in shares.items())
        integer = any(precision in _INTEGER for precision in shares)
        return f"INT8 ({parts} of convolutions)" if integer else f"INT8 model, {parts} compute"
    if weights == "f32" and set(shares) == {"f32"}:
        return "FP32"
    compute = " + ".join(shares) or "unknown"
    return f"{'FP16' if weights == 'f16' else 'FP32'} weights, {compute} compute"
