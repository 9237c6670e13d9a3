"""What a run must not do: execute files of the working directory, contact anyone, write into the home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = [
    "dataset.viewpoint_sequences=1",
    "dataset.illumination_sequences=0",
    "dataset.height=240",
    "dataset.width=320",
    "protocol.image.short_side=240",
    "protocol.estimator.repeats=1",
    "bootstrap_draws=100",
    "threads=1",
    "methods.drop=[superpoint_ov_fp16,superpoint_mnn_fp32,sift]",
]
# Imported at the start of every Python process of the run, the interpreter's own site module finds it.
GUARD = """
import os, socket, sys

def forbid(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1", "localhost")):
            log(f"{event} {address}")
    elif event == "socket.getaddrinfo" and arguments[0] not in (None, "localhost", "127.0.0.1", "::1"):
        log(f"{event} {arguments[0]}")

def log(line):
    handle = os.open(os.environ["GUARD_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (line + "\\n").encode())
    os.close(handle)

log(f"process {os.getpid()}")
sys.addaudithook(forbid)
"""


def run(place: Path, *overrides: str, guard: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"BENCH_CACHE": str(place / "cache"), "HOME": str(place / "home")}
    # CI=true would switch OpenVINO's telemetry off, too.
    environment = {key: value for key, value in environment.items() if key != "CI" and not key.startswith("XDG_")}
    environment["PYTHONPATH"] = str(ROOT) if guard is None else f"{guard}{os.pathsep}{ROOT}"
    environment["GUARD_LOG"] = str(place / "guard.log")
    for name in ("home", "work"):
        (place / name).mkdir(exist_ok=True)
    script = place / "bench-script"  # what pip installs
    script.write_text("from bench.cli import main\nmain()\n")
    command = [sys.executable, str(script), *SMALL, *overrides]
    return subprocess.run(command, cwd=place / "work", env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_run_contacts_nobody_and_leaves_the_home_folder_alone(tmp_path: Path) -> None:
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD)
    done = run(tmp_path, "jobs=2", guard=guard)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "guard.log").read_text().splitlines()
    processes = [line for line in lines if line.startswith("process ")]
    # The command, three workers, export and conversion, and the evaluation: all were watched.
    assert len(processes) >= 6
    assert [line for line in lines if line not in processes] == []
    home = tmp_path / "home"
    written = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
    assert [path for path in written if path.parts[0] != ".cache"] == []


@pytest.mark.slow
def test_modules_beside_the_data_are_not_executed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    names = ["numpy", "cv2", "random", "openvino", "tensorflow", "multiprocessing", "pandas", "types", "encodings"]
    for name in names:
        (work / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write('{name}\\n')\n")
    done = run(tmp_path, "jobs=2")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists(), (tmp_path / "executed").read_text()
