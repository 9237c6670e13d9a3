"""A full disk of the model cache is one sentence, whichever library met it and in whatever words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from bench.core.errors import BenchError
from bench.core.types import Context
from bench.features.base import create
from bench.config import compose
cache = Path(sys.argv[1])
try:
    create("x", compose([f"cache={cache}"]).methods["superpoint_ov_fp32"], Context(1, cache, cache))
except BenchError as error:
    print(type(error).__name__, error)
print(sorted(path.name for path in cache.rglob("*") if path.is_file()))
"""


def may_mount() -> bool:
    """Whether this user can mount a small disk of its own."""
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "-rm", "true"]).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="this user may not mount a small disk")
@pytest.mark.parametrize(
    ("options", "where"),
    [
        ("size=1m", "savedmodels"),  # TensorFlow's variables
        ("size=5m", "savedmodels"),  # its graph
        ("nr_inodes=5", "savedmodels"),
        ("size=7m", "ir"),  # OpenVINO's weights: "basic_ios::clear: iostream error"
        ("nr_inodes=9", "ir"),
    ],
)
def test_a_full_cache_is_one_sentence(tmp_path: Path, options: str, where: str) -> None:
    disk = tmp_path / "cache"
    disk.mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    mounted = f"mount -t tmpfs -o {options} tmpfs {disk} && exec {sys.executable} {tmp_path / 'script.py'} {disk}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    error, left = done.stdout.splitlines()
    assert error == (
        f"DiskFullError the disk is full while writing the model cache {disk / where}; free some space and repeat the "
        "command, or choose another folder with cache=DIR"
    )
    assert ".tmp-" not in left
