"""Python processes of our own, each answering calls over a socket pair.

A child runs the very package this process runs and has its ``sys.path``; the working directory is not on it unless the
user put it there, and telemetry of the libraries it loads is off (see `bench.core.telemetry`). Freed memory stays with
it (see `allocation`). It ends with its parent, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import importlib.util
import json
import math
import os
import pickle
import platform
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from bench.core import errors
from bench.core.errors import BenchError, WorkerError

Key = TypeVar("Key")
Task = TypeVar("Task")
Result = TypeVar("Result")

_LOG_TAIL_LINES = 8
_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1
# glibc gives large arrays back to the system as they are freed and clears fresh pages for the next ones: up to a third
# of the time of SIFT and AKAZE, by what a process allocated before. Both thresholds only count when they are set before
# a process starts.
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}
# `-c` and not `-m`: the package is loaded from where this process has it, even where that place is not on sys.path.
_BOOT = """
import json, sys
from importlib import util
facts = json.loads(sys.argv[1])
sys.path[:] = facts["path"]
spec = util.spec_from_file_location("bench", facts["package"])
sys.modules["bench"] = module = util.module_from_spec(spec)
spec.loader.exec_module(module)
from bench.core.processes import main
main(facts["parent"], facts["socket"])
"""


class Channel:
    """Pickled messages over a stream socket. A time limit holds for a whole message, not for its first byte."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, message: object, timeout_s: float | None = None) -> None:
        """Send one message.

        Raises
        ------
        TimeoutError
            If the other end did not take all of it in time.
        ConnectionError
            If the other end is closed.
        """
        self.send_pickled(_pickled(message), timeout_s)

    def send_pickled(self, data: bytes, timeout_s: float | None = None) -> None:
        self._socket.settimeout(timeout_s)
        self._socket.sendall(_LENGTH.pack(len(data)))
        self._socket.sendall(data)

    def receive(self, deadline: float | None = None) -> Any:
        """Wait for one message until `deadline`, a time of ``time.monotonic``.

        Raises
        ------
        TimeoutError
            If it has not arrived whole in time.
        EOFError, ConnectionError
            If the other end closed before or within it.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline))
        return pickle.loads(self._read(length, deadline))

    def _read(self, length: int, deadline: float | None) -> bytearray:
        data = bytearray(length)
        rest = memoryview(data)
        while rest:
            # 0 would mean "do not wait" and raise BlockingIOError.
            self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-3))
            count = self._socket.recv_into(rest)
            if count == 0:
                raise EOFError
            rest = rest[count:]
        return data

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


def allocation() -> dict[str, str]:
    """Variables that tell the C library of every child which freed memory to keep; empty where it is not glibc.

    Blocks below 32 MiB come from the heap, and up to 512 MiB of it stay with the process. Values that the user has set
    in the environment hold instead. Times depend on them, what is computed does not.
    """
    if platform.libc_ver()[0] != "glibc":
        return {}
    return {name: os.environ.get(name, value) for name, value in _ALLOCATION.items()}


class Child:
    """A Python process that calls functions and holds one object, one call at a time.

    Parameters
    ----------
    title : str
        For messages: ``its worker process``, ``the conversion``.
    log : Path
        The child's stdout and stderr are appended here.
    prefix : str
        Before every error's text, for example ``method orb: ``.
    environment : mapping
        Variables set in the child in addition to this process's.

    Raises
    ------
    WorkerError
        From every call, if the process dies or does not answer in time; it is then stopped and can be started again.
    """

    def __init__(self, title: str, log: Path, prefix: str = "", environment: Mapping[str, str] | None = None) -> None:
        self._title = title
        self._log_path = log
        self._prefix = prefix
        # Keras writes a file of defaults into the home folder, and one that is there could change what is computed.
        self._environment = {
            "KERAS_HOME": os.environ.get("KERAS_HOME", os.devnull),
            "PYTHONSAFEPATH": "1",  # for what the child starts itself
            **allocation(),
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._request = ""
        self._timeout_s: float | None = None
        self._deadline: float | None = None

    def spawn(self) -> None:
        """Start the process; it holds no object yet."""
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        facts = {
            "path": [entry for entry in sys.path if entry],
            "package": str(Path(__file__).parents[1] / "__init__.py"),
            "parent": os.getpid(),
            "socket": theirs.fileno(),
        }
        with self._log_path.open("ab") as log, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, json.dumps(facts), self._prefix or self._title],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment,
            )
        self._channel = Channel(ours)

    def create(self, function: str, *arguments: object, timeout_s: float | None = None) -> None:
        """Call ``module:function`` in the child and keep its result there, as the object of :meth:`method`."""
        self.ask("create", function, *arguments, timeout_s=timeout_s)
        self.answer()

    def function(self, function: str, *arguments: object, timeout_s: float | None = None) -> Any:
        """Call ``module:function`` in the child and return its result."""
        self.ask("function", function, *arguments, timeout_s=timeout_s)
        return self.answer()

    def method(self, name: str, *arguments: object, timeout_s: float | None = None) -> Any:
        """Call a method of the child's object and return its result.

        Raises
        ------
        BenchError
            The same class and message as raised in the child.
        WorkerError
            If the child raised anything else, or the object has no such method.
        """
        self.ask("method", name, *arguments, timeout_s=timeout_s)
        return self.answer()

    def ask(self, kind: str, name: str, *arguments: object, timeout_s: float | None = None) -> None:
        """Send a request; :meth:`answer` must follow."""
        if self._process is None:
            raise WorkerError(f"{self._prefix}{self._title} is not running")
        self._request, self._timeout_s = name.rpartition(":")[2], timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._watched():
            self._channel.send((kind, name, arguments), timeout_s)

    def answer(self) -> Any:
        """Wait for the result of the last request."""
        with self._watched():
            status, *reply = self._channel.receive(self._deadline)
        if status == "ok":
            return reply[0]
        kind, text = reply
        error_type = getattr(errors, kind, None)
        if isinstance(error_type, type) and issubclass(error_type, BenchError):
            raise error_type(f"{self._prefix}{text}")
        raise WorkerError(self._describe(f"{self._request} raised {kind}: {text}", "in"))

    def fileno(self) -> int:
        """Becomes readable when an answer arrives or the process dies."""
        return self._channel.fileno()

    def remaining_s(self) -> float:
        """Time left for the last request."""
        return math.inf if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def pid(self) -> int | None:
        """Process id while the process runs."""
        return self._process.pid if self._process else None

    def hang_up(self) -> None:
        """Let the process end by itself; :meth:`close` waits for it."""
        if self._process is not None:
            self._channel.close()

    def close(self, patience_s: float = 5.0) -> None:
        """End the process; safe to call twice.

        Parameters
        ----------
        patience_s : float
            Time it has to end by itself.
        """
        process, self._process = self._process, None
        if process is None:
            return
        self._channel.close()
        try:
            process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Turn a death or a silence into a WorkerError, whenever it comes; the process is then gone."""
        try:
            yield
        except TimeoutError as error:
            self.close(patience_s=0)
            what = f"did not answer {self._request} within {self._timeout_s:.0f} s and was stopped"
            raise WorkerError(self._describe(what)) from error
        except (EOFError, ConnectionError) as error:
            process = self._process
            assert process is not None
            try:
                code = process.wait(timeout=5)
            except subprocess.TimeoutExpired:  # it closed its end and lives on
                process.kill()
                code = process.wait()
            cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            hint = "; SIGKILL often means that the machine ran out of memory" if code == -signal.SIGKILL else ""
            self.close()
            raise WorkerError(self._describe(f"{cause} during {self._request}{hint}")) from error
        except BaseException:
            # Interrupted in the middle of a message: nothing that follows could be understood.
            self.close(patience_s=0)
            raise

    def _describe(self, what: str, joint: str = "") -> str:
        lines = self._log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        tail = "".join(f"\n    {line}" for line in lines)
        subject = f"{joint} {self._title}: {what}" if joint else f"{self._title} {what}"
        return f"{self._prefix}{subject}; log: {self._log_path}{tail}"


