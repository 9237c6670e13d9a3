"""Protocol presets read from their files are those that Hydra composes."""

from __future__ import annotations

import pytest

from bench.config import compose
from bench.core.errors import ConfigError
from bench.core.resources import resource
from bench.schema.presets import preset, preset_names


def test_names_are_the_files() -> None:
    assert preset_names() == sorted(path.stem for path in (resource("conf") / "protocol").glob("*.yaml"))
    assert {"strict", "paper", "rpautrat"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_what_hydra_composes(name: str) -> None:
    assert preset(name) == compose([f"protocol={name}"]).protocol


def test_a_variant_keeps_what_it_does_not_name() -> None:
    assert preset("paper_repeatability_nms8").keypoints.nms.size == 8
    assert preset("paper_repeatability_nms8").keypoints.nms.kind == preset("paper_repeatability").keypoints.nms.kind


@pytest.mark.parametrize("name", ["mine", "../run", "schema", ""])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no preset; allowed: alike"):
        preset(name)
