"""A missing system library of OpenCV ends in one line with both remedies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from bench.core.opencv import import_cv2
from bench.core.errors import BenchError
try:
    import_cv2()
except BenchError as error:
    print(error)
else:
    print("imported")
"""


def run_with(cv2_source: str, tmp_path: Path) -> str:
    """What import_cv2 says in a process whose cv2 is `cv2_source`."""
    (tmp_path / "cv2.py").write_text(cv2_source)
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(folder=str(tmp_path))], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_the_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    result = subprocess.run(
        [sys.executable, "-m", "bench", f"run_dir={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert result.returncode == 4
    assert result.stderr.startswith("bench: OpenCV cannot be loaded because a system library is missing (libGL.so.1")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_missing_libgl_names_both_remedies(tmp_path: Path) -> None:
    library = "libGL.so.1: cannot open shared object file: No such file or directory"
    said = run_with(f"raise ImportError({library!r})", tmp_path)
    assert "\n" not in said
    for part in (library, "apt-get install libgl1", "pip install opencv-contrib-python-headless"):
        assert part in said


@pytest.mark.parametrize("reason", ["numpy.core.multiarray failed to import", "No module named 'cv2'"])
def test_other_reasons_are_told_as_they_are(reason: str, tmp_path: Path) -> None:
    said = run_with(f"raise ImportError({reason!r})", tmp_path)
    assert reason in said
    assert "libgl1" not in said


def test_a_working_opencv_is_returned(tmp_path: Path) -> None:
    assert run_with("__version__ = '5'", tmp_path) == "imported"
