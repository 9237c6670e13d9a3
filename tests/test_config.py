"""Every YAML file composes; wrong keys, types and values fail with the key, the value and what is allowed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bench.commands import COMMANDS
from bench.config import compose
from bench.core.errors import ConfigError
from bench.core.resources import resource
from bench.schema import OpenCVConfig, PhotosConfig, RunConfig, SuperPointConfig

CONF = resource("conf")
GROUPS = {
    group: sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    for group in ("protocol", "dataset", "model", "methods", "latency", "engine", "experiment")
}
PRIMARY = {name for name, command in COMMANDS.items() if command.schema}


def run_config(*overrides: str) -> RunConfig:
    config = compose(overrides)
    assert isinstance(config, RunConfig)
    return config


@pytest.mark.slow
@pytest.mark.parametrize("choice", [f"{group}={name}" for group, names in GROUPS.items() for name in names])
def test_every_choice_of_every_group_composes(choice: str) -> None:
    overrides = [choice]
    overrides += {"model=path": ["model.path=somewhere"], "dataset=custom": ["dataset.kind=photos"]}.get(choice, [])
    config = run_config(*overrides)
    assert config.methods
    assert config.protocol.name


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(path.stem for path in (CONF / "method").glob("*.yaml")))
def test_every_method_composes(method: str) -> None:
    config = run_config("methods=default", f"+method@methods.added={method}")
    assert dataclasses.is_dataclass(config.methods["added"])


def test_every_yaml_file_is_a_group_choice_a_command_or_shared() -> None:
    known = {f"{group}/{name}" for group, names in GROUPS.items() for name in names} | PRIMARY | {"quiet"}
    found = {str(path.relative_to(CONF).with_suffix("")) for path in CONF.rglob("*.yaml")}
    grouped = {name for name in found if name.split("/")[0] in ("method", "train", "grid")}
    assert found - grouped - known == set()


def test_methods_are_added_and_removed_in_hydras_way() -> None:
    config = run_config("+method@methods.akaze=akaze", "~methods.orb", "~methods.superpoint_mnn_fp32")
    assert list(config.methods) == ["superpoint_tf", "superpoint_ov_fp32", "superpoint_ov_fp16", "sift", "akaze"]
    assert isinstance(config.methods["akaze"], OpenCVConfig)
    assert isinstance(config.methods["superpoint_tf"], SuperPointConfig)


def test_methods_follow_the_protocol_and_can_leave_it_alone() -> None:
    config = run_config("protocol.keypoints.max=77", "methods.superpoint_tf.nms.size=16")
    assert config.methods["sift"].max_keypoints == 77
    assert config.methods["superpoint_tf"].nms.size == 16
    assert config.methods["superpoint_ov_fp32"].nms.size == config.protocol.keypoints.nms.size != 16


def test_the_default_is_the_embedded_data_set() -> None:
    config = run_config()
    assert isinstance(config.dataset, PhotosConfig)
    assert config.protocol.name == "strict"
    assert config.model.kind == "builtin"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("methods.superpoint_tf.grph=full", ["methods.superpoint_tf.grph", "did you mean", "graph", "min_probability"]),
        ("protocl=strict", ["protocl", "protocol"]),
        ("threads=-1", ["threads", "-1", "allowed: 0 to"]),
        ("threads=two", ["threads", "two"]),
        ("protocol.keypoints.nms.kind=circle", ["nms.kind", "circle", "box", "square", "maxpool"]),
        ("methods.superpoint_tf.graph=half", ["methods.superpoint_tf", "graph", "half", "sparse", "full"]),
        ("dataset=imagenet", ["imagenet", "photos", "hpatches"]),
        ("methods.sift.algorithm=surf", ["methods.sift", "surf", "rootsift"]),
        ("protocol.estimator.threshold_px=0", ["threshold_px", "above 0"]),
        ("model.input_scale=128", ["model.input_scale", "128", "255"]),
        ("methods.superpoint_tf.weights=f16", ["superpoint_tf", "f16", "openvino"]),
    ],
)
def test_a_wrong_override_is_explained(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        run_config(override)
    for part in parts:
        assert part in str(caught.value), f"{part!r} is not in: {caught.value}"


def test_configs_hold_values_only() -> None:
    for path in CONF.rglob("*.yaml"):
        assert "_target_" not in Path(path).read_text(), f"{path.name}: logic belongs into Python"
        OmegaConf.load(path)


def test_methods_are_added_and_dropped_by_name() -> None:
    config = run_config("methods.add=[akaze, kaze]", "methods.drop=[orb]", "methods.akaze.label=A")
    assert list(config.methods)[-3:] == ["sift", "akaze", "kaze"]
    assert config.methods["akaze"].label == "A"
    assert list(run_config("methods.add=[orb]").methods) == list(run_config().methods)
    assert list(run_config("methods=classical", "methods.add=harris", "methods.drop=sift").methods)[-1] == "harris"


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["methods.add=[akze]"], ["did you mean akaze", "Allowed: akaze"]),
        (["methods.add=[akaze,akaze]"], ["akaze stands twice"]),
        (["methods.add=[akaze],[kaze]"], ["allowed: methods.add=[NAME,NAME]", "bench -m methods=A,B"]),
        (["methods.drop=[obr]"], ["no methods.obr to remove", "did you mean methods.drop=[orb]"]),
        (["+method@methods.add=sift"], ["methods.add", "changes the set"]),
        (["+method@methods.akze=akaze"], ["almost the preset akaze", "methods.add=[akaze]", "methods.akze.label=akze"]),
        (["+method@methods.mine=akze"], ["did you mean", "akaze"]),
        (["methods.akaze=akaze"], ["methods.add=[akaze]"]),
        (["experiment=ransac_swep"], ["did you mean experiment=ransac_sweep"]),
    ],
)
def test_a_misspelt_method_is_refused_with_the_one_that_was_meant(overrides: list[str], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        run_config(*overrides)
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["+method@methods.sift_fine=sift"],
        ["+method@methods.sift2=sift"],
        ["+method@methods.superpoint_ov_fp8=superpoint_ov_fp16"],
        ["+method@methods.akze=akaze", "methods.akze.label=akze"],
        ["+method@methods.mine=sift"],
    ],
)
def test_a_row_of_its_own_may_have_its_own_name(overrides: list[str]) -> None:
    assert set(run_config(*overrides).methods) - set(run_config().methods) == {
        overrides[0].removeprefix("+method@methods.").partition("=")[0]
    }


def test_a_row_of_a_preset_is_there_only_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a word; a row that is named stays, so that it is refused for what it lacks."""
    monkeypatch.setattr("bench.config.importable", lambda name: name != "MNN")
    assert "superpoint_mnn_fp32" not in run_config().methods
    assert "superpoint_mnn_fp32" in run_config("methods.superpoint_mnn_fp32.winograd=small").methods
    monkeypatch.setattr("bench.config.importable", lambda name: True)
    assert list(run_config().methods)[3] == "superpoint_mnn_fp32"
