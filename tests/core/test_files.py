"""Writes that are whole or not at all: kills at every step, full disks, leftovers, locks, checksums."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core import checksums, files
from bench.core.errors import DiskFullError, StoreError
from bench.core.files import (
    is_leftover,
    locked,
    new_directory,
    read_bytes,
    read_json,
    read_npz,
    recover_folder,
    seal,
    staged_file,
    staged_folder,
    start_checksums,
    sweep,
    verify_files,
    write_atomic,
    write_json,
    write_together,
)

ROOT = Path(__file__).parents[2]


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"disk is full while writing .*a\.json; free some space"):
        write_atomic(path, b"new")
    assert read_json(path) == {"old": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_a_failure_and_an_unwritable_folder_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="choose another folder") as caught:
        write_atomic(tmp_path / "file/a", b"")
    assert (caught.value.exit_code, DiskFullError("").exit_code) == (4, 1)


def kill_at(step: int, work: str) -> None:
    """Run `work` in a process that is killed before the `step`-th system call that changes a folder or syncs."""
    script = f"""
    import os, signal, sys
    from pathlib import Path
    from bench.core import files
    from bench.core.files import *
    left = {step}
    def counted(function):
        def call(*arguments, **named):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)
        return call
    for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    files._exchange = counted(files._exchange)
    {work}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=False)


REPLACE = """
    with files.staged_folder(Path({target!r}), replace=True) as folder:
        files.write_atomic(folder / "a", b"new")
        files.write_atomic(folder / "b", b"new")
"""


@pytest.mark.slow
@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_the_old_or_the_new_one_wherever_its_replacement_is_killed(tmp_path: Path, exchange: bool) -> None:
    target = tmp_path / "target"
    work = REPLACE.format(target=str(target)).strip()
    work = textwrap.indent(textwrap.dedent("    " + work), "    ").strip()
    if not exchange:
        work = "files._exchange = lambda a, b: False\n    " + work
    seen = set()
    for step in range(1, 30):
        with staged_folder(target, replace=True) as folder:
            write_atomic(folder / "a", b"old")
            write_atomic(folder / "b", b"old")
        kill_at(step, work)
        if exchange:
            assert target.is_dir(), f"step {step}: neither old nor new"
        recover_folder(target)
        contents = {path.name: path.read_bytes() for path in target.iterdir()}
        assert set(contents) == {"a", "b"} and len(set(contents.values())) == 1, f"step {step}: {contents}"
        assert [path.name for path in tmp_path.iterdir()] == ["target"], f"step {step}: leftovers"
        seen.add(contents["a"])
        if contents["a"] == b"new" and step > 20:
            break
    assert seen == {b"old", b"new"}


def test_several_files_are_what_each_would_be_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    start_checksums(tmp_path / "run")
    contents = {tmp_path / f"run/{folder}/{name}": f"{folder}{name}".encode() for folder in "xy" for name in "abc"}
    write_together(contents)
    assert {path: read_bytes(path) for path in contents} == contents
    assert verify_files(tmp_path / "run") == ([], [])
    assert {path.stat().st_mode & 0o777 for path in contents} == {0o644}
    write_together({next(iter(contents)): b"again"})
    assert read_bytes(next(iter(contents))) == b"again"


def test_a_full_disk_leaves_none_of_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="disk is full"):
        write_together({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_each_of_several_files_is_whole_and_listed_wherever_a_kill_comes(tmp_path: Path) -> None:
    seen = set()
    for step in range(1, 20):
        run = tmp_path / str(step)
        run.mkdir()
        start_checksums(run)
        kill_at(step, f"write_together({{Path({str(run)!r}) / f'{{n}}/f': str(n).encode() for n in range(3)}})")
        sweep(run)
        there = sorted(run.glob("*/f"))
        assert {path.parent.name: read_bytes(path).decode() for path in there} == {
            p.parent.name: p.parent.name for p in there
        }
        assert verify_files(run)[1] == []
        seen.add(len(there))
    assert seen == {0, 1, 2, 3}


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with staged_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(DiskFullError, match="target"), staged_folder(target, replace=True) as folder:
        (folder / "a").write_text("new")
        full()
    with pytest.raises(StoreError, match="exists"), staged_folder(target) as folder:
        (folder / "a").write_text("new")
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_the_temporary_files_of_living_writers_are_not_swept(tmp_path: Path) -> None:
    dead = tmp_path / "sub/.a.tmp-0123abcd"
    dead.parent.mkdir()
    dead.write_text("half")
    (tmp_path / ".b.tmp-0123abcd").mkdir()
    (tmp_path / ".b.tmp-0123abcd/file").touch()
    with staged_file(tmp_path / "sub/a") as living, staged_folder(tmp_path / "b") as folder:
        living.write_text("whole")
        sweep(tmp_path)
        assert living.exists() and folder.exists()
        assert not dead.exists() and not (tmp_path / ".b.tmp-0123abcd").exists()
    assert (tmp_path / "sub/a").read_text() == "whole" and (tmp_path / "b").is_dir()


def test_leftovers_of_a_first_write() -> None:
    names = [".manifest.json.tmp-abc", ".manifest.json.abc123", checksums.LEDGER, files.LOCK]
    assert all(is_leftover(Path(name)) for name in names)
    assert not any(is_leftover(Path(name)) for name in (".git", "manifest.json", "notes.txt"))


def _hold(path: str, ready: str) -> None:
    import time

    with locked(Path(path)):
        Path(ready).touch()
        time.sleep(60)


@pytest.mark.slow
def test_a_lock_names_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    lock = tmp_path / files.LOCK
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(lock), str(tmp_path / "ready")))
    holder.start()
    while not (tmp_path / "ready").exists():
        pass
    with pytest.raises(StoreError, match=f"in use by process {holder.pid};"), locked(lock):
        pass
    holder.kill()
    holder.join()
    with locked(lock):
        assert lock.read_text() == str(os.getpid())
    assert not lock.exists()


