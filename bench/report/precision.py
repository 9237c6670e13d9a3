"""What the precision of a method means on a processor, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_NATIVE = {
    "FP16": ("avx512_fp16", "amx_fp16", "asimdhp"),
    "BF16": ("avx512_bf16", "amx_bf16", "bf16"),
    "INT8": ("avx512_vnni", "avx_vnni", "amx_int8", "i8mm"),
}
"""Instruction sets, as ``/proc/cpuinfo`` names them, that make a number format fast."""


def missing(isa: Collection[str]) -> list[str]:
    """Number formats a processor has no instructions for.

    Parameters
    ----------
    isa : collection of str
        Instruction sets, as in ``host.isa`` of a manifest; empty: unknown, nothing is said to be missing.

    >>> missing(["avx2", "fma", "f16c"]), missing(["avx512_vnni", "avx512_bf16"])
    (['FP16', 'BF16', 'INT8'], ['FP16'])
    """
    return [name for name, flags in _NATIVE.items() if isa and not set(flags) & set(isa)]


def host_sentence(isa: Collection[str]) -> str:
    """What a reader should expect of reduced precision on a processor; empty where it has all formats.

    >>> host_sentence(["avx2", "fma", "f16c"])
    'This processor has no native FP16, BF16 or INT8 arithmetic: reduced precision gives smaller files, not speed.'
    """
    lacking = missing(isa)
    if not lacking:
        return ""
    names = " or ".join(filter(None, (", ".join(lacking[:-1]), lacking[-1])))
    gain = "reduced precision gives" if len(lacking) == len(_NATIVE) else "these give"
    return f"This processor has no native {names} arithmetic: {gain} smaller files, not speed."


def explain(weights: str, hint: str, shares: Mapping[str, float], isa: Collection[str]) -> str:
    """What a method's precision means on a processor, in words.

    Parameters
    ----------
    weights : {"f32", "f16", "int8"}
    hint : {"f32", "f16", "bf16", "auto"}
    shares : mapping of str to float
        ``executed`` of :func:`bench.runtimes.precision.describe`.
    isa : collection of str
        See :func:`missing`.

    >>> explain("f16", "f32", {"f32": 1.0}, ["avx512_fp16"])
    'f32 was asked for: FP16 weights are expanded and computed in f32; expect a smaller file, not speed.'
    >>> explain("f32", "bf16", {"bf16": 1.0}, ["avx512_bf16"])
    'All convolutions compute in bf16.'
    """
    lacking = missing(isa)
    computed = " and ".join(f"{100 * share:.0f} % in {name}" for name, share in shares.items())
    if not shares:
        return "The runtime does not say in which precision it computes."
    if weights == "f16" and set(shares) == {"f32"}:
        reason = "This processor has no native FP16: " if "FP16" in lacking else "f32 was asked for: "
        if hint == "auto" and "FP16" not in lacking:
            reason = "The runtime chose f32: "
        return f"{reason}FP16 weights are expanded and computed in f32; expect a smaller file, not speed."
    if weights == "int8":
        if not set(shares) & {"u8", "i8"}:
            return f"INT8 weights, but no convolution computes in integers ({computed})."
        slow = (
            " This processor has no dot product of integers (VNNI): expect little speed." if "INT8" in lacking else ""
        )
        return f"Convolutions compute {computed}.{slow}"
    if set(shares) == {"f32"}:
        if hint in ("f16", "bf16"):
            return f"{hint} was asked for and f32 is computed: the runtime lowered nothing."
        return "Weights and arithmetic are f32."
    return (
        f"All convolutions compute in {next(iter(shares))}."
        if len(shares) == 1
        else f"Convolutions compute {computed}."
    )
