"""``bench train``: run one stage or all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.train.backend import start
from bench.train.config import STAGES, TrainConfig


def main(config: TrainConfig) -> int:
    """Run ``config.stage``, or all stages in order, in the folder ``config.out``.

    Parameters
    ----------
    config : TrainConfig
        Composed and validated.

    Returns
    -------
    int
        Exit status: 0.

    Raises
    ------
    ConfigError
        If a stage lacks what an earlier one leaves, or ``out`` holds a run with other settings.
    DataError
        If the photographs cannot be read.
    ModelError
        If weights are unusable or the training diverges.
    """
    from rich.console import Console

    from bench.train import stages

    out = Path(config.out)
    start(config.threads, out / "logs" / "libraries.log")
    run: dict[str, Callable[[TrainConfig, Path], Path]] = {
        "synthetic_shapes": stages.synthetic_shapes,
        "magicpoint": stages.magicpoint,
        "adapt": stages.adapt,
        "superpoint": stages.superpoint,
    }
    console = Console()
    for name in STAGES if config.stage == "all" else (config.stage,):
        console.print(f"{name}: {run[name](config, out)}", highlight=False, soft_wrap=True)
    return 0
