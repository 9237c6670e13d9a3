"""The composite action: its steps run here as GitHub's runner runs them, with bash and a file of outputs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.commands import baseline
from bench.config import compose
from tests.check.simulate import Change, World, write_run

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]
WORLD = World(sequences=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("action")
    write_run(path / "base", WORLD)
    write_run(path / "worse", WORLD, Change(metrics={"repeatability": -0.05}))
    config = compose([f"run={path / 'base'}", "name=main", f"baselines={path / 'baselines'}"], "baseline")
    assert baseline.main(config) == 0
    shim = path / "bin" / "bench"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/bash\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m bench "$@"\n')
    shim.chmod(0o755)
    return path


def step(name: str) -> dict[str, Any]:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    found: dict[str, Any] = next(step for step in action["runs"]["steps"] if step.get("name") == name)
    return found


def run_step(folder: Path, name: str, **inputs: str) -> tuple[int, dict[str, str]]:
    output = folder / "output"
    output.write_text("")
    environment = {
        **os.environ,
        **inputs,
        "RUNNER_TEMP": str(folder),
        "GITHUB_OUTPUT": str(output),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
    }
    script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(name)["run"]]
    done = subprocess.run(script, env=environment, cwd=folder, check=False, timeout=120)
    return done.returncode, dict(line.split("=", 1) for line in output.read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("candidate", "arguments", "code", "result"),
    [
        ("base", "latency.enabled=false draws=300", 0, "pass"),
        ("worse", "draws=300", 1, "regression"),
        ("worse", "draws=300 'metrics.repeatability.severity=note'", 0, "pass"),
        ("absent", "", 4, None),
    ],
)
def test_check_step(folder: Path, candidate: str, arguments: str, code: int, result: str | None) -> None:
    done, outputs = run_step(
        folder,
        "Compare with the baseline",
        CANDIDATE=str(folder / candidate),
        BASELINE="main",
        BASELINES="baselines",
        CHECK_ARGS=arguments,
        FAIL_ON_INCONCLUSIVE="true",
    )
    assert done == code
    assert outputs["exit-code"] == str(code)
    assert outputs.get("result") == result
    (folder / "check" / "check.json").unlink(missing_ok=True)


@pytest.mark.parametrize("arguments", ["title=it's dataset=photos_small", 'a=b methods.orb.label="un'])
@pytest.mark.parametrize("name", ["Run the benchmark", "Compare with the baseline"])
def test_a_quote_without_an_end_stops_the_step(folder: Path, name: str, arguments: str) -> None:
    done, outputs = run_step(
        folder,
        name,
        CANDIDATE=str(folder / "base"),
        BASELINE="main",
        BASELINES="baselines",
        ARGS=arguments,
        CHECK_ARGS=arguments,
        FAIL_ON_INCONCLUSIVE="true",
    )
    assert done == 4
    assert outputs == {}  # neither command was started


def test_what_others_serve_is_pinned_by_content() -> None:
    files = [ROOT / "action.yml", *(ROOT / ".github" / "workflows").glob("*.yml")]
    used = re.findall(r"uses: (\S+)", "\n".join(file.read_text() for file in files))
    assert [name for name in used if name != "./" and not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name)] == []
    assert re.findall(r"^FROM .*", (ROOT / "Dockerfile").read_text(), re.M)[0].partition("@sha256:")[2]


def test_every_input_that_a_step_reads_exists() -> None:
    text = (ROOT / "action.yml").read_text()
    action = yaml.safe_load(text)
    for name in action["inputs"]:
        assert f"inputs.{name}" in text
    assert text.count("${{ inputs.") == text.count("inputs.") - 1  # the condition of the run step needs no braces
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(workflow.read_text())["jobs"].values():
            for used in (item for item in job["steps"] if item.get("uses") == "./"):
                assert set(used["with"]) <= set(action["inputs"])


def test_the_image_copies_what_the_wheel_ships() -> None:
    copied = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    names = {part.removeprefix("./") for parts in copied for part in parts if not part.startswith("--")}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert names == kept
    assert {"bench", "conf", "datasets", "results/published", "pyproject.toml", "README.md", "LICENSE"} <= names
