"""Taking turns: nothing runs beside what is timed on one host.

Every run says that it is there by a file that it keeps locked, in a folder that all processes of the host see
(``/tmp/superpoint-bench``, or BENCH_TURNS where they do not share that: containers, jobs with a ``/tmp`` of their own).
The lock ends with the process, however it ends, so nothing stays behind and nobody guesses. A timed run wants to be
alone; runs without timing go side by side, but not beside a timed one.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.schema.options import WhenBusy

log = logging.getLogger(__name__)
FOLDER = "BENCH_TURNS"
"""Environment variable that names the folder of the locks."""
_GATE = "gate"
_LEAST_S = 0.05
"""Between two looks where the system would not let us wait for a lock."""


class BusyError(BenchError):
    """Another run is timed on this host, or would be disturbed by this one."""

    exit_code = 1


@dataclass(frozen=True)
class Presence:
    """A process that measures on this host.

    Attributes
    ----------
    pid : int
    timed : bool
        Whether its times are results.
    started : str
        ISO 8601, UTC.
    """

    pid: int
    timed: bool
    started: str

    def __str__(self) -> str:
        what = "times its methods" if self.timed else "computes"
        return f"process {self.pid}, which {what} since {self.started.replace('T', ' ').replace('+00:00', ' UTC')}"


@dataclass
class Turn:
    """The turn of one run.

    Attributes
    ----------
    timed : bool
    when_busy : str
    waited_s : float
        For others, before it began.
    beside : list of str
        Other runs that measured or computed at the same time. Those that came later are known after :meth:`record`.
    known : bool
        False where the host has no locks, or its folder for them cannot be used.
    """

    timed: bool
    when_busy: str
    waited_s: float = 0.0
    beside: list[str] = field(default_factory=list)
    known: bool = True
    _file: int | None = None

    def record(self) -> dict[str, Any]:
        """What the manifest keeps: ``alone`` (None: not known), ``waited_s``, ``beside``, ``when_busy``, ``timed``."""
        if self._file is not None:
            lines = os.pread(self._file, 1_000_000, 0).decode("utf-8", "replace").splitlines()[1:]
            self.beside += [line for line in lines if line and line not in self.beside]
        return {
            "timed": self.timed,
            "when_busy": str(self.when_busy),
            "alone": not self.beside if self.known else None,
            "waited_s": round(self.waited_s, 1),
            "beside": list(self.beside),
        }


def together(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run that was continued: alone if it was in every session."""
    if not earlier:
        return dict(now)
    alone = [each.get("alone") for each in (earlier, now)]
    return {
        **now,
        "alone": False if False in alone else None if None in alone else True,
        "waited_s": earlier.get("waited_s", 0.0) + now["waited_s"],
        "beside": list(dict.fromkeys([*earlier.get("beside", ()), *now["beside"]])),
    }


def folder() -> Path:
    """Where the locks of this host lie."""
    return Path(os.environ.get(FOLDER) or "/tmp/superpoint-bench")


@contextlib.contextmanager
def turn(timed: bool, when_busy: WhenBusy = WhenBusy.wait) -> Iterator[Turn]:
    """Be present on this host until the block ends.

    Parameters
    ----------
    timed : bool
        True: times are results, so nobody else may run; False: the run may go beside others that are not timed.
    when_busy : WhenBusy
        ``wait`` until the others have ended; ``mark``: go on, and both sides are marked as not alone; ``refuse``.

    Raises
    ------
    BusyError
        With the process that is in the way, for ``refuse``.
    """
    mine = Turn(timed, str(when_busy))
    try:
        import fcntl  # noqa: F401

        place = _place()
    except (ImportError, OSError) as error:
        log.warning("whether another run of bench is timed on this host is not known: %s", error)
        mine.known = False
        yield mine
        return
    path = _enter(place, mine, when_busy)
    try:
        yield mine
    finally:
        mine.record()
        with contextlib.suppress(OSError):
            path.unlink()
        if mine._file is not None:
            os.close(mine._file)
            mine._file = None


