"""`bench recommend`: the grid of configurations, the limits and the question."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.schema.checks import check
from bench.schema.methods import ModelConfig
from bench.schema.options import ResizePolicy
from bench.schema.protocol import ImageConfig, ProtocolConfig
from bench.schema.run import TimeoutsConfig
from bench.schema.values import Folder, Items, Jobs, Keypoints, Name, Range, Seed, Share, Threads, Title

_CELL_PX = 8
_WITH_SIZE = (ResizePolicy.fixed, ResizePolicy.cover_crop, ResizePolicy.cover_topleft)


@dataclass
class GridConfig:
    """What is tried beside the methods; the first of each list is what the reference runs at."""

    sizes: Annotated[list[Name], Items(1, 20)] = field(default_factory=lambda: ["480", "320"])
    """Image sizes: a short side (480), or HEIGHTxWIDTH, which cuts the images to that shape."""
    max_keypoints: Annotated[list[Keypoints], Items(1, 20)] = field(default_factory=lambda: [1000, 500])
    """Keypoint budgets."""
    thread_counts: Annotated[list[Threads], Items(1, 20)] = field(default_factory=lambda: [0])
    """Threads per method; 0: all usable cores, at most 8."""

    def __post_init__(self) -> None:
        from bench.core.types import Size  # brings NumPy, which help and completion do without

        for text in self.sizes:
            if not str(text).isdecimal():
                try:
                    Size.parse(str(text))
                except ValueError as error:
                    raise ConfigError(f"grid.sizes: {error}, or a short side such as 480") from None
            try:
                check(sized(ImageConfig(), str(text)), "protocol.image")
            except ConfigError as error:
                raise ConfigError(f"grid.sizes={text}: {error}") from None
        if 0 in self.max_keypoints:
            raise ConfigError("grid.max_keypoints has 0, which is no budget; allowed: whole numbers of at least 1")


@dataclass
class LimitsConfig:
    """What a configuration must be shown to stay below to be recommended."""

    latency_ms: Annotated[float, Range(0, 1e7, "hours an image", above=True)] | None = None
    """Median time per image with its 95 % interval; null: no limit."""
    memory_mb: Annotated[float, Range(0, 1e8, "no machine has it", above=True)] | None = None
    """Peak memory of the method's process, in 10^6 bytes; null: no limit."""


@dataclass
class TimingConfig:
    """How a configuration is timed before accuracies are looked at."""

    images: Annotated[int, Range(1, 10_000, "it would take hours")] = 12
    """Images, spread over the data set."""
    repeats: Annotated[int, Range(1, 1000, "it would take hours")] = 2
    """Passes over them; six blocks of four images are the fewest that give an interval."""


@dataclass
class RecommendConfig:
    """`bench recommend`: the fastest configuration that is shown to lose less than a margin."""

    protocol: ProtocolConfig = MISSING
    dataset: Any = MISSING
    model: ModelConfig = MISSING
    methods: dict[str, Any] = field(default_factory=dict)
    grid: GridConfig = MISSING
    metric: Name = "accuracy_3px"
    """Column that must not get worse: a share of pairs or points of which more is better (`bench list metrics`)."""
    margin: Annotated[float, Range(0, 1, above=True)] = 0.02
    """Largest loss that is acceptable, in units of the metric. Small margins need many sequences."""
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    reference: Name | None = None
    """Method that the others are compared with, at the first size, budget and number of threads of the grid; null: the
    first of `methods`."""
    keep: Annotated[Share, Range(0, 1, above=True)] = 0.5
    """Part of the candidates that a round keeps; 1: none is pruned for being less promising."""
    timing: TimingConfig = field(default_factory=TimingConfig)
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    seed: Seed = 0
    """Of every draw: order of the sequences, orders of matches, bootstrap."""
    threads: Threads = 0
    """Replaced by each of `grid.thread_counts`."""
    jobs: Jobs = 0
    """Processes that match and estimate; 0: as many as cores and memory are there for."""
    data_root: Folder = "datasets"
    """Downloads land here."""
    results: Folder = "results"
    run_dir: Folder | None = None
    """Folder of the recommendation; null: ``<results>/recommend_<date_time>``. An existing one is continued."""
    cache: Folder = MISSING
    """Folder of exported and converted models; safe to delete."""
    title: Title = ""
    """Heading of the report."""

    def __post_init__(self) -> None:
        if self.protocol != MISSING and getattr(self.protocol, "gt_leak", False) is True:
            raise ConfigError(
                f"protocol={self.protocol.name} lets the ground truth choose keypoints, which no product has; choose "
                "another, such as protocol=strict"
            )


def sized(image: ImageConfig, text: str) -> ImageConfig:
    """A protocol's images at one size of the grid.

    Parameters
    ----------
    image : ImageConfig
    text : str
        ``480``: short side, aspect ratio kept; where the protocol has a fixed shape, that shape scaled, its sides
        multiples of 8. ``480x640``: HEIGHTxWIDTH, by the protocol's policy if it has one for a shape, else
        ``cover_crop``.
    """
    from bench.core.types import Size

    if text.isdecimal():
        short = int(text)
        if image.policy not in _WITH_SIZE:
            return replace(image, policy=ResizePolicy.short_side, short_side=short)
        factor = short / min(image.height, image.width)
        height, width = (max(1, round(side * factor / _CELL_PX)) * _CELL_PX for side in (image.height, image.width))
        return replace(image, height=height, width=width)
    size = Size.parse(text)
    policy = image.policy if image.policy in _WITH_SIZE else ResizePolicy.cover_crop
    return replace(image, policy=policy, height=size.height, width=size.width)
