"""How much a command says: results alone with -q, details with -v."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WORDS = ["methods=classical", "methods.drop=[rootsift,akaze,brisk,kaze,sift]", "dataset=photos_small", "latency=off"]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )


@pytest.mark.slow
def test_quiet_gives_results_alone_and_verbose_gives_details(tmp_path: Path) -> None:
    quiet = run(tmp_path, *WORDS, "-q", "run_dir=quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    lines = quiet.stdout.splitlines()
    assert any(line.split()[:1] == ["orb"] for line in lines)
    assert lines[-1] == f"report: {tmp_path / 'quiet/report.html'}"
    verbose = run(tmp_path, *WORDS, "--verbose", "run_dir=verbose")
    assert verbose.returncode == 0
    assert "bench.cli: run: composed and checked" in verbose.stderr
    assert "evaluate: 1/4" in verbose.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-q", "-v"], "not possible together"),
        (["--quite"], "did you mean --quiet?"),
        (["--completion", "tcsh"], "allowed: bash, zsh, fish"),
    ],
)
def test_options_that_do_not_go_are_refused(words: list[str], part: str, tmp_path: Path) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 4
    assert part in done.stderr
