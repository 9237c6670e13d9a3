"""Signals that end a command, and where what it measured can be continued."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_received: int | None = None
_directory: Path | None = None


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end."""


def watch() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into :class:`Interrupted`; a second one ends the process at once.

    A signal that is ignored (``nohup``, a job in the background) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    global _received
    if _received is not None:
        os._exit(128 + number)
    _received = number
    raise Interrupted


def received() -> int | None:
    """The signal that asked the command to end, whatever exception a library made of it."""
    return _received


def ignore() -> None:
    """Nothing is left to do but to leave: a signal no longer raises."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def resumable(directory: Path | None) -> None:
    """Remember the run directory that a repeated command can continue; None: there is none."""
    global _directory
    _directory = directory


def run_directory() -> Path | None:
    """The run directory the command works in; None before it has one."""
    return _directory


def reader_is_gone() -> bool:
    """Whether the other end of standard output or error is closed (``bench | head``, a closed terminal)."""
    import select

    for stream in (sys.stdout, sys.stderr):
        try:
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLERR | select.POLLHUP)
            if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
                return True
        except (OSError, ValueError, AttributeError):
            continue
    return False


def silence() -> None:
    """Send what is still printed nowhere: its reader is gone, and a flush at exit would fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(null, stream.fileno())
        except (OSError, ValueError, AttributeError):
            continue
