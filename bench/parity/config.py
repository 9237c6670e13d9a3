"""Configuration of ``bench parity``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.schema import MethodConfig, ModelConfig, ProtocolConfig, SuperPointConfig, TimeoutsConfig
from bench.schema.values import Count, Device, FinishedRun, Folder, Name, Range, Seed, Threads


@dataclass
class ParityConfig:
    """`bench parity`: compare the SuperPoint methods of `methods` with one of them."""

    reference: Name = "superpoint_tf"
    """Key under ``methods`` of the method the others are compared with. Only SuperPoint methods are compared."""
    protocol: ProtocolConfig = MISSING
    dataset: Any = MISSING
    model: ModelConfig = MISSING
    methods: dict[str, Any] = field(default_factory=dict)
    max_sequences: Count | None = 4
    """Sequences used, evenly spread over the data set; null: all."""
    max_pairs: Count | None = None
    """First pairs used of each sequence; null: all."""
    repeats: Annotated[int, Range(2, 1000, "it would take days")] = 10
    """Estimations per pair and method, the first in the matcher's order, the others after seeded permutations: their
    spread is the noise floor. An estimation protocol with more repeats keeps its own number."""
    layer_images: Annotated[int, Range(0, 1000, "every layer of every image is kept")] = 1
    """Images on which every layer is compared; 0: none."""
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    seed: Seed = 0
    device: Device = "CPU"
    """Device of every OpenVINO method; `bench list devices` names this host's."""
    threads: Threads = 0
    """Threads per method; 0: all cores this process may use, at most 8."""
    data_root: Folder = "datasets"
    """Downloads land here."""
    results: Folder = "results"
    run_dir: FinishedRun | None = None
    """Directory of a finished run: the report goes to its folder ``parity`` and `bench report` links to it; null:
    ``<results>/parity_<date_time>``."""
    cache: Folder = MISSING
    """Folder of exported and converted models; safe to delete."""

    def __post_init__(self) -> None:
        superpoint = [name for name, method in self.methods.items() if isinstance(method, SuperPointConfig)]
        # While Hydra composes, methods are not objects yet; then there is nothing to check.
        if all(isinstance(method, MethodConfig) for method in self.methods.values()):
            if self.methods and self.reference not in superpoint:
                raise ConfigError(
                    f"reference={self.reference!r} is not a SuperPoint method of this command; "
                    f"allowed: {', '.join(superpoint) or 'none, choose another preset such as methods=default'}"
                )
            if self.methods and len(superpoint) < 2:
                raise ConfigError(
                    f"methods has no SuperPoint method besides the reference {self.reference}; add one with "
                    "+method@methods.superpoint_ov_fp16=superpoint_ov_fp16"
                )
