"""The contract of a method: an image goes in, features and stage times come out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ConfigError, ModelError
from bench.core.types import Context, Correspondences, EvaluatedImage, Features, ImageRef, MethodInfo, Size, StageTimes
from bench.models.graphfile import graph_file_of, is_graph_file
from bench.runtimes import base as runtimes
from bench.runtimes.base import missing
from bench.schema import EXTRACTORS, ImageConfig, MethodConfig, SuperPointConfig
from bench.schema.options import Runtime

log = logging.getLogger(__name__)
Method = TypeVar("Method", bound=MethodConfig)


@runtime_checkable
class Extractor(Protocol):
    """A loaded method. One instance lives in one worker process."""

    def warm_up(self, size: Size) -> None:
        """Compile and run once for this image size, untimed; called once before the first image of each size."""

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        """Return at most ``config.max_keypoints`` features (0: all) and the wall time of each stage.

        Raises
        ------
        FeatureError
            If the method's output breaks the contract of Features.
        """

    def info(self) -> MethodInfo:
        """Describe what runs: precision, fingerprint, versions, threads, costs so far."""


@runtime_checkable
class PairwiseMethod(Protocol):
    """A loaded method that looks at both images of a pair; its ``info().pairwise`` is true.

    It is configured, loaded and timed as an :class:`Extractor`; metrics that need the keypoints of one image do not
    apply to it.
    """

    def warm_up(self, size: Size) -> None:
        """Compile and run once for two images of this size, untimed."""

    def correspond(self, image_ref: EvaluatedImage, image_target: EvaluatedImage) -> tuple[Correspondences, StageTimes]:
        """Return points that belong together, in the frames of the evaluated images, and the wall time of each stage.

        Raises
        ------
        FeatureError
            If the method's output breaks the contract of Correspondences.
        """

    def info(self) -> MethodInfo:
        """Describe what runs, as :meth:`Extractor.info`."""


class Checks(Protocol):
    """A method that can tell before the run whether it has what every image needs."""

    def check(self, images: Sequence[ImageRef]) -> None:
        """Raise a BenchError that names what is missing."""


class HasTensors(Protocol):
    """A network whose outputs can be looked at, for the drift report."""

    def tensors(self, image: EvaluatedImage) -> tuple[Features, dict[str, NDArray[np.float32]]]:
        """Features of an image and the outputs of the network they come from, by signature key."""


class Batches(Protocol):
    """A network that takes several images at once."""

    def infer_batch(self, images: Sequence[EvaluatedImage]) -> float:
        """Run images of one size in one call of the network and return the wall time in milliseconds."""


class MeasuresThroughput(Protocol):
    """A runtime with an asynchronous queue and a compiler."""

    def throughput(self, images: Sequence[EvaluatedImage], seconds: float) -> dict[str, float]:
        """``images_per_s``, ``streams`` and ``requests`` of the network alone on images of one size."""

    def compile_costs(self, size: Size) -> dict[str, float]:
        """Cold and cached compilation in milliseconds."""


def preload(config: MethodConfig) -> None:
    """Import what a method needs and what depends on no model; nothing is loaded."""
    if isinstance(config, SuperPointConfig):
        runtimes.preload(config.backend)


def create(name: str, config: MethodConfig, context: Context) -> Extractor:
    """Load the method `config` describes; the backend's module is imported here and nowhere else.

    Raises
    ------
    ConfigError
        If the backend is neither built in, nor installed, nor an importable module with a `create` function.
    ModelError
        If the model is missing, refused or cannot run as asked.
    """
    make: Callable[[str, MethodConfig, Context], Extractor] = EXTRACTORS.load(f"methods.{name}.backend", config.backend)
    return make(name, config, context)


def runnable(methods: Mapping[str, Method]) -> tuple[dict[str, Method], dict[str, str]]:
    """Part the methods this host can run from those it cannot; nothing is loaded for it.

    Returns
    -------
    methods : dict
        Those that can run, in their order.
    left_out : dict
        Name -> reason of optional ones that cannot.

    Raises
    ------
    ConfigError
        If one that is not optional cannot run, or none is left.
    """
    reasons = {name: missing(method) for name, method in methods.items() if isinstance(method, SuperPointConfig)}
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    for name, reason in left_out.items():
        if not methods[name].optional:
            raise ConfigError(f"methods.{name} cannot run here: {reason}")
        log.warning("not run here: %s, %s", name, reason)
    if methods and len(left_out) == len(methods):
        raise ConfigError("no method can run here: " + "; ".join(f"{name}, {why}" for name, why in left_out.items()))
    return {name: method for name, method in methods.items() if name not in left_out}, left_out


def devices(methods: Mapping[str, MethodConfig]) -> dict[str, str]:
    """Devices beside the CPU alone that methods of OpenVINO may use, with their full names; times depend on them."""
    found: dict[str, str] = {}
    for method in methods.values():
        if isinstance(method, SuperPointConfig) and method.backend == Runtime.openvino:
            found |= runtimes.module_of(method.backend).beside_cpu(method)
    return dict(sorted(found.items()))


def built_in_size(methods: Mapping[str, MethodConfig]) -> Size | None:
    """Size that the first model file with a built-in size takes; None: there is none.

    Raises
    ------
    ModelError
        As :func:`bench.models.graphfile.read_graph_file`.
    """
    for method in methods.values():
        if isinstance(method, SuperPointConfig) and is_graph_file(method.model.path):
            found = graph_file_of(method.model)
            if found.height is not None and found.width is not None:
                return Size(found.height, found.width)
    return None


def check_sizes(methods: Mapping[str, MethodConfig], image: ImageConfig) -> None:
    """Refuse a model file with a built-in size that the protocol's images do not have, as far as the protocol says it.

    Raises
    ------
    ModelError
        With the keys that give that size.
    """
    for method in methods.values():
        if not isinstance(method, SuperPointConfig) or not is_graph_file(method.model.path):
            continue
        found = graph_file_of(method.model)
        if found.height is None or found.width is None or image.policy == "original":
            continue
        built_in = Size(found.height, found.width)
        if image.policy == "short_side":
            fits = image.short_side == min(built_in.height, built_in.width)
            asked = f"images of short side {image.short_side}"
        else:
            fits = (image.height, image.width) == (built_in.height, built_in.width)
            asked = f"{image.height}x{image.width}"
        if not fits:
            raise ModelError(
                f"model.path={method.model.path}: is built for {built_in} (HxW), the protocol asks for {asked}; set "
                f"protocol.image.policy=cover_crop protocol.image.height={found.height} "
                f"protocol.image.width={found.width}, or convert the model without a size"
            )


@dataclass
class Stopwatch:
    """Wall time of named stages: ``with watch("infer_ms"): ...``."""

    ms: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _start_ns: int = 0

    def __call__(self, stage: str) -> Stopwatch:
        self._stage = stage
        return self

    def __enter__(self) -> None:
        self._start_ns = time.perf_counter_ns()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_ms = (time.perf_counter_ns() - self._start_ns) / 1e6
        self.ms[self._stage] = self.ms.get(self._stage, 0.0) + elapsed_ms

    def times(self) -> StageTimes:
        """Stage times of one extraction; a stage that was not entered took 0 ms."""
        return StageTimes(*(self.ms.get(stage, 0.0) for stage in ("preprocess_ms", "infer_ms", "decode_ms")))
