"""`bench list`: what there is, from the files and registries that define it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.commands.list import WHAT, main
from bench.core import presets
from bench.core.errors import ConfigError
from bench.core.files import LOCK, locked
from bench.metrics.columns import columns
from bench.run.manifest import COMPLETE, RUNNING
from tests.commands.runs import a_run


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


def test_the_cache_is_listed_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (
        "datasets/photos-0123456789ab",
        "ir/0123456789abcdef-f16-fedcba9876543210",
        "ir/.tmp-x",
        "other/thing",
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(bytes(2_000_000))
    assert main(["cache", f"cache={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}: 4.0 MB;" in said
    assert "rendered data set: 2.0 MB" in said and "OpenVINO model: 2.0 MB" in said
    assert "photos-0123456789ab" in said and "thing" not in said
    assert main(["cache", f"cache={tmp_path}/none"]) == 0
    assert "nothing in the cache" in capsys.readouterr().out


def test_runs_are_listed_whatever_state_they_are_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(tmp_path / "done", COMPLETE, 3_000_000)
    a_run(tmp_path / "multirun_x/seed-1", COMPLETE)
    a_run(tmp_path / "begun", RUNNING)
    a_run(tmp_path / "begun_and_alive", RUNNING)
    (a_run(tmp_path / "lost", COMPLETE) / "pairs.parquet").unlink()
    (a_run(tmp_path / "broken", COMPLETE) / "manifest.json").write_text("{")
    with locked(tmp_path / "begun_and_alive" / LOCK):
        found = shown(capsys, "runs", f"results={tmp_path}")
    assert found["done"].split() == ["finished", "photos", "strict", "sift,", "orb", "3.0", "2026-01-02", "03:04"]
    assert found["multirun_x/seed-1"].startswith("finished")
    assert found["begun"].startswith("unfinished")
    assert found["begun_and_alive"].startswith(f"running ({os.getpid()})")
    assert found["broken"].startswith("damaged") and found["lost"].startswith("damaged")
    assert main(["runs", f"results={tmp_path}/none"]) == 0
    assert "no runs in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["metods"], "did you mean methods"),
        (["methods", "x"], "allowed: bench list methods"),
        (["cache", "x"], r"list cache \[cache=FOLDER\]"),
        (["zzz"], "Allowed: "),
    ],
)
def test_what_cannot_be_listed_is_refused(arguments: list[str], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        main(arguments)
