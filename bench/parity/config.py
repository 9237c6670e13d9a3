"""Configuration of ``bench parity``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.schema import MethodConfig, ModelConfig, ProtocolConfig, SuperPointConfig, TimeoutsConfig, at_least, within


@dataclass
class ParityConfig:
    """`bench parity`: compare the SuperPoint methods of `methods` with one of them."""

    reference: str = "superpoint_tf"
    """Key under ``methods`` of the method the others are compared with. Only SuperPoint methods are compared."""
    protocol: ProtocolConfig = MISSING
    dataset: Any = MISSING
    model: ModelConfig = MISSING
    methods: dict[str, Any] = field(default_factory=dict)
    max_sequences: int | None = 4
    """Sequences used, evenly spread over the data set; null: all."""
    max_pairs: int | None = None
    """First pairs used of each sequence; null: all."""
    repeats: int = 10
    """Estimations per pair and method, the first in the matcher's order, the others after seeded permutations: their
    spread is the noise floor. An estimation protocol with more repeats keeps its own number."""
    layer_images: int = 1
    """Images on which every layer is compared; 0: none."""
    timeouts: TimeoutsConfig = field(default_factory=TimeoutsConfig)
    seed: int = 0
    threads: int = 0
    """Threads per method; 0: all cores this process may use, at most 8."""
    data_root: str = "datasets"
    """Downloads land here."""
    results: str = "results"
    run_dir: str | None = None
    """Directory of a finished run: the report goes to its folder ``parity`` and `bench report` links to it; null:
    ``<results>/parity_<date_time>``."""
    cache: str = MISSING
    """Folder of exported and converted models; safe to delete."""

    def __post_init__(self) -> None:
        at_least("max_sequences", self.max_sequences, 1)
        at_least("max_pairs", self.max_pairs, 1)
        within("repeats", self.repeats, 2, 1000)
        at_least("layer_images", self.layer_images, 0)
        at_least("threads", self.threads, 0)
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
