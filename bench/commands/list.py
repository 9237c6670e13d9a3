"""`bench list WHAT`: what there is, one line each."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.core import presets
from bench.core.errors import ConfigError

WHAT = {
    "methods": "methods that can be compared: methods.add=[NAME]",
    "datasets": "image pairs: dataset=NAME",
    "protocols": "how pairs are prepared, matched and judged: protocol=NAME",
    "presets": "every preset of every group: GROUP=NAME",
    "keys": "keys of a run, with what they take and their defaults: KEY=VALUE",
    "metrics": "columns of the tables, with their units",
    "devices": "OpenVINO's devices and the precisions they compute in",
    "runs": "runs in results=FOLDER (default: results)",
}


_NAMES = 32
"""Characters of the first column; a longer name stands on a line of its own in a terminal."""


def main(arguments: Sequence[str]) -> int:
    """Print the list; without arguments, what can be listed.

    Raises
    ------
    ConfigError
        If there is no such list.
    """
    what, *rest = arguments or [""]
    if what and what not in WHAT:
        import difflib

        close = difflib.get_close_matches(what, WHAT, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise ConfigError(f"bench list {what} is not possible{hint} Allowed: {', '.join(WHAT)}")
    results = [word.removeprefix("results=") for word in rest if word.startswith("results=") and what == "runs"]
    if len(results) != len(rest):
        raise ConfigError(f"bench list {' '.join(arguments)} is not possible; allowed: bench list {what}")
    if what == "runs":
        _runs(Path(results[-1] if results else "results"))
        return 0
    if not what:
        print("bench list WHAT, where WHAT is one of:")
    _print(list(_LISTS[what]() if what else WHAT.items()))
    return 0


def _print(rows: Sequence[tuple[str, str]]) -> None:
    """Two columns; the second is wrapped in a terminal, and as long as it needs to be in a pipe."""
    width = min(max(len(name) for name, _ in rows), _NAMES) + 2
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    room = max(columns - width - 1, 20)
    for name, text in rows:
        first, *more = textwrap.wrap(text, room, break_long_words=False) or [""]
        if len(name) > _NAMES and sys.stdout.isatty():
            print(name)
            name = ""
        print(f"{name:<{width}}{first}".rstrip())
        for line in more:
            print(f"{'':<{width}}{line}")


def _group(group: str) -> Iterator[tuple[str, str]]:
    for name in presets.names(group):
        yield name, presets.describe(group, name)


def _presets() -> Iterator[tuple[str, str]]:
    for group in presets.groups():
        for name, text in _group(group):
            yield f"{group}={name}", text


def _keys() -> Iterator[tuple[str, str]]:
    from bench.schema import (
        DATASET_CONFIGS,
        METHOD_CONFIGS,
        LatencyConfig,
        ModelConfig,
        ProtocolConfig,
        RunConfig,
        describe,
    )

    groups: dict[str, list[type[Any]]] = {
        "protocol.": [ProtocolConfig],
        "dataset.": list(DATASET_CONFIGS.values()),
        "model.": [ModelConfig],
        "methods.NAME.": list(METHOD_CONFIGS.values()),
        "latency.": [LatencyConfig],
    }
    filled = tuple(group.partition(".")[0] for group in groups)
    found = list(describe.keys(RunConfig, without=filled))
    for prefix, schemas in groups.items():
        found += [key for schema in schemas for key in describe.keys(schema, prefix)]
    seen: set[str] = set()
    for key in found:
        if key.name not in seen:
            seen.add(key.name)
            meaning = f" {key.meaning}" if key.meaning else ""
            yield f"{key.name}={key.default or '...'}", f"{key.takes}.{meaning}"


def _metrics() -> Iterator[tuple[str, str]]:
    from bench.metrics.columns import columns

    for column in columns().values():
        better = "" if column.better == "neither" else f", {column.better} is better"
        yield column.name, f"{column.definition} ({column.unit}{better})"


def _devices() -> Iterator[tuple[str, str]]:
    from bench.core.errors import BenchError
    from bench.runtimes.openvino import devices

    try:
        found = devices()
    except ImportError as error:
        raise BenchError(f"OpenVINO cannot be imported ({error}); install it: pip install openvino") from error
    for device in found:
        yield (
            device.name,
            f"device={device.name}, {device.full_name}: inference_precision {', '.join(device.hints)}, "
            f"auto is {device.preferred} "
            f"(OpenVINO reports {', '.join(device.capabilities)})",
        )


def _runs(results: Path) -> None:
    """A table of the runs in a folder, the newest last."""
    from bench.report.console import TextColumn, TextSection, print_table

    rows = []
    for path in sorted(results.glob("*/manifest.json")):
        try:
            manifest = json.loads(path.read_bytes())
            methods = list(manifest["methods"])
            protocol, dataset = manifest["protocol"]["name"], _data(manifest)
            status, started = manifest.get("status", manifest.get("kind", "?")), manifest.get("started", "")
        except (OSError, ValueError, KeyError, TypeError):
            methods, protocol, dataset, status, started = [], "", "", "unreadable", ""
        size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        date = str(started)[:16].replace("T", " ")
        rows.append(
            [path.parent.name, str(status), str(dataset), str(protocol), ", ".join(methods), f"{size / 1e6:.0f}", date]
        )
    if not rows:
        print(f"no runs in {results}; `bench` makes one, results=FOLDER looks elsewhere")
        return
    heads = ["run", "status", "data set", "protocol", "methods", "MB", "started (UTC)"]
    # Where the terminal is narrow: without the methods, then without the protocol, then without the size.
    dispensable = {"methods": 3, "protocol": 2, "MB": 1}
    rows.sort(key=lambda row: row[-1])
    columns = [TextColumn(head, head == "MB", dispensable.get(head, 0)) for head in heads]
    print_table(columns, [TextSection(rows)], title=f"Runs in {results}")


def _data(manifest: dict[str, Any]) -> str:
    """Name of a run's data set, and which shard of it, or of how many it was merged."""
    whole, shards = manifest["dataset"].get("whole"), manifest.get("shards")
    if whole:
        return f"{manifest['dataset']['name']} (shard {whole['shard']})"
    return f"{manifest['dataset']['name']} (merged from {len(shards)})" if shards else str(manifest["dataset"]["name"])


_LISTS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "methods": lambda: _group("method"),
    "datasets": lambda: _group("dataset"),
    "protocols": lambda: _group("protocol"),
    "presets": _presets,
    "keys": _keys,
    "metrics": _metrics,
    "devices": _devices,
}