def call_in_child(function: str, *arguments: object, title: str = "a process", timeout_s: float | None = None) -> Any:
    """Call ``module:function`` in a process of its own and return its result.

    Raises
    ------
    BenchError
        As raised by the function.
    WorkerError
        If it raised anything else, or its process died.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        child = Child(title, Path(scratch) / "log", environment={"TF_CPP_MIN_LOG_LEVEL": "3"})
        child.spawn()
        try:
            return child.function(function, *arguments, timeout_s=timeout_s)
        finally:
            child.close(patience_s=0)


def map_in_children(
    function: Callable[[Task], Result],
    tasks: Mapping[Key, Task],
    jobs: int,
    title: str,
    log: Path,
    timeout_s: float | None = None,
) -> Iterator[tuple[Key, Result]]:
    """Apply a function of a module to every task in `jobs` processes; results come as they are finished.

    Parameters
    ----------
    function : callable
        At the top level of an importable module.
    tasks : mapping
        Key -> argument; both it and the result are pickled.

    Raises
    ------
    BenchError
        As raised by the function.
    WorkerError
        If a process dies or does not answer in time. No further result comes.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    waiting = iter(tasks.items())
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as busy:

        def give(child: Child) -> None:
            following = next(waiting, None)
            if following is None:
                child.close(patience_s=0)
                return
            key, task = following
            child.ask("function", name, task, timeout_s=timeout_s)
            busy.register(child, selectors.EVENT_READ, (child, key))

        for _ in range(min(jobs, len(tasks))):
            child = Child(title, log)
            stack.callback(child.close, patience_s=0)
            child.spawn()
            give(child)
        while busy.get_map():
            first = min((entry.data for entry in busy.get_map().values()), key=lambda data: data[0].remaining_s())
            wait_s = first[0].remaining_s()
            ready = [entry.data for entry, _ in busy.select(None if wait_s == math.inf else wait_s)]
            for answered, key in ready or [first]:  # out of time: the answer that has not come raises
                busy.unregister(answered)
                result = answered.answer()
                give(answered)
                yield key, result


