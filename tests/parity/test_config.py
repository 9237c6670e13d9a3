"""Keys of ``bench parity``."""

from __future__ import annotations

import pytest

from bench.config import compose
from bench.core.errors import ConfigError
from bench.parity.compare import methods_of
from bench.parity.config import ParityConfig


def parity_config(*overrides: str) -> ParityConfig:
    config = compose(overrides, "parity")
    assert isinstance(config, ParityConfig)
    return config


def test_the_default_compares_openvino_with_tensorflow() -> None:
    config = parity_config("~methods.superpoint_mnn_fp32")  # there where the extra mnn is installed
    assert list(methods_of(config)) == ["superpoint_tf", "superpoint_ov_fp32", "superpoint_ov_fp16"]
    assert config.protocol.name == "strict"


def test_the_reference_comes_first() -> None:
    assert next(iter(methods_of(parity_config("reference=superpoint_ov_fp16")))) == "superpoint_ov_fp16"


def test_a_protocol_that_filters_by_ground_truth_applies_the_budget_later() -> None:
    config = parity_config("protocol.keypoints.gt_filter=true", "protocol.gt_leak=true")
    assert {method.max_keypoints for method in methods_of(config).values()} == {0}
    assert config.methods["superpoint_tf"].max_keypoints == config.protocol.keypoints.max > 0


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["reference=sift"], "reference='sift' is not a SuperPoint method of this command; allowed: superpoint_tf"),
        (["methods.drop=[superpoint_ov_fp32,superpoint_ov_fp16,superpoint_mnn_fp32]"], "besides the reference"),
        (["repeats=1"], "repeats=1 is not possible; allowed: 2"),
        (["max_sequences=0"], "max_sequences=0 is not possible"),
        (["layer_images=-1"], "layer_images=-1 is not possible"),
        (["referense=superpoint_tf"], "did you mean reference"),
    ],
)
def test_wrong_values_are_refused(overrides: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parity_config(*overrides)
