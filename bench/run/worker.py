"""One process per method, so that TensorFlow and OpenVINO never share threads, memory peaks or crashes.

The parent holds a `Worker`; the child holds the method's `Extractor`. `Worker.call` blocks, so only one worker computes
at a time.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from bench.core.processes import Child
from bench.core.types import Context, Correspondences, EvaluatedImage, Features, MethodInfo, Size, StageTimes
from bench.features.base import Extractor, PairwiseMethod
from bench.schema import MethodConfig, TimeoutsConfig

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


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
    timeouts : TimeoutsConfig
    wait : bool
        False: the process has begun when this returns, :meth:`start` loads the method.

    Raises
    ------
    ModelError, ConfigError, FeatureError
        As raised by the method while it loads.
    WorkerError
        If the process dies or does not answer.
    """

    preload = "bench.features.base:preload"
    """What the child calls while the parent starts other workers: ``(config) -> None``."""
    create = "bench.features.base:create"
    """What loads the method in the child: ``(name, config, context) -> Extractor``."""

    def __init__(
        self,
        name: str,
        config: MethodConfig,
        context: Context,
        log: Path,
        timeouts: TimeoutsConfig | None = None,
        wait: bool = True,
    ) -> None:
        self.name = name
        self._config = config
        self._context = context
        self._timeouts = timeouts or TimeoutsConfig()
        threads = str(context.threads)
        self._child = Child(
            "its worker process",
            log,
            f"method {name}: ",
            {
                "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
                "CUDA_VISIBLE_DEVICES": "-1",
                "OMP_NUM_THREADS": threads,
                "OPENBLAS_NUM_THREADS": threads,
                "MKL_NUM_THREADS": threads,
            },
        )
        self.begin()
        if wait:
            self.start()

    def begin(self) -> None:
        """Start the process and let it import its libraries, without waiting for it."""
        self._child.spawn()
        self._child.ask("function", self.preload, self._config, timeout_s=self._timeouts.load_s)

    def start(self) -> None:
        """Start the process, unless it has begun, and load the method."""
        if self._child.pid() is None:
            self.begin()
        try:
            self._child.answer()
            arguments = (self.name, self._config, self._context)
            self._child.create(self.create, *arguments, timeout_s=self._timeouts.load_s)
        except BaseException:
            self._child.close(patience_s=0)
            raise

    def call(
        self,
        method: Callable[Concatenate[Any, Parameters], Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        """Call a method of the extractor in the child and return its result: ``call(HasTensors.tensors, image)``.

        Parameters
        ----------
        method : callable
            Of `bench.features.base.Extractor` or of one of the abilities beside it.

        Raises
        ------
        BenchError
            The same class and message as raised in the child.
        WorkerError
            If the child raised anything else, died, or did not answer in time. A worker that died or was silent is
            stopped.
        """
        assert not named, "arguments go by position"
        result: Result = self._child.method(method.__name__, *arguments, timeout_s=self._timeouts.call_s)
        return result

    def warm_up(self, size: Size) -> None:
        self.call(Extractor.warm_up, size)

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        return self.call(Extractor.extract, image)

    def correspond(self, image_ref: EvaluatedImage, image_target: EvaluatedImage) -> tuple[Correspondences, StageTimes]:
        return self.call(PairwiseMethod.correspond, image_ref, image_target)

    def info(self) -> MethodInfo:
        """What the method says of itself, and the peak memory of its process."""
        info = self.call(Extractor.info)
        peak = self._child.function("bench.run.worker:peak_memory_mb", timeout_s=self._timeouts.call_s)
        return dataclasses.replace(info, costs={**info.costs, "peak_memory_mb": peak})

    def used(self) -> list[str]:
        """Entries of the model cache that the method was loaded from."""
        entries: list[str] = self._child.function("bench.models.cache:used", timeout_s=self._timeouts.call_s)
        return entries

    def pid(self) -> int | None:
        """Process id while the worker runs."""
        return self._child.pid()

    def hang_up(self) -> None:
        """Let the process end by itself, beside others; :meth:`close` waits for it."""
        self._child.hang_up()

    def close(self) -> None:
        """End the process; safe to call twice."""
        self._child.close()


def peak_memory_mb() -> float:
    """Largest resident set size of this process so far, in MB (10^6 bytes)."""
    try:
        # getrusage would count the parent's pages between fork and exec as ours.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
