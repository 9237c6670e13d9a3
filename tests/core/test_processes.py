"""Processes of our own: results, deaths, the working directory, and an end with the parent."""

from __future__ import annotations

import atexit
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.core.errors import StoreError, WorkerError
from bench.core.processes import Child, allocation, call_in_child, map_in_children


def double(value: int) -> int:
    return 2 * value


def refuse(value: int) -> int:
    if value == 3:
        raise StoreError("three is refused")
    return value


def die_at_three(value: int) -> int:
    if value == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def stop_at_three(value: int) -> int:
    if value == 3:
        os.kill(os.getpid(), signal.SIGSTOP)
    return value


def faults_of_arrays(rounds: int) -> int:
    """Page faults of `rounds` times eight arrays of 1 MB at once, after a first round."""
    before = 0
    for number in range(rounds + 1):
        arrays = [np.ones(1 << 17) for _ in range(8)]
        del arrays
        if number == 0:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    """Every process that a test starts has ended when it ends."""
    before = psutil.Process().children(recursive=True)
    yield
    assert set(psutil.Process().children(recursive=True)) <= set(before)


def test_a_task_for_every_key(tmp_path: Path) -> None:
    found = dict(map_in_children(double, {f"k{n}": n for n in range(7)}, 3, "a process", tmp_path / "log"))
    assert found == {f"k{n}": 2 * n for n in range(7)}


def test_an_error_of_a_task_keeps_its_kind(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="^three is refused$"):
        list(map_in_children(refuse, dict.fromkeys(range(9), 3), 2, "a process", tmp_path / "log"))


def test_a_killed_process_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="a process was killed by SIGKILL during die_at_three.*memory"):
        list(map_in_children(die_at_three, {n: n for n in range(9)}, 2, "a process", tmp_path / "log"))


def test_a_silent_process_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="did not answer stop_at_three within 2 s"):
        list(map_in_children(stop_at_three, {n: n for n in range(9)}, 2, "a process", tmp_path / "log", 2.0))


def test_a_function_in_a_process_of_its_own(tmp_path: Path) -> None:
    assert call_in_child("os:getppid") == os.getpid()
    with pytest.raises(WorkerError, match="FileNotFoundError.*nowhere"):
        call_in_child("os:listdir", str(tmp_path / "nowhere"))


def left_behind(path: str) -> None:
    """Register what is to run at the end, and an object whose end would take a minute."""
    global held
    atexit.register(Path(path).write_text, "left")
    print("a last word", end="")
    held = Slow()


class Slow:
    def __del__(self) -> None:
        time.sleep(60)


def test_a_child_leaves_without_taking_its_objects_down(tmp_path: Path) -> None:
    child = Child("a process", tmp_path / "log")
    child.spawn()
    child.function(f"{__name__}:left_behind", str(tmp_path / "end"))
    start = time.monotonic()
    child.close(patience_s=30)
    assert time.monotonic() - start < 25
    assert (tmp_path / "end").read_text() == "left"
    assert (tmp_path / "log").read_text() == "a last word"


def test_files_of_the_working_directory_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "pickle", "random", "numpy", "socket", "signal"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nraise ImportError\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as in an interactive session
    assert call_in_child("numpy:dtype", "float32").itemsize == 4
    assert 0 <= call_in_child("random:random") < 1
    assert not (tmp_path / "executed").exists()


def test_the_module_command_forgets_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("open('executed', 'w')\n")
    (tmp_path / "hydra.py").write_text("open('executed', 'w')\n")
    command = [sys.executable, "-m", "bench", "--cfg", "job"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()
    # Whoever names the folder on PYTHONPATH wants its modules.
    subprocess.run(command, cwd=tmp_path, capture_output=True, env=os.environ | {"PYTHONPATH": "."})
    assert (tmp_path / "executed").exists()


PARENT = """
import sys, time
from pathlib import Path
from bench.core.processes import Child
child = Child("a process", Path(sys.argv[1]) / "log")
child.spawn()
child.function("os:getpid")
print(child.pid(), flush=True)
child.ask("function", sys.argv[2], *map(eval, sys.argv[3:]))
time.sleep(60)
"""


@pytest.mark.parametrize(
    "call",
    [
        ("time:sleep", "60"),
        ("bench.core.processes:call_in_child", "'time:sleep'", "60"),
        ("operator:pow", "3", "10**9"),  # holds the interpreter lock: no thread of the child could watch anything
    ],
)
def test_no_child_outlives_a_killed_parent(tmp_path: Path, call: tuple[str, ...]) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), *call], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    family, wanted = [child], 2 if "call_in_child" in call[0] else 1
    for _ in range(100):
        time.sleep(0.1)  # for the call to reach the child
        if len(family := [child, *child.children(recursive=True)]) == wanted:
            break
    time.sleep(0.3)  # for it to be in the middle of it
    assert len(family) == wanted
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    for process in alive:
        process.kill()
    assert not alive


def test_a_child_whose_parent_is_gone_does_not_start(tmp_path: Path) -> None:
    """As after a kill between the start of a child and its request to end with its parent."""
    code = "from bench.core.processes import end_with; end_with(1); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""


def test_a_child_that_is_not_running_says_so(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="a process is not running"):
        Child("a process", tmp_path / "log").function("os:getpid")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variables are glibc's")
def test_a_child_keeps_freed_memory_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = 8 * (1 << 20) // resource.getpagesize()
    assert call_in_child(f"{__name__}:faults_of_arrays", 10) < pages
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    assert allocation()["MALLOC_TRIM_THRESHOLD_"] == "0"
    assert call_in_child(f"{__name__}:faults_of_arrays", 10) >= 10 * (pages // 2)


def test_a_child_that_is_hung_up_ends_by_itself(tmp_path: Path) -> None:
    child = Child("a process", tmp_path / "log")
    child.hang_up()  # before it began: nothing
    child.spawn()
    pid = child.function("os:getpid", timeout_s=60)
    child.hang_up()
    process = psutil.Process(pid)
    deadline = time.monotonic() + 60
    while process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.status() == psutil.STATUS_ZOMBIE
    child.close()
    assert child.pid() is None and not psutil.pid_exists(pid)
