"""Numbers that others published, with where they come from and how far they can be trusted.

The files lie in ``results/published/*.csv``; ``results/published/README.md`` describes their columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import DataError
from bench.core.frames import records
from bench.core.resources import resource
from bench.metrics.columns import column
from bench.schema import ProtocolConfig
from bench.schema.identity import protocol_hash
from bench.schema.presets import preset, preset_names

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "source",
    "where",
    "commit_or_table",
    "protocol",
    "dataset",
    "split",
    "method",
    "metric",
    "value",
    "unit",
    "status",
    "note",
)
STATUSES = ("verified", "secondary", "disputed", "stale", "inconsistent", "other_weights")
SPLITS = ("all", "i", "v")
COMPARISON = ("source", "method", "split", "metric", "published", "ours", "difference", "low", "high", "status")

_PAIRS = {"all": 580, "no_large": 540, "i": 285, "v": 295}
"""Pairs of complete HPatches by the protocol's sequence set."""


def load(folder: Path | None = None) -> pd.DataFrame:
    """Read and check every file of published numbers.

    Parameters
    ----------
    folder : Path, optional
        None: the files that ship with the package.

    Returns
    -------
    DataFrame
        With :data:`COLUMNS`; ``value`` is float64, the others are text.

    Raises
    ------
    DataError
        With file and row, if a column, status, split, metric or value is not possible.
    """
    import pandas as pd

    folder = folder or resource("published")
    frames = []
    for path in sorted(folder.glob("*.csv")):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if tuple(frame.columns) != COLUMNS:
            raise DataError(f"{path}: the columns must be {', '.join(COLUMNS)}; found {', '.join(frame.columns)}")
        for number, row in enumerate(records(frame), start=2):
            where = f"{path}, line {number}"
            for key, allowed in (("status", STATUSES), ("split", SPLITS)):
                if row[key] not in allowed:
                    raise DataError(f"{where}: {key}={row[key]!r} is not possible; allowed: {', '.join(allowed)}")
            try:
                unit = column(row["metric"]).unit
                number_found = float(row["value"])
            except (KeyError, ValueError) as error:
                raise DataError(f"{where}: {error}") from error
            if row["unit"] != unit:
                raise DataError(f"{where}: the unit of {row['metric']} is {unit}, not {row['unit']!r}")
            if unit == "share" and not 0 <= number_found <= 1:
                raise DataError(f"{where}: {row['metric']}={row['value']} is no share between 0 and 1")
            if not all(row[key] for key in ("source", "where", "commit_or_table", "protocol", "dataset", "method")):
                raise DataError(f"{where}: source, where, commit_or_table, protocol, dataset and method must be given")
        frames.append(frame.assign(value=frame["value"].astype(float)))
    if not frames:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(frames, ignore_index=True)


def family(method: str) -> str:
    """Published name of a method: every variant of SuperPoint (``superpoint_ov_fp16``) is ``superpoint``."""
    for name in ("superpoint", "magicpoint"):
        if method == name or method.startswith(f"{name}_"):
            return name
    return method


def compare(table: pd.DataFrame, manifest: Mapping[str, Any], protocol: ProtocolConfig) -> pd.DataFrame | None:
    """Put published numbers beside ours where, and only where, preset and data set are the same.

    Parameters
    ----------
    table : DataFrame
        ``Summary.table``.
    manifest : mapping
        Its ``dataset`` and ``protocol`` are read: the data set must be complete and the protocol an unchanged preset.
    protocol : ProtocolConfig

    Returns
    -------
    DataFrame or None
        With :data:`COMPARISON`; difference is ours minus theirs, its interval is that of ours. None: nothing fits.
    """
    import pandas as pd

    data = manifest.get("dataset", {})
    complete = len(data.get("pairs", ())) == _PAIRS[protocol.subset]
    if data.get("name") != "hpatches" or not complete or protocol.name not in preset_names():
        return None
    if protocol_hash(preset(protocol.name)) != protocol_hash(protocol):
        return None
    known = load()
    known = known[(known["protocol"] == protocol.name) & (known["dataset"] == data["name"])]
    rows = []
    for ours in records(table):
        fits = (known["method"] == family(str(ours["method"]))) & (known["metric"] == ours["metric"])
        for theirs in records(known[fits & (known["split"] == ours["split"])]):
            size, low, high = (float(ours[key]) - theirs["value"] for key in ("value", "low", "high"))
            cells = (
                theirs["source"],
                ours["method"],
                ours["split"],
                ours["metric"],
                theirs["value"],
                ours["value"],
                size,
                low,
                high,
                theirs["status"],
            )
            rows.append(dict(zip(COMPARISON, cells, strict=True)))
    return pd.DataFrame(rows, columns=list(COMPARISON)) if rows else None
