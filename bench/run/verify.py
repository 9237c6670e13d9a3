"""Whether a finished run is what it was when it was written, and whether its rows follow from its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.errors import DataError, StoreError
from bench.core.files import has_checksums, verify_files
from bench.run.evaluation import entries, evaluate_pairs
from bench.run.manifest import SCHEMA_VERSION, Manifest, conditions
from bench.run.recorded import recorded_dataset
from bench.run.store import Finished, RunStore, open_finished
from bench.timing import host


@dataclass
class Verified:
    """Result of a verification.

    Attributes
    ----------
    wrong : list of str
        What is not right, a sentence each; empty if the run is intact.
    remarks : list of str
        What could not be verified, or does not matter.
    files, pairs : int
        How many files were compared with their checksums, and how many pairs were computed again.
    """

    wrong: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    files: int = 0
    pairs: int = 0


def verify(directory: Path, pairs: int, seed: int) -> Verified:
    """Verify a finished run.

    Parameters
    ----------
    directory : Path
        The run directory.
    pairs : int
        Pairs whose rows are computed again from the stored features, drawn at random.
    seed : int
        Of the draw.

    Raises
    ------
    StoreError
        If `directory` holds no finished run.
    """
    result = Verified()
    if has_checksums(directory):
        result.wrong, unlisted = verify_files(directory)
        result.files = sum(1 for path in directory.rglob("*") if path.is_file()) - len(unlisted) - 1
        result.remarks += [f"{name} was not written by bench" for name in unlisted]
    else:
        result.remarks.append(f"{directory} has no checksums: damage to its files would not be noticed")
    if result.wrong:  # numbers of damaged files are not worth a look
        return result
    found = open_finished(directory)
    result.wrong += _rows(found) + _times(found)
    if pairs and not result.wrong:
        _recompute(found, pairs, seed, result)
    return result


def _rows(found: Finished) -> list[str]:
    """Every method has a row for every pair, once."""
    manifest = found.manifest
    expected = pd.MultiIndex.from_product([list(manifest.methods), manifest.dataset.pairs])
    there = pd.MultiIndex.from_frame(found.pairs[["method", "pair"]])
    wrong = []
    for text, index in (
        ("is missing", expected.difference(there)),
        ("is of no method or pair of the run", there.difference(expected)),
        ("is there twice", there[there.duplicated()]),
    ):
        if len(index):
            method, pair = index[0]
            more = f", and {len(index) - 1} more" if len(index) > 1 else ""
            wrong.append(f"pairs.parquet: the row of {method} on {pair} {text}{more}")
    if manifest.rows_expected is not None and len(found.pairs) != manifest.rows_expected:
        wrong.append(f"pairs.parquet has {len(found.pairs)} rows, {manifest.rows_expected} were expected")
    return wrong


def _times(found: Finished) -> list[str]:
    """Every block of extractions has a calibration time."""
    if found.manifest.schema_version < SCHEMA_VERSION:  # a kill could lose one
        return []
    times = found.times[found.times["block"] >= 0]
    blocks, calibrated = (
        set(map(tuple, rows[["repeat", "block"]].to_numpy().tolist()))
        for rows in (times[times["method"] != "calibration"], times[times["stage"] == "calibration"])
    )
    bare = sorted(blocks - calibrated)
    return [f"times.parquet: block {bare[0][1]} of pass {bare[0][0]} has no calibration time"] if bare else []


def _recompute(found: Finished, pairs: int, seed: int, result: Verified) -> None:
    manifest, store = found.manifest, RunStore(found.path)
    if not store.has_measurements():
        result.remarks.append("rows not computed again: the run did not keep its features")
        return
    try:
        dataset = recorded_dataset(found.path, manifest)
    except (DataError, StoreError) as error:
        result.remarks.append(f"rows not computed again: {error}")
        return
    number = min(pairs, len(dataset.pairs))
    chosen = sorted(np.random.default_rng(seed).choice(len(dataset.pairs), number, replace=False).tolist())
    sample = replace(dataset, pairs=tuple(dataset.pairs[place] for place in chosen))
    run_seed = manifest.seeds.get("run", 0)
    rows = evaluate_pairs(sample, entries(manifest), manifest.protocol_config(), store, run_seed)
    differences = _differences(found.pairs, pd.DataFrame([row.cells() for row in rows]))
    result.pairs = number
    if differences and not _same_conditions(manifest):
        result.remarks.append(
            f"{len(differences)} values differ where they were computed again, under another host or other versions: "
            f"{differences[0]}"
        )
    else:
        result.wrong += differences


def _same_conditions(manifest: Manifest) -> bool:
    """Whether rows are computed again as they were: only times depend on the allocation, and stored features are what
    a device left."""

    def decisive(session: Mapping[str, str]) -> dict[str, str]:
        kept = {key: value for key, value in session.items() if key not in ("schema_version", "allocation")}
        return {key: value for key, value in kept.items() if not key.startswith("device.")}

    now = decisive(conditions(host.fingerprint(), host.versions()))
    return all(decisive(session) == now for session in manifest.sessions)


def _differences(stored: pd.DataFrame, computed: pd.DataFrame) -> list[str]:
    """Values of two tables that are not the same, times left out."""
    found = []
    known = stored.set_index(["method", "pair"])
    columns = [str(name) for name in computed if not str(name).endswith("_ms") and name not in ("method", "pair")]
    for row in computed.to_dict("records"):
        key = (row["method"], row["pair"])
        for name in columns:
            before = known.at[key, name] if name in known else None
            if not _equal(before, row[name]):
                found.append(f"{key[0]} on {key[1]}: {name} is {before!s}, computed again {row[name]!s}")
    return found


def _equal(a: object, b: object) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    x, y = (np.asarray(np.nan if value is None else value, dtype=np.float64) for value in (a, b))
    return x.shape == y.shape and bool(np.array_equal(x, y, equal_nan=True))
