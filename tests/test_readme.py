"""The README's examples do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.commands import COMMANDS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) >= 5
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_every_command_exists() -> None:
    used = set(re.findall(r"`bench ([a-z]+)(?= |`)", TEXT))
    assert used <= set(COMMANDS)
    assert {"parity", "check", "baseline", "train", "convert", "export", "sweep"} <= used


def test_the_method_and_the_data_set_take_under_20_lines() -> None:
    for code in [block for block in blocks("python") if "my_method" in block] + blocks("yaml"):
        lines = [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
        assert len(lines) <= 20


@pytest.mark.slow
def test_the_example_method_and_data_set_get_their_rows(tmp_path: Path) -> None:
    import cv2

    (method,) = (block for block in blocks("python") if "my_method" in block)
    yaml_method, yaml_data = blocks("yaml")
    (tmp_path / "my_method.py").write_text(method)
    for name, content in (("method/corners", yaml_method), ("dataset/mine", yaml_data)):
        path = tmp_path / f"my_conf/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("/data/mine", str(tmp_path)))
    image = np.kron(np.random.default_rng(0).integers(0, 255, (30, 40)), np.ones((8, 8))).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "b.png"), image)
    np.savetxt(tmp_path / "H.txt", np.eye(3))
    (tmp_path / "pairs.csv").write_text("image1,image2,H-file\na.png,b.png,H.txt\n")
    code = (
        "import bench; r = bench.benchmark(['methods=classical', '~methods.kaze', '~methods.akaze', '~methods.brisk', "
        "'~methods.rootsift', '+method@methods.corners=corners', 'dataset=mine', 'run_dir=run', "
        f"'hydra.searchpath=[file://{tmp_path}/my_conf]']); print(r.report)"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    rows = pd.read_parquet(tmp_path / "run/pairs.parquet").set_index("method")
    assert set(rows.index) == {"sift", "orb", "corners"}
    assert rows.loc["corners", "corner_error_px"] < 0.1
