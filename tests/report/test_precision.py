"""What a precision means on a processor, in words."""

from __future__ import annotations

import pytest

from bench.report.precision import explain, host_sentence, missing
from bench.report.tables import precision_table

AVX2 = ["avx", "avx2", "fma", "f16c"]
SAPPHIRE_RAPIDS = [*AVX2, "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"]


def test_what_a_processor_lacks() -> None:
    assert missing(AVX2) == ["FP16", "BF16", "INT8"]
    assert missing([*AVX2, "avx_vnni"]) == ["FP16", "BF16"]
    assert missing(SAPPHIRE_RAPIDS) == [] == missing([])


def test_a_processor_without_any_says_that_speed_is_not_to_be_had() -> None:
    assert "no native FP16, BF16 or INT8 arithmetic" in host_sentence(AVX2)
    assert "no native FP16 arithmetic: these give" not in host_sentence(AVX2)
    assert "not speed" in host_sentence(AVX2)
    assert host_sentence(SAPPHIRE_RAPIDS) == ""


@pytest.mark.parametrize(
    ("weights", "hint", "shares", "isa", "text"),
    [
        ("f16", "f32", {"f32": 1.0}, AVX2, "This processor has no native FP16: FP16 weights are expanded"),
        ("f16", "f32", {"f32": 1.0}, SAPPHIRE_RAPIDS, "f32 was asked for: FP16 weights are expanded"),
        ("f16", "auto", {"f32": 1.0}, SAPPHIRE_RAPIDS, "The runtime chose f32"),
        ("f16", "f16", {"f16": 1.0}, SAPPHIRE_RAPIDS, "All convolutions compute in f16."),
        ("f32", "bf16", {"f32": 1.0}, AVX2, "bf16 was asked for and f32 is computed"),
        (
            "int8",
            "f32",
            {"i8": 0.75, "f32": 0.25},
            AVX2,
            "75 % in i8 and 25 % in f32. This processor has no dot product",
        ),
        ("int8", "f32", {"i8": 1.0}, SAPPHIRE_RAPIDS, "Convolutions compute 100 % in i8."),
        ("int8", "f32", {"f32": 1.0}, AVX2, "no convolution computes in integers"),
        ("f32", "f32", {"f32": 1.0}, AVX2, "Weights and arithmetic are f32."),
        ("f32", "f32", {}, AVX2, "does not say"),
    ],
)
def test_a_method_is_explained(weights: str, hint: str, shares: dict[str, float], isa: list[str], text: str) -> None:
    assert text in explain(weights, hint, shares, isa)


def test_the_report_of_a_run_says_it() -> None:
    precision = {"requested": "weights f16, hint f32", "executed": {"f32": 1.0}, "label": "FP16 weights, f32 compute"}
    config = {"weights": "f16", "inference_precision": "f32"}
    method = {"config": config, "info": {"precision": precision}}
    table = precision_table({"methods": {"a": method}, "host": {"isa": AVX2}})
    assert table is not None and "no native FP16, BF16 or INT8" in table.note
    texts = [cell.text for cell in table.sections[0].rows[0]]
    assert "f32 100 %" in texts
    assert any("expect a smaller file, not speed" in text for text in texts)
