"""Runs on one host take turns, by locks that end with their processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.schema.options import WhenBusy
from bench.timing import noise
from bench.timing.turns import FOLDER, BusyError, present, together, turn

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
HOLDER = """
import sys, time
from bench.timing.turns import turn
with turn(sys.argv[1] == "timed") as mine:
    print("in", flush=True)
    sys.stdin.readline()
    print(mine.record()["alone"], flush=True)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "turns"))
    return tmp_path / "turns"


class Holder:
    """A process that holds a turn until it is told to end."""

    def __init__(self, timed: bool) -> None:
        words = [sys.executable, "-c", HOLDER, "timed" if timed else "untimed"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "in\n"

    def end(self) -> str:
        said, _ = self.process.communicate("\n")
        return said.strip()


@pytest.fixture
def timed() -> Iterator[Holder]:
    holder = Holder(timed=True)
    yield holder
    holder.process.kill()
    holder.process.wait()


def test_a_run_alone_says_so(place: Path) -> None:
    with turn(True) as mine:
        assert [(who.pid, who.timed) for who in present()] == [(os.getpid(), True)]
        record = mine.record()
    assert record == {"timed": True, "when_busy": "wait", "alone": True, "waited_s": 0.0, "beside": []}
    assert present() == []
    assert [path.name for path in place.iterdir()] == ["gate"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o1777


def test_refuse_names_the_process_in_the_way(timed: Holder) -> None:
    with (
        pytest.raises(BusyError, match=rf"process {timed.process.pid}, which times its methods since .*wait or mark"),
        turn(True, WhenBusy.refuse),
    ):
        pass
    # A run without times would disturb it all the same.
    with pytest.raises(BusyError), turn(False, WhenBusy.refuse):
        pass


def test_mark_goes_on_and_both_sides_know(timed: Holder) -> None:
    with turn(True, WhenBusy.mark) as mine:
        record = mine.record()
    assert record["alone"] is False
    assert record["beside"][0].startswith(f"process {timed.process.pid}, which times its methods since")
    assert timed.end() == "False"


def test_wait_begins_when_the_other_ends(timed: Holder) -> None:
    code = (
        "import time\nfrom bench.timing.turns import turn\nwith turn(True) as mine:\n print(mine.record(), time.time())"
    )
    waiting = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    time.sleep(1.0)
    assert waiting.poll() is None
    ended = time.time()
    assert timed.end() == "True"
    said = waiting.communicate()[0]
    assert "'alone': True" in said and "'waited_s': 0.0" not in said
    assert float(said.split()[-1]) >= ended


def test_a_killed_run_is_in_nobodys_way(timed: Holder) -> None:
    timed.process.send_signal(signal.SIGKILL)
    timed.process.wait()
    with turn(True, WhenBusy.refuse) as mine:
        assert mine.record()["alone"] is True


def test_runs_without_times_go_side_by_side_and_a_timed_one_waits_for_them() -> None:
    others = [Holder(timed=False), Holder(timed=False)]
    with turn(False, WhenBusy.refuse) as mine:
        assert mine.record()["alone"] is True
    with pytest.raises(BusyError, match="which computes since"), turn(True, WhenBusy.refuse):
        pass
    assert [other.end() for other in others] == ["True", "True"]


def test_of_many_processes_at_once_one_is_timed_at_a_time(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from bench.timing.turns import turn
        with turn(True) as mine:
            here = Path(sys.argv[1]) / "inside"
            handle = os.open(here, os.O_CREAT | os.O_EXCL)
            time.sleep(0.05)
            os.close(handle)
            here.unlink()
            assert mine.record()["alone"] is True
        """
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv(FOLDER, str(tmp_path / "link"))
    with turn(True) as mine:
        assert mine.record()["alone"] is None
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_continued_run_was_alone_if_it_was_in_every_session() -> None:
    alone = {"timed": True, "when_busy": "wait", "alone": True, "waited_s": 1.0, "beside": []}
    not_alone = alone | {"alone": False, "beside": ["process 7"]}
    assert together({}, alone) == alone
    assert together(alone, alone)["alone"] is True
    assert together(alone, alone | {"alone": None})["alone"] is None
    assert together(not_alone, alone) == alone | {"alone": False, "waited_s": 2.0, "beside": ["process 7"]}


def test_times_beside_another_run_are_noise() -> None:
    import pandas as pd

    blocks = pd.DataFrame({"calibration_ms": [1.0] * 20, "taken": [0.0] * 20})
    record = {"timed": True, "alone": False, "beside": ["process 7, which times its methods since today"]}
    said = noise.verdict(blocks, None, record)
    assert said["noisy"] is True and said["alone"] is False
    assert "process 7" in str(said["reasons"])
    assert noise.verdict(blocks, None, {"timed": True, "alone": True, "beside": []})["noisy"] is False
    assert noise.verdict(blocks, None, record | {"timed": False})["noisy"] is False