def _new(parent: str) -> str:
    return str(new_directory(Path(parent)))


@pytest.mark.slow
def test_no_two_processes_get_the_same_new_directory(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        made = pool.map(_new, [str(tmp_path)] * 12, chunksize=1)
    assert len(set(made)) == 12 and all(Path(path).is_dir() for path in made)


def listed(tmp_path: Path) -> Path:
    start_checksums(tmp_path)
    write_atomic(tmp_path / "sub/a b", b"one")
    write_json(tmp_path / "c.json", {"x": 1})
    return tmp_path


def test_the_list_is_what_sha256sum_reads(tmp_path: Path) -> None:
    listed(tmp_path)
    write_atomic(tmp_path / "odd\nname\\", b"two")
    subprocess.run(["sha256sum", "--check", "--strict", checksums.LEDGER], cwd=tmp_path, check=True)
    assert verify_files(tmp_path) == ([], [])


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"0ne"), lambda path: path.write_bytes(b"")])
def test_a_changed_file_is_not_read(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = listed(tmp_path) / "sub/a b"
    assert read_bytes(path) == b"one"
    change(path)
    with pytest.raises(StoreError, match="a b is damaged or was changed"):
        read_bytes(path)
    assert verify_files(tmp_path)[0] == ["sub/a b is damaged or was changed since it was written"]
    path.unlink()
    assert verify_files(tmp_path)[0] == ["sub/a b is missing"]


def test_a_strange_file_is_not_read(tmp_path: Path) -> None:
    (listed(tmp_path) / "strange").write_text("x")
    with pytest.raises(StoreError, match="strange is not listed"):
        read_bytes(tmp_path / "strange")
    assert verify_files(tmp_path) == ([], ["strange"])


@pytest.mark.slow
def test_every_flipped_bit_of_the_list_is_noticed(tmp_path: Path) -> None:
    ledger = listed(tmp_path) / checksums.LEDGER
    whole = ledger.read_bytes()
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        ledger.write_bytes(data)
        try:
            wrong, unlisted = verify_files(tmp_path)
        except StoreError:
            continue
        assert wrong or unlisted, f"bit {bit}"


def test_a_torn_line_is_replaced_and_a_second_writer_is_seen(tmp_path: Path) -> None:
    ledger = listed(tmp_path) / checksums.LEDGER
    with ledger.open("ab") as file:
        file.write(b"0123abc")  # killed in the middle of an entry
    write_atomic(tmp_path / "d", b"three")
    assert verify_files(tmp_path) == ([], [])
    script = f"from bench.core.files import *; write_atomic(Path({str(tmp_path / 'e')!r}), b'four')"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    write_atomic(tmp_path / "f", b"five")
    assert (read_bytes(tmp_path / "e"), read_bytes(tmp_path / "f")) == (b"four", b"five")


def test_both_versions_of_a_file_are_right_until_the_list_is_sealed(tmp_path: Path) -> None:
    path = listed(tmp_path) / "c.json"
    old = path.read_bytes()
    write_json(path, {"x": 2})
    new = path.read_bytes()
    path.write_bytes(old)  # killed between the entry and the rename
    assert read_json(path) == {"x": 1}
    path.write_bytes(new)
    seal(tmp_path)
    path.write_bytes(old)
    with pytest.raises(StoreError, match="damaged"):
        read_json(path)


def test_sealing_keeps_damage_visible_and_takes_logs_as_they_are(tmp_path: Path) -> None:
    path = listed(tmp_path) / "sub/a b"
    write_atomic(path, b"uno")
    path.write_bytes(b"bad")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/m.log").write_text("log")
    (tmp_path / "c.json").unlink()
    seal(tmp_path, refresh="logs")
    assert verify_files(tmp_path) == (["sub/a b is damaged or was changed since it was written"], [])


def test_damaged_arrays_end_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(5))
    whole = path.read_bytes()
    np.testing.assert_array_equal(read_npz(path)["x"], np.arange(5))
    for bit in range(0, 8 * len(whole), 7):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            read_npz(path)
        except StoreError as error:
            assert "a.npz" in str(error)
