"""`bench list`: what there is, from the files and registries that define it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.commands.list import WHAT, main
from bench.core import presets
from bench.core.errors import ConfigError
from bench.metrics.columns import columns


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """First word of each line -> the rest."""
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[-1] for line in lines if line.strip()}


def test_alone_it_says_what_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(WHAT) <= set(shown(capsys))


@pytest.mark.parametrize(("what", "group"), [("methods", "method"), ("datasets", "dataset"), ("protocols", "protocol")])
def test_presets_have_a_line_each(what: str, group: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, what)
    assert list(found) == presets.names(group)
    assert all(text != name for name, text in found.items())


def test_a_protocol_with_a_leak_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert [name for name, text in shown(capsys, "protocols").items() if "leak" in text] == ["rpautrat"]


def test_all_presets_are_listed_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "protocol=strict" in shown(capsys, "presets")


def test_keys_are_listed_with_their_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "keys")
    assert found["methods.NAME.graph=sparse"].startswith("sparse | full.")
    assert {"seed=0", "latency.repeats=1", "dataset.max_scale=1.5"} <= set(found)


def test_metrics_are_those_of_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(shown(capsys, "metrics")) == set(columns())


def test_devices_name_what_they_compute_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert "inference_precision f32" in shown(capsys, "devices")["CPU"]


def test_runs_are_listed_whatever_state_they_are_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {
        "status": "complete",
        "started": "2026-01-02T03:04:05+00:00",
        "protocol": {"name": "strict"},
        "dataset": {"name": "photos"},
        "methods": {"sift": {}, "orb": {}},
    }
    for name, text in (("done", json.dumps(manifest)), ("broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
    (tmp_path / "done/rows").write_bytes(bytes(3_000_000))
    found = shown(capsys, "runs", f"results={tmp_path}")
    assert found["done"].split() == ["complete", "photos", "strict", "sift,", "orb", "3", "2026-01-02", "03:04"]
    assert found["broken"].startswith("unreadable")
    assert main(["runs", f"results={tmp_path}/none"]) == 0
    assert "no runs in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(["metods"], "did you mean methods"), (["methods", "x"], "allowed: bench list methods"), (["zzz"], "Allowed: ")],
)
def test_what_cannot_be_listed_is_refused(arguments: list[str], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        main(arguments)
