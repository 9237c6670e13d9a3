"""What a comparison needs to know about a run, read from a run directory or from a baseline.

A baseline is a folder with ``baseline.json`` (who, what, where, and the means a reviewer wants to see) and three
Parquet files: ``pairs`` (a row per method and pair), ``times`` (a row per extraction) and ``keypoints`` (samples of the
outputs).
Metric values are rounded to 14 bits of mantissa (3e-5 relative) in both cases, so that a run equals its own baseline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import StoreError
from bench.core.files import has_checksums, read_json, read_parquet
from bench.core.records import record
from bench.metrics.columns import current
from bench.run.manifest import stated_protocol
from bench.run.store import PAIR_COLUMNS, open_finished
from bench.schema import ProtocolConfig
from bench.timing import noise

SCHEMA_VERSION = 2
"""Of a baseline; 2: every file has a checksum. 1 is read as well."""
KIND = "superpoint-bench baseline"
TIME_STAGES = ("preprocess", "infer", "decode")
_KEYS = ("method", "pair", "sequence", "split", "outcome")
_LEFT_OUT = ("match_ms", "estimate_ms", "mma", "session")
_MMA_KEPT_PX = (1.0, 3.0)
_MANTISSA_BITS_DROPPED = 9


@dataclass(frozen=True)
class Evidence:
    """One side of a comparison.

    Attributes
    ----------
    path : Path
        Run directory or baseline folder.
    name : str
        Name of that folder.
    header : dict
        ``protocol``, ``dataset``, ``host``, ``threads``, ``noise``, ``versions``, ``latency_mode``, ``methods``.
    pairs : DataFrame
        Rows of pairs.parquet with rounded metrics.
    times : DataFrame
        ``method, item, repeat, block, ms`` (preprocess + infer + decode), and of the block ``calibration_ms`` and
        ``taken`` (by neighbours, a share); baselines of earlier versions lack ``taken``.
    keypoints : DataFrame or None
        Baselines only: samples of the outputs, see :mod:`bench.check.outputs`.
    features : Path or None
        Runs only: folder of the stored features, if they were kept.
    remarks : tuple of str
        What a reader should know about the files.
    """

    path: Path
    name: str
    header: dict[str, Any]
    pairs: pd.DataFrame
    times: pd.DataFrame
    keypoints: pd.DataFrame | None
    features: Path | None
    remarks: tuple[str, ...] = ()

    @property
    def methods(self) -> list[str]:
        return list(self.header["methods"])


def protocol_of(candidate: Evidence, baseline: Evidence) -> ProtocolConfig:
    """The protocol of a comparison; where neither side states it, one with the thresholds of the rows' columns."""
    for side in (candidate, baseline):
        values = side.header["protocol"].get("config")
        if values:
            return stated_protocol(side.header["protocol"]["name"], values)
    found = [re.fullmatch(r"(accuracy|match_precision)_(.+)px", str(name)) for name in candidate.pairs.columns]
    limits = [(match[1], float(match[2])) for match in found if match]
    protocol = ProtocolConfig(name=str(candidate.header["protocol"]["name"]))
    protocol.homography.thresholds_px = [t for kind, t in limits if kind == "accuracy"]
    protocol.precision_px = [t for kind, t in limits if kind == "match_precision"]
    return protocol


def load(path: Path) -> Evidence:
    """Read a run directory or a baseline.

    Raises
    ------
    StoreError
        If `path` is neither, is not complete, or was written by another schema version.
    """
    if (path / "baseline.json").is_file():
        return _from_baseline(path)
    if (path / "manifest.json").is_file():
        return _from_run(path)
    raise StoreError(
        f"{path} is neither a run directory (manifest.json) nor a baseline (baseline.json); "
        "make a baseline with `bench baseline run=results/<run> name=NAME`"
    )


@dataclass(frozen=True)
class _Protocol:
    name: str
    hash: str
    version: int = 1
    config: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Dataset:
    name: str
    digest: str
    note: str = ""
    pairs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Method:
    label: str = ""
    precision: dict[str, Any] = field(default_factory=dict)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Header:
    """What a comparison relies on in a baseline's header."""

    protocol: _Protocol
    dataset: _Dataset
    methods: dict[str, _Method]
    host: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seeds: dict[str, Any] = field(default_factory=dict)
    git: dict[str, Any] = field(default_factory=dict)
    threads: int | None = None
    latency_mode: str | None = None
    repeats: int | None = None


@dataclass(frozen=True)
class _Kind:
    kind: str
    schema_version: int


@dataclass(frozen=True)
class _Content:
    header: _Header


def _from_baseline(path: Path) -> Evidence:
    where = str(path / "baseline.json")
    content = read_json(path / "baseline.json")
    found = record(_Kind, content, where)
    if found.kind != KIND:
        raise StoreError(f"{where} is of kind {found.kind!r}, {KIND!r} was expected")
    if found.schema_version not in (1, SCHEMA_VERSION):
        raise StoreError(
            f"{where} has schema version {found.schema_version}, this version of bench reads 1 to {SCHEMA_VERSION}; "
            "write the baseline again with `bench baseline`"
        )
    record(_Content, content, where)
    if found.schema_version > 1 and not has_checksums(path):
        raise StoreError(f"{path} has lost its list of checksums (bench.sha256); restore it from a copy")
    samples = path / "keypoints.parquet"
    return Evidence(
        path,
        path.name,
        content["header"],
        current(read_parquet(path / "pairs.parquet", PAIR_COLUMNS)),
        read_parquet(path / "times.parquet", ("method", "item", "repeat", "block", "ms", "calibration_ms")),
        read_parquet(samples, ("method", "image", "x", "y")) if samples.is_file() else None,
        None,
        _remarks(path),
    )


