"""Homography benchmark for SuperPoint and other local features.

>>> import bench
>>> result = bench.compare(["methods=classical"])  # doctest: +SKIP
>>> result.summary.table  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core import telemetry

if TYPE_CHECKING:
    from bench.run.benchmark import Run

# Here, so that it holds in every process before anything of this package can import OpenVINO.
telemetry.switch_off()

__version__ = "0.2.0"
__all__ = ["__version__", "compare"]


def compare(overrides: Sequence[str] = ()) -> Run:
    """Run a benchmark with the overrides one would type after ``bench``.

    Parameters
    ----------
    overrides : sequence of str
        For example ``["dataset=hpatches", "methods=classical"]``.

    Returns
    -------
    bench.run.benchmark.Run
        Rows, times, summary, manifest and the path of the report.

    Raises
    ------
    bench.core.errors.BenchError
    """
    from bench.config import check_inputs, compose
    from bench.run.benchmark import run

    config = compose(overrides)
    check_inputs(config)
    return run(config, ["bench", *overrides])
