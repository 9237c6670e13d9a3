"""The run directory. Every file is written to a temporary name and renamed, so a killed run leaves whole files only.

Layout::

    manifest.json                       configuration, seeds, versions, host, methods, counts
    pairs.parquet  times.parquet        written at the end from the parts below
    features/<method>/<image key>.npz   features and stage times of the evaluated extraction
    features/<method>/<image key>.json  reason, where the extraction failed
    parts/rows/<sequence>.parquet       finished sequences
    parts/times/<pass>-<block>.parquet  finished blocks of later timing passes
    logs/<method>.log                   output of the worker process
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import FeatureError, StoreError
from bench.core.files import read_json, read_parquet, write_atomic, write_json
from bench.core.names import safe_key, safe_name
from bench.core.types import Features, Size, StageTimes
from bench.metrics.columns import current

SCHEMA_VERSION = 1
_TIME_FIELDS = ("preprocess_ms", "infer_ms", "decode_ms")


@dataclass(frozen=True, slots=True)
class Extraction:
    """Features of one image by one method, or the reason why there are none."""

    features: Features | None
    times: StageTimes | None
    block: int
    order: int
    failure: str | None = None


class RunStore:
    """Reads and writes one run directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def _feature_path(self, method: str, key: str) -> Path:
        method, key = safe_name(method, "the method"), safe_key(key, "the image")
        return self.directory / "features" / method / f"{key}.npz"

    def has_extraction(self, method: str, key: str) -> bool:
        path = self._feature_path(method, key)
        return path.is_file() or path.with_suffix(".json").is_file()

    def has_measurements(self) -> bool:
        """Whether anything was extracted or timed."""
        return any(any((self.directory / name).rglob("*.*")) for name in ("features", "parts"))

    def write_extraction(self, method: str, key: str, extraction: Extraction) -> None:
        path = self._feature_path(method, key)
        position = {"block": extraction.block, "order": extraction.order}
        if extraction.features is None:
            write_json(path.with_suffix(".json"), {"failure": extraction.failure, **position})
            return
        assert extraction.times is not None
        features = extraction.features
        arrays: dict[str, Any] = {
            "keypoints": features.keypoints,
            "scores": features.scores,
            "size": np.array([features.size.height, features.size.width], dtype=np.int32),
            "times_ms": np.array([getattr(extraction.times, name) for name in _TIME_FIELDS]),
            "position": np.array([extraction.block, extraction.order], dtype=np.int32),
        }
        if features.descriptors is not None:
            arrays["descriptors"] = features.descriptors
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomic(path, buffer.getvalue())

    def read_extraction(self, method: str, key: str) -> Extraction:
        """Read what `write_extraction` wrote.

        Raises
        ------
        StoreError
            If it is missing or damaged.
        """
        path = self._feature_path(method, key)
        if path.with_suffix(".json").is_file():
            content = read_json(path.with_suffix(".json"))
            return Extraction(None, None, content["block"], content["order"], content["failure"])
        try:
            with np.load(path, allow_pickle=False) as arrays:
                features = Features(
                    arrays["keypoints"],
                    arrays["scores"],
                    arrays.get("descriptors"),
                    Size(*map(int, arrays["size"])),
                )
                times = StageTimes(*map(float, arrays["times_ms"]))
                block, order = map(int, arrays["position"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, FeatureError) as error:
            raise StoreError(f"cannot read {path}: {error}; delete it and start the run again to rebuild it") from error
        return Extraction(features, times, block, order)

    def drop_features(self) -> None:
        """Delete all stored features (``keep_features=false``)."""
        for path in sorted((self.directory / "features").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def part(self, kind: str, name: str) -> Path:
        """Path of a finished part; `kind` is ``rows`` or ``times``."""
        return self.directory / "parts" / kind / f"{safe_name(name, 'the part')}.parquet"

    def read_parts(self, kind: str) -> pd.DataFrame:
        """Concatenate all finished parts of a kind in name order; empty if there are none."""
        frames = [current(read_parquet(path)) for path in sorted((self.directory / "parts" / kind).glob("*.parquet"))]
        frames = [frame for frame in frames if len(frame)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    @property
    def manifest_path(self) -> Path:
        return self.directory / "manifest.json"

    def open(self, identity: Mapping[str, object]) -> bool:
        """Create the directory, or continue it if it was made for the same `identity`.

        Returns
        -------
        bool
            True if an earlier run is continued.

        Raises
        ------
        StoreError
            If the directory holds a run of another configuration or data set, holds other files, or cannot be written.
        """
        if self.manifest_path.is_file():
            found = read_json(self.manifest_path).get("identity", {})
            changed = sorted(key for key in {*identity, *found} if identity.get(key) != found.get(key))
            if changed:
                raise StoreError(
                    f"{self.directory} holds a run that differs in {', '.join(changed)}; "
                    "leave run_dir out to start a new run, or repeat the command that started this one"
                )
            return True
        try:
            occupied = self.directory.is_dir() and any(self.directory.iterdir())
        except OSError as error:
            raise StoreError(f"cannot read {self.directory}: {error.strerror}") from error
        if occupied:
            raise StoreError(f"{self.directory} is not empty and holds no run; choose another run_dir")
        write_json(
            self.manifest_path, {"schema_version": SCHEMA_VERSION, "status": "running", "identity": dict(identity)}
        )
        return False
