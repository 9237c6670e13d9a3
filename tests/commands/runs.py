"""Run directories that have the files of a run and no numbers."""

from __future__ import annotations

from pathlib import Path

from bench.core.files import seal, start_checksums, write_atomic
from bench.run.manifest import DatasetRecord, Manifest, MethodRecord, ProtocolRecord, write_manifest


def a_run(path: Path, status: str, features: int = 0) -> Path:
    """Write a run of two methods; `features` are the bytes of its features."""
    start_checksums(path)
    for name, size in {"pairs.parquet": 10, "times.parquet": 10, "features/orb/a.npz": features}.items():
        if size:
            write_atomic(path / name, bytes(size))
    methods = {name: MethodRecord(name) for name in ("sift", "orb")}
    records = ProtocolRecord("strict", "0"), DatasetRecord("photos")
    write_manifest(path, Manifest(*records, status=status, started="2026-01-02T03:04:05+00:00", methods=methods))
    seal(path)
    return path
