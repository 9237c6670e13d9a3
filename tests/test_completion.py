"""Completion: what the shells are offered, and that it needs nothing heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import completion
from bench.core import presets

MODULES = {"hydra", "numpy", "pandas", "cv2", "rich"}


@pytest.mark.parametrize(
    ("before", "word", "expected"),
    [
        ([], "ch", ["check"]),
        ([], "dataset=rot", ["dataset=rotation_scale"]),
        (["check"], "on_i", ["on_inconclusive="]),
        (["check"], "on_inconclusive=f", ["on_inconclusive=fail"]),
        (["list"], "me", ["methods", "metrics"]),
        (["list", "methods"], "", []),
        ([], "methods.add=aka", ["methods.add=akaze"]),
        ([], "methods.add=[orb,kaz", ["methods.add=[orb,kaze"]),
        ([], "+method@methods.mine=kaz", ["+method@methods.mine=kaze"]),
        ([], "allow_mixed=t", ["allow_mixed=true"]),
        ([], "--ver", ["--version", "--verbose"]),
        ([], "nothing_like_it", []),
    ],
)
def test_what_can_follow(before: list[str], word: str, expected: list[str]) -> None:
    assert completion.candidates(before, word) == expected


def test_an_empty_line_offers_commands_groups_and_keys() -> None:
    found = completion.candidates([], "")
    assert {"check", "list", "dataset=", "methods.add=", "seed=", "timeouts.load_s="} <= set(found)
    assert not set(completion.candidates(["report"], "")) & {"check", "dataset="}


def test_files_and_folders_are_offered_where_a_key_takes_one(tmp_path: Path) -> None:
    (tmp_path / "run1").mkdir()
    (tmp_path / "notes").write_text("")
    found = completion.candidates(["report"], f"run_dir={tmp_path}/")
    assert found == [f"run_dir={tmp_path}/notes", f"run_dir={tmp_path}/run1/"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_code(shell: str) -> None:
    code = f"import sys; sys.argv = ['bench', '--completion', '{shell}']\nfrom bench.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "_ARGCOMPLETE" in done.stdout
    assert "bench" in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_is_answered_without_anything_heavy(tmp_path: Path) -> None:
    program = tmp_path / "bench"
    loaded = tmp_path / "loaded"
    program.write_text(
        f"#!{sys.executable}\nimport atexit, os, sys\nleave = os._exit\n"
        f"def note(code):\n    open({str(loaded)!r}, 'w').write(' '.join(sys.modules))\n    leave(code)\n"
        f"os._exit = note\nsys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from bench.cli import main\nmain()\n"
    )
    program.chmod(0o755)
    line = "bench protocol=gluef"
    script = (
        f'eval "$({sys.executable} {program} --completion bash)"\n'
        f'COMP_WORDS=({line.replace("=", " = ")}); COMP_CWORD=3; COMP_LINE="{line}"; COMP_POINT={len(line)}\n'
        '_python_argcomplete bench; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment)
    names = [name for name in presets.names("protocol") if name.startswith("gluef")]
    assert [word.strip().removeprefix("protocol=") for word in done.stdout.split()] == names
    assert not MODULES & set(loaded.read_text().split())