def present() -> list[Presence]:
    """Processes that measure on this host, the oldest first; empty where that cannot be known."""
    try:
        place = _place()
        with _gate(place):
            return sorted((who for _, who in _others(place)), key=lambda who: who.started)
    except (ImportError, OSError):
        return []


def _place() -> Path:
    """The folder, which every user of the host may write to; nobody's link is followed."""
    place = folder()
    with contextlib.suppress(FileExistsError):
        place.mkdir(parents=FOLDER in os.environ)
        place.chmod(0o1777)
    if not stat.S_ISDIR(place.lstat().st_mode):
        raise OSError(errno.ENOTDIR, f"{place} is no folder")
    return place


def _open(path: Path, create: bool) -> int:
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    if not create:
        try:
            return os.open(path, flags | os.O_APPEND)
        except PermissionError:  # of another user: a lock needs no right to write
            return os.open(path, (flags & ~os.O_RDWR) | os.O_RDONLY)
    handle = os.open(path, flags | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
    with contextlib.suppress(OSError):
        os.fchmod(handle, 0o666)  # whatever the umask: others look at it, and leave their mark
    return handle


@contextlib.contextmanager
def _gate(place: Path) -> Iterator[None]:
    """Only one process at a time looks who is there, and enters."""
    import fcntl

    while True:
        try:
            handle = _open(place / _GATE, create=False)
            break
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.close(_open(place / _GATE, create=True))
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _others(place: Path) -> Iterator[tuple[Path, Presence]]:
    """Files of living processes; those of dead ones are removed. The caller holds the gate."""
    import fcntl

    for path in sorted(place.glob("run-*")):
        try:
            handle = _open(path, create=False)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with contextlib.suppress(ValueError, TypeError, IndexError):
                first = os.pread(handle, 4096, 0).decode("utf-8", "replace").splitlines()[0]
                yield path, Presence(**json.loads(first))
        else:
            with contextlib.suppress(OSError):
                path.unlink()
        finally:
            os.close(handle)


def _enter(place: Path, mine: Turn, when_busy: WhenBusy) -> Path:
    begun, told = time.monotonic(), False
    while True:
        with _gate(place):
            ahead = [(path, who) for path, who in _others(place) if mine.timed or who.timed]
            if not ahead or when_busy == WhenBusy.mark:
                path = _announce(place, mine)
                for other, who in ahead:
                    mine.beside.append(str(who))
                    _leave_mark(other, mine)
                break
        names = " and ".join(str(who) for _, who in ahead)
        if when_busy == WhenBusy.refuse:
            raise BusyError(
                f"this host is busy with {names}; wait until it ends, or say what to do with latency.when_busy=wait or "
                "mark"
            )
        if not told:
            told = True
            log.info(
                "waiting for %s (latency.when_busy=wait; latency.when_busy=mark goes on and marks the times)", names
            )
        _wait_for(ahead[0][0])
    mine.waited_s = time.monotonic() - begun if told else 0.0
    return path


def _announce(place: Path, mine: Turn) -> Path:
    import fcntl

    number = 0
    while True:
        path = place / f"run-{os.getpid()}-{number}"
        try:
            mine._file = _open(path, create=True)
            break
        except FileExistsError:
            number += 1
    fcntl.flock(mine._file, fcntl.LOCK_EX)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    said = {"pid": os.getpid(), "timed": mine.timed, "started": now}
    os.write(mine._file, (json.dumps(said) + "\n").encode())
    return path


def _leave_mark(path: Path, mine: Turn) -> None:
    """Tell a run that is under way that it is not alone any more."""
    assert mine._file is not None
    first = os.pread(mine._file, 4096, 0).decode().splitlines()[0]
    try:
        handle = _open(path, create=False)
        try:
            os.write(handle, f"{Presence(**json.loads(first))}\n".encode())
        finally:
            os.close(handle)
    except OSError as error:
        log.warning("%s cannot be told that it is not alone: %s", path, error)


def _wait_for(path: Path) -> None:
    """Return when the process of a file has ended its turn."""
    import fcntl

    try:
        handle = _open(path, create=False)
    except OSError:
        time.sleep(_LEAST_S)
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)
