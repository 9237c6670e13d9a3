"""Which methods a host can run: what a preset brings is left out, what the user names is refused."""

from __future__ import annotations

import sys

import pytest

from bench.commands import parity, sweep
from bench.config import compose
from bench.core.errors import ConfigError
from bench.features.base import runnable
from bench.run.benchmark import run
from bench.runtimes.openvino import host_capabilities


@pytest.fixture
def no_nncf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without NNCF, as Python itself says it."""
    monkeypatch.setitem(sys.modules, "nncf", None)


def optional(*overrides: str, command: str = "run") -> dict[str, bool]:
    methods = compose(["cache=/nowhere", *overrides], command).methods
    return {name: method.optional for name, method in methods.items()}


@pytest.mark.parametrize("command", ["run", "parity", "sweep"])
def test_a_method_that_the_command_line_names_must_run(command: str) -> None:
    preset = optional("methods=precisions", command=command)
    assert set(preset.values()) == {True}
    set_key, forced_key, added, chosen = (
        "methods.superpoint_ov_f16.threads=1",
        "++methods.superpoint_ov_bf16.label=half",
        "+method@methods.half=superpoint_ov_f16",
        "methods.superpoint_ov_int8.optional=true",
    )
    named = optional("methods=precisions", set_key, forced_key, added, chosen, command=command)
    must = {name for name, may in named.items() if not may}
    assert must == {"superpoint_ov_f16", "superpoint_ov_bf16", "half"}
    assert named["superpoint_ov_int8"] is True


def test_a_preset_leaves_out_what_the_host_cannot_run(no_nncf: None, caplog: pytest.LogCaptureFixture) -> None:
    methods = compose(["cache=/nowhere", "methods=precisions"]).methods
    kept, left_out = runnable(methods)
    assert left_out["superpoint_ov_int8"] == "NNCF is not installed (pip install 'superpoint-bench[int8]')"
    units = {"superpoint_ov_f16": "FP16", "superpoint_ov_bf16": "BF16"}
    lacking = {name for name, unit in units.items() if unit not in host_capabilities()["CPU"]}
    assert set(left_out) == {"superpoint_ov_int8", *lacking}
    assert list(kept) == [name for name in methods if name not in left_out]
    assert "not run here: superpoint_ov_int8, NNCF is not installed" in caplog.text


def test_the_units_of_the_processor_decide() -> None:
    from bench.runtimes.precision import missing_units

    assert missing_units("f16", ["FP32", "BF16", "INT8"]) == "this CPU has no f16 units"
    assert missing_units("bf16", ["FP32", "BF16", "INT8"]) is None
    assert missing_units("auto", ["FP32"]) is None


@pytest.mark.parametrize("package", ["tensorflow", "openvino"])
def test_a_runtime_that_is_not_installed_is_left_out(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    kept, left_out = runnable(compose(["cache=/nowhere"]).methods)
    backends = {"tensorflow": ["superpoint_tf"], "openvino": ["superpoint_ov_fp32", "superpoint_ov_fp16"]}
    assert list(left_out) == backends[package]
    assert "sift" in kept


@pytest.mark.parametrize("entry", [run, parity.main, sweep.main])
def test_a_named_method_is_refused_before_any_work(entry: object, no_nncf: None, tmp_path: object) -> None:
    command = {run: "run", parity.main: "parity", sweep.main: "sweep"}[entry]  # type: ignore[index]
    overrides = ["dataset=folder", "dataset.root=/nowhere", f"results={tmp_path}/results"]
    config = compose([*overrides, "cache=/nowhere", "+method@methods.x=superpoint_ov_int8"], command)
    with pytest.raises(ConfigError, match=r"methods\.x cannot run here: NNCF is not installed"):
        entry(config)  # type: ignore[operator]
    assert not list(tmp_path.iterdir())  # type: ignore[attr-defined]


def test_a_command_of_which_nothing_is_left_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    methods = compose(["cache=/nowhere", "methods=openvino_recipe"]).methods
    with pytest.raises(ConfigError, match=r"no method can run here: recipe_fp16, OpenVINO is not installed"):
        runnable(methods)
    with pytest.raises(ConfigError, match="no method is left to compare with the reference superpoint_tf"):
        parity.main(compose(["cache=/nowhere"], "parity"))


def test_a_reference_that_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ConfigError, match="reference=superpoint_tf cannot run here: TensorFlow is not installed"):
        parity.main(compose(["cache=/nowhere"], "parity"))


def test_devices_beside_the_cpu_are_a_condition_of_a_run() -> None:
    from bench.features.base import devices
    from bench.run.manifest import conditions

    plain = compose(["methods=precisions"])
    assert devices(plain.methods) == {}
    found = devices(compose(["methods=precisions", "device=HETERO:CPU"]).methods)
    assert list(found) == ["CPU"] and found["CPU"] not in ("", "absent")
    assert conditions({"hash": "h", "devices": found}, {})["device.CPU"] == found["CPU"]


@pytest.mark.parametrize("command", ["run", "sweep", "parity"])
def test_the_device_of_a_command_is_that_of_its_methods(command: str) -> None:
    methods = compose(["device=AUTO", "methods.superpoint_ov_fp16.device=HETERO:CPU"], command).methods
    assert (methods["superpoint_ov_fp32"].device, methods["superpoint_ov_fp16"].device) == ("AUTO", "HETERO:CPU")


def test_streams_are_asked_of_openvino_alone() -> None:
    with pytest.raises(ConfigError, match="backend=tensorflow has no num_streams; openvino has"):
        compose(["methods.superpoint_tf.num_streams=2"])
