"""`bench baseline run=results/<run> name=NAME`: write a baseline from a run."""

from __future__ import annotations

from bench.check.baseline import write_baseline
from bench.check.config import BaselineConfig


def main(config: BaselineConfig) -> int:
    """Write the baseline, print where it lies and how large it is."""
    target = write_baseline(config)
    size_kb = sum(path.stat().st_size for path in target.iterdir()) / 1e3
    print(f"baseline: {target} ({size_kb:.0f} kB)")
    return 0
