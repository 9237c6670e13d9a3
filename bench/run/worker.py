"""One process per method, so that TensorFlow and OpenVINO never share threads, memory peaks or crashes.

The parent holds a `Worker`; the child runs `serve`. They talk over a socket pair: a request is the name of an
`Extractor` method and its arguments, a reply is its result or a named error. `Worker.call` blocks, so only one worker
computes at a time.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import resource
import signal
import subprocess
import sys
import traceback
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

from bench.core import errors
from bench.core.errors import BenchError, WorkerError
from bench.core.types import Context, EvaluatedImage, Features, MethodInfo, Size, StageTimes
from bench.schema import MethodConfig

START_TIMEOUT_S = 3600.0
"""Loading may include INT8 calibration, with accuracy control also many evaluations."""
CALL_TIMEOUT_S = 900.0
_LOG_TAIL_LINES = 8


class Worker:
    """A method in a process of its own.

    Parameters
    ----------
    name : str
        Key of the method.
    config : MethodConfig
    context : Context
    log : Path
        The child's stdout and stderr are appended here.

    Raises
    ------
    ModelError, ConfigError, FeatureError
        As raised by the method while it loads.
    WorkerError
        If the process dies or does not answer.
    """

    def __init__(self, name: str, config: MethodConfig, context: Context, log: Path) -> None:
        self.name = name
        self._config = config
        self._context = context
        self._log_path = log
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the process and load the method."""
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        parent_end, child_end = Pipe()
        threads = str(self._context.threads)
        environment = os.environ | {
            "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
            "CUDA_VISIBLE_DEVICES": "-1",
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
        }
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.run.worker", str(child_end.fileno())],
                pass_fds=[child_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        child_end.close()
        self._connection = parent_end
        self._request(START_TIMEOUT_S, "load", self.name, self._config, self._context, sys.path)

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method of the extractor in the child and return its result.

        Raises
        ------
        BenchError
            The same class and message as raised in the child.
        WorkerError
            If the child raised anything else, died, or did not answer in time. The worker is then stopped.
        """
        return self._request(CALL_TIMEOUT_S, method, *arguments)

    def warm_up(self, size: Size) -> None:
        self.call("warm_up", size)

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        features, times = self.call("extract", image)
        return features, times

    def info(self) -> MethodInfo:
        info: MethodInfo = self.call("info")
        return info

    def pid(self) -> int | None:
        """Process id while the worker runs."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the process; safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        self._connection.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _request(self, timeout_s: float, *message: object) -> Any:
        if self._process is None:
            raise WorkerError(f"method {self.name}: its worker process is not running")
        try:
            self._connection.send(message)
            if not self._connection.poll(timeout_s):
                self._process.kill()
                raise WorkerError(
                    self._describe(f"did not answer {message[0]} within {timeout_s:.0f} s and was stopped")
                )
            status, *reply = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            code = self._process.wait()
            cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            hint = "; SIGKILL often means that the machine ran out of memory" if code == -signal.SIGKILL else ""
            text = self._describe(f"{cause} during {message[0]}{hint}")
            self.close()
            raise WorkerError(text) from error
        if status == "ok":
            return reply[0]
        kind, text = reply
        error_type = getattr(errors, kind, None)
        if isinstance(error_type, type) and issubclass(error_type, BenchError):
            raise error_type(f"method {self.name}: {text}")
        raise WorkerError(self._describe(f"{message[0]} raised {kind}: {text}"))

    def _describe(self, what: str) -> str:
        lines = self._log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        tail = "".join(f"\n    {line}" for line in lines)
        return f"method {self.name}: its worker process {what}; log: {self._log_path}{tail}"


def peak_memory_mb() -> float:
    """Largest resident set size of this process so far, in MB (10^6 bytes)."""
    try:
        # getrusage would count the parent's pages between fork and exec as ours.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def serve(connection: Connection, log: TextIO) -> None:
    """Answer requests until the parent closes the connection."""
    extractor: Any = None
    while True:
        try:
            method, *arguments = connection.recv()
        except EOFError:
            return
        try:
            result: object = None
            if method == "load":
                name, config, context, path = arguments
                sys.path[:] = path  # a method may live in a module beside the user's configuration
                extractor = importlib.import_module("bench.features.base").create(name, config, context)
            elif method == "info":
                info = extractor.info()
                result = dataclasses.replace(info, costs={**info.costs, "peak_memory_mb": peak_memory_mb()})
            else:
                result = getattr(extractor, method)(*arguments)
            connection.send(("ok", result))
        except BenchError as error:
            connection.send(("error", type(error).__name__, str(error)))
        except Exception as error:
            traceback.print_exc(file=log)
            log.flush()
            connection.send(("error", type(error).__name__, str(error)))


if __name__ == "__main__":
    # Ctrl-C goes to the whole process group; the parent decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(Connection(int(sys.argv[1])), sys.stderr)
