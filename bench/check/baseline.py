"""`bench baseline`: write a compact, reviewable baseline from a finished run."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from bench.check.config import BaselineConfig
from bench.check.evidence import KIND, SCHEMA_VERSION, Evidence, load, protocol_of
from bench.check.outputs import sample
from bench.core.errors import ConfigError, StoreError
from bench.core.files import staged_folder, start_checksums, write_atomic, write_json
from bench.core.names import safe_name
from bench.summary.measures import measures

log = logging.getLogger(__name__)


def write_baseline(config: BaselineConfig) -> Path:
    """Write ``<baselines>/<name>`` and return it.

    Raises
    ------
    ConfigError
        If run or name are not given, the baseline exists, or a method is not in the run.
    StoreError
        If the run cannot be read or the baseline cannot be written.
    """
    if config.run is None or config.name is None:
        raise ConfigError("say what becomes of which run: `bench baseline run=results/<run> name=NAME`")
    run = load(Path(config.run))
    target = Path(config.baselines) / safe_name(config.name, "the baseline")
    if target.exists() and not config.replace:
        raise ConfigError(f"{target} exists; choose another name, or overwrite it with replace=true")
    methods = run.methods if config.only is None else config.only
    unknown = [name for name in methods if name not in run.methods]
    if unknown:
        raise ConfigError(f"only={unknown} is not possible; the run has {', '.join(run.methods)}")
    if target.exists() and not (target / "baseline.json").is_file():
        raise StoreError(f"{target} is not a baseline; it is left as it is, choose another name")
    pairs = run.pairs[run.pairs["method"].isin(methods)].reset_index(drop=True)
    times = run.times[run.times["method"].isin(methods)].reset_index(drop=True)
    samples = None
    if config.keypoints and run.features is not None:
        samples = sample(run.features, list(methods), config.keypoints, config.images)
    elif config.keypoints:
        log.warning("%s has no features (keep_features=false): the baseline cannot compare outputs", run.path)
    header = {**run.header, "methods": {name: run.header["methods"][name] for name in methods}}
    content = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "name": config.name,
        "run": run.name,
        "header": header,
        "summary": summary(run, list(methods)),
    }
    with staged_folder(target, replace=config.replace) as folder:
        start_checksums(folder)
        if samples is not None:
            _write(folder / "keypoints.parquet", samples)
        _write(folder / "pairs.parquet", pairs)
        _write(folder / "times.parquet", times)
        write_json(folder / "baseline.json", content)
    return target


def summary(run: Evidence, methods: list[str]) -> dict[str, dict[str, float]]:
    """The summary's values per method, and the median extraction time in ms: what a reviewer looks at in a diff."""
    protocol = protocol_of(run, run)
    found: dict[str, dict[str, float]] = {}
    for method in methods:
        measured = measures(run.pairs[run.pairs["method"] == method], protocol)
        values = {name: measure.value for name, measure in measured.items()}
        found[method] = {name: float(f"{value:.5g}") for name, value in values.items() if np.isfinite(value)}
        ms = run.times.loc[run.times["method"] == method, "ms"]
        if len(ms):
            found[method]["latency_median_ms"] = float(f"{ms.median():.4g}")
    return found


def _write(path: Path, frame: pd.DataFrame) -> None:
    """Write Parquet that is small: zstd over byte-split floats; text columns as dictionaries."""
    floats = [str(name) for name in frame.columns if pd.api.types.is_float_dtype(frame[name])]
    others = [str(name) for name in frame.columns if str(name) not in floats and frame[name].dtype != object]
    split: list[str] = [name for name in floats if frame[name].dtype in (np.float32, np.float64)]
    buffer = io.BytesIO()
    frame.to_parquet(
        buffer,
        index=False,
        compression="zstd",
        compression_level=19,
        use_dictionary=others,
        use_byte_stream_split=split,
    )
    write_atomic(path, buffer.getvalue())