def main(parent: int, descriptor: int) -> NoReturn:
    """Entry point of a child: answer requests until the parent closes the connection."""
    end_with(parent)
    # Ctrl-C goes to the whole process group; the parent decides when a child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=descriptor))
    held: Any = None
    while True:
        try:
            kind, name, arguments = channel.receive()
        except (EOFError, ConnectionError):
            _leave()
        try:
            if kind == "create":
                held, result = _resolve(name)(*arguments), None
            elif kind == "function":
                result = _resolve(name)(*arguments)
            else:
                result = getattr(held, name)(*arguments)
            reply = _pickled(("ok", result))
        except BenchError as error:
            reply = _pickled(("error", type(error).__name__, str(error)))
        except Exception as error:
            traceback.print_exc()
            sys.stderr.flush()
            reply = _pickled(("error", type(error).__name__, str(error)))
        with contextlib.suppress(ConnectionError):
            channel.send_pickled(reply)


def _leave() -> NoReturn:
    """End this process: what is registered with `atexit` runs, and the libraries are not taken down one by one, which
    takes TensorFlow most of a second."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def end_with(parent: int) -> None:
    """End this process when its parent ends, also when the parent is killed.

    Parameters
    ----------
    parent : int
        Its process id, as the parent itself says it: it may have ended before this call.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:

        def watch() -> None:
            while os.getppid() == parent:
                time.sleep(1)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _pickled(message: object) -> bytes:
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def _resolve(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
