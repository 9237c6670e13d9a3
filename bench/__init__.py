"""Homography benchmark for SuperPoint and other local features.

>>> import bench
>>> result = bench.benchmark(["methods=classical"])  # doctest: +SKIP
>>> result.summary.wide()  # doctest: +SKIP

One pair, in this process:

>>> import numpy as np
>>> image = np.random.default_rng(0).integers(0, 255, (240, 320), np.uint8)
>>> row = bench.evaluate(image, image, np.eye(3), "sift")
>>> row["outcome"], row["accuracy_3px"]
('ok', 1.0)
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core import telemetry

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from bench.check.compare_runs import Compared
    from bench.core.types import (
        Context,
        Correspondences,
        DataSet,
        Estimate,
        EvaluatedImage,
        Features,
        ImageRef,
        Matches,
        MethodInfo,
        Outcome,
        Pair,
        Size,
        StageTimes,
    )
    from bench.features.base import Extractor, PairwiseMethod, Stopwatch
    from bench.geometry.estimation import Estimator
    from bench.geometry.solve import Matcher
    from bench.metrics.record import Column, Margin, Metric
    from bench.run.benchmark import Run
    from bench.run.recommend import Recommended
    from bench.run.single import Image, Method

# Here, so that it holds in every process before anything of this package can import OpenVINO.
telemetry.switch_off()

__version__ = "0.3.0"
_HOME = {
    "bench.core.types": (
        "Context",
        "Correspondences",
        "DataSet",
        "Estimate",
        "EvaluatedImage",
        "Features",
        "ImageRef",
        "Matches",
        "MethodInfo",
        "Outcome",
        "Pair",
        "Size",
        "StageTimes",
    ),
    "bench.features.base": ("Extractor", "PairwiseMethod", "Stopwatch"),
    "bench.geometry.estimation": ("Estimator",),
    "bench.geometry.solve": ("Matcher",),
    "bench.metrics.record": ("Column", "Margin", "Metric"),
    "bench.run.benchmark": ("Run",),
    "bench.run.recommend": ("Recommended",),
}
__all__ = [
    "Column",
    "Context",
    "Correspondences",
    "DataSet",
    "Estimate",
    "Estimator",
    "EvaluatedImage",
    "Extractor",
    "Features",
    "ImageRef",
    "Margin",
    "Matcher",
    "Matches",
    "MethodInfo",
    "Metric",
    "Outcome",
    "Pair",
    "PairwiseMethod",
    "Recommended",
    "Run",
    "Size",
    "StageTimes",
    "Stopwatch",
    "__version__",
    "benchmark",
    "compare",
    "evaluate",
    "load",
    "recommend",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: ``import bench`` alone is light."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def benchmark(overrides: Sequence[str] = ()) -> Run:
    """Run a benchmark with the overrides one would type after ``bench``.

    Parameters
    ----------
    overrides : sequence of str
        For example ``["dataset=hpatches", "methods=classical"]``.

    Returns
    -------
    bench.Run
        Rows, times, summary, manifest and the path of the report.

    Raises
    ------
    bench.core.errors.BenchError
    TypeError
        If `overrides` is one str instead of several.
    """
    from bench.run.benchmark import run

    return run(_configured(overrides), ["bench", *overrides])


def _configured(overrides: Sequence[str], command: str = "run") -> Any:
    """The configuration of a command, its files and folders looked at.

    Raises
    ------
    TypeError
        If `overrides` is one str instead of several.
    """
    from bench.config import check_inputs, compose

    if isinstance(overrides, str):
        raise TypeError(f"overrides is a list of str, such as [{overrides!r}]")
    config = compose(overrides, command)
    check_inputs(config)
    return config


def compare(runs: Sequence[str | Path], **options: Any) -> Compared:
    """Compare finished runs: what ``bench compare runs=[A,B]`` does.

    Parameters
    ----------
    runs : sequence of path
        Run directories, baselines, or patterns such as ``results/*``.
    options
        Of :func:`bench.check.compare_runs.compare_runs`: ``by="version"``, ``side_by_side=True``, ``out=...``.

    Returns
    -------
    bench.check.compare_runs.Compared
        ``comparison.values`` and ``comparison.differences`` are tables, ``history.steps`` those of a history,
        ``written.page`` the page.

    Raises
    ------
    bench.core.errors.BenchError
    TypeError
        If `runs` is one str, or words of a command line, which :func:`benchmark` takes.
    """
    from bench.check.compare_runs import compare_runs

    if isinstance(runs, str):
        raise TypeError(f"runs is a list of folders, such as [{runs!r}]")
    if any(isinstance(entry, str) and "=" in entry and not Path(entry).is_dir() for entry in runs):
        raise TypeError("bench.compare takes folders of finished runs; a benchmark is run by bench.benchmark([...])")
    return compare_runs(runs, **options)


def evaluate(
    image_ref: Image, image_target: Image, H_ref_to_target: ArrayLike, method: Method, protocol: str = "strict"
) -> dict[str, object]:
    """Run one method on one pair, in this process, by one protocol.

    Parameters
    ----------
    image_ref, image_target : path, or (H, W) or (H, W, 3) uint8
        Grey or RGB.
    H_ref_to_target : (3, 3) float
        Maps pixels of the reference image to pixels of the target image, pixel centres at integers.
    method : str, Extractor, PairwiseMethod or callable
        Name in ``conf/method`` (``sift``, ``superpoint_ov_fp32``), a loaded method, or a function of an
        :class:`EvaluatedImage` that returns :class:`Features`.
    protocol : str
        Name in ``conf/protocol``.

    Returns
    -------
    dict
        A row of ``pairs.parquet``: outcome, counts and the protocol's metrics, see docs/metrics.md.

    Raises
    ------
    bench.core.errors.BenchError
        If a name is unknown, an image cannot be read, or the method's output breaks its contract.
    """
    from bench.config import compose
    from bench.run.single import evaluate, load_method

    named = [f"+method@methods.it={method}"] if isinstance(method, str) else []
    config = compose([f"protocol={protocol}", "methods=classical", *named])
    loaded, matcher = load_method("it", config) if isinstance(method, str) else (method, None)
    return evaluate(image_ref, image_target, H_ref_to_target, loaded, config.protocol, matcher, config.seed)


def load(run_dir: str | Path) -> Run:
    """Read a finished run: rows, times, manifest, and their summary; nothing is measured again or written.

    Raises
    ------
    bench.core.errors.StoreError
        If the folder holds no finished run.
    """
    from bench.run.benchmark import read

    return read(Path(run_dir))


def recommend(overrides: Sequence[str] = ()) -> Recommended:
    """Say which configuration to ship, with the overrides one would type after ``bench recommend``.

    Parameters
    ----------
    overrides : sequence of str
        For example ``["dataset=hpatches", "margin=0.05", "limits.latency_ms=50"]``.

    Returns
    -------
    bench.Recommended
        The answer with its sentences, a row per configuration, all rows and times, and the path of the report.

    Raises
    ------
    bench.core.errors.BenchError
    TypeError
        If `overrides` is one str instead of several.
    """
    from bench.run.recommend import recommend

    return recommend(_configured(overrides, "recommend"), ["recommend", *overrides])
