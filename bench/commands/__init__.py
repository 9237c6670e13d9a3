"""One file a command: its configuration, its main, its sentences. Here: which there are, without importing any.

The name of a command is that of its module in this package and of its primary config in ``conf/``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.core.opencv import import_cv2


@dataclass(frozen=True, slots=True)
class Command:
    """What is known of a command before it is imported.

    Attributes
    ----------
    purpose : str
        Heading under which ``bench --help`` lists it.
    text : str
        What it does.
    example : str
        One line to type.
    schema : str
        Its configuration as ``module:class``; empty for a command that is not composed by Hydra.
    """

    purpose: str
    text: str
    example: str
    schema: str = ""


_MEASURE, _JUDGE, _PREPARE, _LOOK = "Measure", "Judge", "Prepare", "Look up"
COMMANDS = {
    "run": Command(
        _MEASURE,
        "compare methods (the default)",
        "bench dataset=hpatches methods.add=[akaze] methods.drop=[orb]",
        "bench.schema:RunConfig",
    ),
    "sweep": Command(
        _MEASURE,
        "latency over image sizes, threads and batches",
        "bench sweep methods=classical 'sizes=[480x640,720x1280]'",
        "bench.commands.sweep:SweepConfig",
    ),
    "parity": Command(
        _MEASURE,
        "drift report between two precisions of one model",
        "bench parity methods=precisions max_sequences=8",
        "bench.parity.config:ParityConfig",
    ),
    "merge": Command(
        _MEASURE,
        "one run from the runs of all shards of a data set",
        "bench merge 'runs=[results/shard_*]' run_dir=results/whole",
        "bench.commands.merge:MergeConfig",
    ),
    "recommend": Command(
        _JUDGE,
        "which precision, runtime, size, keypoint budget and threads to ship",
        "bench recommend margin=0.05 limits.latency_ms=50",
        "bench.schema:RecommendConfig",
    ),
    "report": Command(
        _JUDGE,
        "write tables, plots and the page of a finished run again",
        "bench report run_dir=results/RUN",
        "bench.commands.report:ReportConfig",
    ),
    "compare": Command(
        _JUDGE,
        "one table and one page over finished runs; by=version: a history and its steps",
        "bench compare 'runs=results/*' by=version",
        "bench.commands.compare:CompareConfig",
    ),
    "check": Command(
        _JUDGE,
        "regression gate: candidate run against a baseline",
        "bench check candidate=results/RUN baseline=photos",
        "bench.check.config:CheckConfig",
    ),
    "baseline": Command(
        _JUDGE,
        "write a baseline from a run",
        "bench baseline run=results/RUN name=photos",
        "bench.check.config:BaselineConfig",
    ),
    "verify": Command(
        _JUDGE,
        "compare a finished run or a baseline with its checksums, and rows with features",
        "bench verify run_dir=results/RUN",
        "bench.commands.verify:VerifyConfig",
    ),
    "convert": Command(
        _PREPARE,
        "write OpenVINO and ONNX models for use elsewhere and check their parity",
        "bench convert height=1280 width=720 'weights=[f32,f16]'",
        "bench.commands.convert:ConvertConfig",
    ),
    "fetch": Command(
        _PREPARE,
        "download and verify a data set or a model; alone: what there is",
        "bench fetch what=sp_v6",
        "bench.commands.fetch:FetchConfig",
    ),
    "export": Command(
        _PREPARE,
        "write the features of a run for other tools",
        "bench export run_dir=results/RUN format=hdf5",
        "bench.commands.export:ExportConfig",
    ),
    "train": Command(
        _PREPARE,
        "train MagicPoint and SuperPoint",
        "bench train train=tiny data=FOLDER out=results/train",
        "bench.train.config:TrainConfig",
    ),
    "clean": Command(
        _PREPARE,
        "delete unfinished runs, features or the cache; shows first what would go",
        "bench clean what=[unfinished,cache]",
        "bench.commands.clean:CleanConfig",
    ),
    "list": Command(
        _LOOK,
        "methods, data sets, protocols, presets, metrics, devices, runs and the cache, one line each",
        "bench list runs",
    ),
}
"""By name, in the order in which the help lists them."""


def schema_of(name: str) -> type[Any]:
    """Import and return the dataclass of a command's configuration."""
    module, _, attribute = COMMANDS[name].schema.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found


def main_of(name: str) -> Callable[[Any], int]:
    """Import a command and return its main.

    Raises
    ------
    BenchError
        If OpenCV cannot be loaded.
    """
    try:
        found: Callable[[Any], int] = importlib.import_module(f"bench.commands.{name}").main
    except ImportError:
        import_cv2()  # says what is missing if OpenCV is the reason
        raise
    return found
