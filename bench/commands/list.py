"""`bench list WHAT`: what there is, one line each."""

from __future__ import annotations

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
    "runs": "runs in results=FOLDER (default: results): finished, unfinished, damaged, running; their size",
    "cache": "what is in the cache of this machine (BENCH_CACHE, or cache=FOLDER), by kind, with sizes",
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
    key = {"runs": "results=", "cache": "cache="}.get(what, "")
    folders = [word.removeprefix(key) for word in rest if key and word.startswith(key)]
    if len(folders) != len(rest):
        extra = f" [{key}FOLDER]" if key else ""
        raise ConfigError(f"bench list {' '.join(arguments)} is not possible; allowed: bench list {what}{extra}")
    if what == "runs":
        _runs(Path(folders[-1] if folders else "results"))
        return 0
    if what == "cache":
        from bench.core.resources import cache_folder

        _cache(Path(folders[-1]) if folders else cache_folder())
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
    """A table of the runs in a folder, and in the multiruns there, the newest last."""
    from bench.report.console import TextColumn, TextSection, print_table
    from bench.run.inventory import megabytes, runs_in

    found = runs_in(results)
    if not found:
        print(f"no runs in {results}; `bench` makes one, results=FOLDER looks elsewhere")
        return
    rows = []
    for each in found:
        status = f"{each.status} ({each.process})" if each.process else each.status
        size = megabytes(each.size)
        rows.append([each.name, status, each.dataset, each.protocol, ", ".join(each.methods), size, each.date])
    heads = ["run", "status", "data set", "protocol", "methods", "MB", "started (UTC)"]
    # Where the terminal is narrow: without the methods, then without the protocol, then without the size.
    dispensable = {"methods": 3, "protocol": 2, "MB": 1}
    columns = [TextColumn(head, head == "MB", dispensable.get(head, 0)) for head in heads]
    print_table(columns, [TextSection(rows)], title=f"Runs in {results}")


def _cache(folder: Path) -> None:
    """A table of what is in the cache, and what each kind takes together."""
    from bench.report.console import TextColumn, TextSection, print_table
    from bench.run.inventory import cache_entries, megabytes

    found = list(cache_entries(folder))
    if not found:
        print(f"nothing in the cache {folder}; BENCH_CACHE=FOLDER or cache=FOLDER is another")
        return
    kinds = dict.fromkeys(each.kind for each in found)
    columns = [TextColumn(head, head == "MB", 0) for head in ("entry", "MB", "changed (UTC)")]
    sections = [
        TextSection(
            [[each.path.name, megabytes(each.size), each.changed] for each in found if each.kind == kind],
            f"{kind}: {megabytes(sum(each.size for each in found if each.kind == kind))} MB",
        )
        for kind in kinds
    ]
    total = megabytes(sum(each.size for each in found))
    print_table(columns, sections, title="Cache")
    print(f"{folder}: {total} MB; `bench clean what=[cache]` deletes it")


_LISTS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "methods": lambda: _group("method"),
    "datasets": lambda: _group("dataset"),
    "protocols": lambda: _group("protocol"),
    "presets": _presets,
    "keys": _keys,
    "metrics": _metrics,
    "devices": _devices,
}