def _from_run(path: Path) -> Evidence:
    found = open_finished(path)
    manifest, features = found.manifest, path / "features"
    remarks = list(_remarks(path))
    if len(manifest.sessions) > 1:
        remarks.append(f"{path} was measured under {len(manifest.sessions)} conditions (allow_mixed=true)")
    return Evidence(
        path,
        path.name,
        _header(manifest.as_dict()),
        compact_rows(found.pairs, manifest.protocol.config.get("mma_px", [])),
        extraction_times(found.times),
        None,
        features if features.is_dir() else None,
        tuple(remarks),
    )


def _remarks(path: Path) -> tuple[str, ...]:
    return () if has_checksums(path) else (f"{path} has no checksums: damage to its files would not be noticed",)


def _header(manifest: dict[str, Any]) -> dict[str, Any]:
    host = manifest.get("host", {})
    config = manifest.get("config", {})
    return {
        "protocol": {key: manifest["protocol"].get(key) for key in ("name", "version", "hash", "config")},
        "dataset": {key: manifest["dataset"].get(key) for key in ("name", "digest", "note", "pairs")},
        "seeds": manifest.get("seeds", {}),
        "threads": manifest.get("threads"),
        "host": {
            "fingerprint": host.get("fingerprint", host.get("hash")),
            **{
                key: host[key]
                for key in ("cpu", "isa", "usable_cores", "memory_gb", "system", "allocation")
                if key in host
            },
        },
        "noise": manifest.get("noise", {}),
        "versions": manifest.get("versions", {}),
        "git": manifest.get("git", {}),
        "latency_mode": config.get("latency", {}).get("mode"),
        "repeats": manifest["protocol"].get("config", {}).get("estimator", {}).get("repeats"),
        "methods": {
            name: {
                "label": method.get("label", name),
                "precision": {
                    key: value
                    for key, value in method.get("info", {}).get("precision", {}).items()
                    if key in ("label", "requested", "resolved", "executed")
                },
                "fingerprint": method.get("info", {}).get("fingerprint", {}),
                "config": method.get("config", {}),
            }
            for name, method in manifest["methods"].items()
        },
    }


def rounded(values: NDArray[Any]) -> NDArray[np.float32]:
    """Round to float32 with 14 bits of mantissa; NaN and infinities stay."""
    x = np.asarray(values, dtype=np.float32)
    bits = x.view(np.uint32)
    half = np.uint32(1 << (_MANTISSA_BITS_DROPPED - 1))
    kept = ((bits + half) >> np.uint32(_MANTISSA_BITS_DROPPED)) << np.uint32(_MANTISSA_BITS_DROPPED)
    return np.where(np.isfinite(x), kept.view(np.float32), x)


def compact_rows(rows: pd.DataFrame, mma_px: Sequence[float] = ()) -> pd.DataFrame:
    """Rows of pairs.parquet as a baseline holds them: rounded, without times, of the MMA curve 1 and 3 px.

    Parameters
    ----------
    rows : DataFrame
    mma_px : sequence of float
        Thresholds of the lists in column ``mma``.
    """
    kept = {key: rows[key] for key in _KEYS}
    for name in rows.columns:
        if name in _KEYS or name in _LEFT_OUT:
            continue
        if name == "corner_errors_px":
            kept[name] = _rounded_lists(rows[name])
        elif pd.api.types.is_numeric_dtype(rows[name]):
            kept[name] = pd.Series(rounded(rows[name].to_numpy(np.float64, na_value=np.nan)), index=rows.index)
    if "mma" in rows:
        for place, limit in enumerate(mma_px):
            name = f"match_precision_{limit:g}px"  # the same quantity
            if limit in _MMA_KEPT_PX and name not in rows:
                curve = [np.nan if item is None else item[place] for item in rows["mma"].to_list()]
                kept[name] = pd.Series(rounded(np.array(curve)), index=rows.index)
    frame = pd.DataFrame(kept)
    return frame.sort_values(["method", "pair"], kind="stable", ignore_index=True)


def _rounded_lists(column: pd.Series) -> pd.Series:
    lists: list[Any] = column.to_list()
    given = [item for item in lists if item is not None]
    flat = rounded(np.concatenate([np.zeros(0), *given]))
    parts = iter(np.split(flat, np.cumsum([len(item) for item in given])))
    return pd.Series([None if item is None else next(parts) for item in lists], index=column.index, dtype=object)


def extraction_times(times: pd.DataFrame) -> pd.DataFrame:
    """One row per extraction: the sum of its stages in milliseconds, and the machine during its block.

    A block is one block of one pass. What was not recorded of a block is NaN; see :func:`bench.timing.noise.machine`.
    Numbers are rounded to single precision, in which baselines are stored.
    """
    stages = times[times["stage"].isin(TIME_STAGES) & (times["method"] != "calibration")]
    keys = ["method", "repeat", "block", "item"]
    total = stages.groupby(keys, sort=True)["ms"].sum().reset_index()
    total = total.join(noise.machine(times), on=["repeat", "block"])
    return total.astype(dict.fromkeys(("ms", "calibration_ms", "taken"), np.float32))
