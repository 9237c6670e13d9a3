"""One run from the runs of all shards of a data set (``dataset.shard``), as if it had been measured at once.

Every column of ``pairs.parquet`` and ``sweep.parquet`` that is no time has the bits of the unsharded run: rows depend
on the pair, the method and the run's seed only. Blocks of extractions are numbered anew, shard after shard, and rows
say in ``session`` under which conditions they were measured where the shards had several.
"""

from __future__ import annotations

import glob
import io
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, ConfigError, StoreError
from bench.core.files import (
    new_name,
    read_bytes,
    read_npz,
    read_parquet,
    seal,
    staged_folder,
    start_checksums,
    write_atomic,
    write_parquet,
)
from bench.core.names import folders_matching, safe_name, to_csv
from bench.core.progress import progress
from bench.run.benchmark import TIME_ORDER, Run, marked, render_with
from bench.run.drawings import draw_run
from bench.run.estimators import summarise_sweep
from bench.run.evaluation import entries
from bench.run.manifest import (
    NAME,
    SCHEMA_VERSION,
    DatasetRecord,
    Manifest,
    MethodRecord,
    ShardRecord,
    WholeRecord,
    write_manifest,
)
from bench.run.recorded import recorded_dataset
from bench.run.store import PAIR_COLUMNS, TIME_COLUMNS, RunStore, finished_manifest
from bench.schema.values import shard_of

_SHOWN = 6
_REASONS = 2
_LIFTED = ("versions", "schema_version", "git", "threads")
"""First words of the keys that may differ with ``allow_mixed``, as in a run that is continued."""


@dataclass(frozen=True)
class Source:
    """The finished run of one shard.

    Attributes
    ----------
    path : Path
    manifest : Manifest
    whole : WholeRecord
        The data set it is part of.
    number, count : int
        The shard.
    """

    path: Path
    manifest: Manifest
    whole: WholeRecord
    number: int
    count: int


def found_runs(patterns: Sequence[str]) -> list[Path]:
    """Run directories of names and patterns such as ``results/shard_*``; each once, in the order given.

    Raises
    ------
    ConfigError
        If a name is no folder, or a pattern matches no run.
    """
    found: dict[Path, Path] = {}
    for text in patterns:
        paths = [Path(text)]
        if not paths[0].is_dir():
            paths = [path for path in sorted(folders_matching(text), key=str) if (path / NAME).is_file()]
            if not paths:
                what = "matches no run" if glob.has_magic(text) else "is no folder"
                raise ConfigError(f"runs: {text} {what}; give run directories, or patterns such as 'results/shard_*'")
        for path in paths:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def merge(
    runs: Sequence[Path],
    target: Path | None = None,
    results: Path = Path("results"),
    allow_mixed: bool = False,
    title: str = "",
    command: Sequence[str] = (),
    keep_features: bool = True,
) -> Run:
    """Make one finished run of those of all shards, and report it.

    Parameters
    ----------
    runs : sequence of Path
        Run directories in any order; nothing in them changes.
    target : Path, optional
        Directory of the merged run, which appears whole when this ends; None: ``<results>/<date_time>``.
    allow_mixed : bool
        Merge shards that were measured with other versions of the code or its libraries; rows say with which.
    command : sequence of str
        What the user typed; stored for the report.
    keep_features : bool
        Copy the stored features, if all shards have theirs.

    Raises
    ------
    StoreError
        If a directory holds no finished run of a shard; the shards are not all of one data set, each once; they differ
        in what decides a number (with the keys); a file is missing or damaged; or `target` exists or cannot be written.
    """
    sources = checked(runs, allow_mixed)
    target = new_name(results) if target is None else target
    if target.exists():
        raise StoreError(f"{target} exists; choose another run_dir")
    with staged_folder(target) as folder:
        manifest, sessions = _manifest(sources, title, command)
        stored = keep_features and all((source.path / "features").is_dir() for source in sources)
        pairs = _tables(sources, manifest, sessions, folder, stored)
        manifest = replace(manifest, rows_written=len(pairs))
        write_manifest(folder, manifest)
        start_checksums(folder, adopt=True)
        drawings = None
        if stored:
            try:
                data = recorded_dataset(folder, manifest, download=False)
                protocol, seed = manifest.protocol_config(), int(manifest.seeds.get("run") or 0)
                drawings = draw_run(data, pairs, entries(manifest), protocol, RunStore(folder), seed)
            except BenchError as error:
                reason = str(error).splitlines()[0].replace(str(folder), str(target))
                manifest = replace(manifest, notes=[*manifest.notes, f"no matches are drawn: {reason}"])
                write_manifest(folder, manifest)
        finished = render_with(folder, drawings)
        seal(folder)
    return replace(finished, path=target, report=target / "report.html")


def checked(runs: Sequence[Path], allow_mixed: bool = False) -> list[Source]:
    """Read the manifests of all shards, in the order of their numbers; see :func:`merge`."""
    sources = [_source(path) for path in runs]
    if not sources:
        raise StoreError("there is nothing to merge; give the run directories of all shards")
    sources.sort(key=lambda source: source.number)
    first = sources[0]
    _refuse_differences(sources, allow_mixed)
    for one, other in itertools.pairwise(sources):
        if one.number == other.number:
            raise StoreError(
                f"shard {one.number}/{one.count} is there twice: {one.path} and {other.path}; leave one out"
            )
    missing = sorted(set(range(1, first.count + 1)) - {source.number for source in sources})
    if missing:
        shown = ", ".join(f"{number}/{first.count}" for number in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise StoreError(f"shards {shown}{more} are missing; run them with dataset.shard={missing[0]}/{first.count}")
    names = [name for source in sources for name in source.manifest.dataset.pairs]
    if sorted(names) != sorted(first.whole.pairs):
        raise StoreError(
            f"the shards have {len(names)} pairs, the data set {len(first.whole.pairs)}, and they are not the same; "
            "repeat the shards with one version of bench"
        )
    return sources


def _source(path: Path) -> Source:
    manifest = finished_manifest(path)
    if manifest.dataset.whole is None:
        raise StoreError(f"{path} is no run of a shard; `bench dataset.shard=1/3` makes one")
    if manifest.schema_version != SCHEMA_VERSION:
        raise StoreError(f"{path} has schema version {manifest.schema_version}, {SCHEMA_VERSION} is needed; repeat it")
    try:
        number, count = shard_of(manifest.dataset.whole.shard)
    except ValueError:
        raise StoreError(f"{path}: {manifest.dataset.whole.shard!r} is no shard; the manifest was changed") from None
    return Source(path, manifest, manifest.dataset.whole, number, count)


def _flat(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}", inner)
    else:
        yield prefix, value


def _decisive(source: Source) -> dict[str, object]:
    """What must be equal in all shards: everything that decides a number of the rows or of their summary."""
    manifest, whole = source.manifest, source.whole
    found: dict[str, object] = {
        "dataset.name": manifest.dataset.name,
        "dataset.digest": whole.digest,
        "dataset.shard": f"one of {source.count}",
        "dataset.pairs": json.dumps(whole.pairs),
        "protocol": f"{manifest.protocol.name} ({manifest.protocol.hash})",
        "methods": ", ".join(manifest.methods),
        "seed": manifest.seeds.get("run"),
        "bootstrap_draws": manifest.config.get("bootstrap_draws"),
        "threads": manifest.threads,
        "git.commit": manifest.git.get("commit"),
    }
    for key in ("latency", "estimator_sweep"):
        found |= _flat(key, manifest.config.get(key, {}))
    for name, method in manifest.methods.items():
        settings = _flat(f"methods.{name}", method.config)
        # Where a model lies is another matter on another host; which one it is, its fingerprint says.
        found |= {key: value for key, value in settings if key.rpartition(".")[2] not in ("path", "threads")}
        for key in ("fingerprint", "precision"):
            found |= _flat(f"methods.{name}.{key}", method.info.get(key, {}))
    for session in manifest.sessions:
        found |= {key: value for key, value in session.items() if key not in ("host", "allocation")}
    return found


def _refuse_differences(sources: Sequence[Source], allow_mixed: bool) -> None:
    first = _decisive(sources[0])
    texts: dict[str, str] = {}
    for source in sources:
        here = _decisive(source)
        for key in sorted({*first, *here}):
            lifted = allow_mixed and key.partition(".")[0] in _LIFTED
            if first.get(key) != here.get(key) and key not in texts and not lifted:
                values = f"{_short(first.get(key))} in {sources[0].path}, {_short(here.get(key))} in {source.path}"
                texts[key] = f"{key} ({values})"
    if not texts:
        return
    shown = "; ".join(list(texts.values())[:_SHOWN])
    more = f"; and {len(texts) - _SHOWN} more keys" if len(texts) > _SHOWN else ""
    mixable = all(key.partition(".")[0] in _LIFTED for key in texts)
    hint = "allow_mixed=true merges them and marks every row" if mixable else "repeat the shards that are wrong"
    raise StoreError(f"the runs are not shards of one run; they differ in {shown}{more}; {hint}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _manifest(sources: Sequence[Source], title: str, command: Sequence[str]) -> tuple[Manifest, list[list[int]]]:
    """The manifest of the merged run, and for each source where its sessions stand in it."""
    first = sources[0].manifest
    whole = sources[0].whole
    sessions: list[dict[str, str]] = []
    places = []
    for source in sources:
        for session in source.manifest.sessions:
            if session not in sessions:
                sessions.append(session)
        places.append([sessions.index(session) for session in source.manifest.sessions])
    hosts = dict.fromkeys(str(source.manifest.host.get("hash")) for source in sources)
    manifests = [source.manifest for source in sources]
    counted = [(source, set(where)) for source, where in zip(sources, places, strict=True)]
    shards = [
        ShardRecord(
            source.whole.shard,
            source.path.resolve().name,
            sorted(where),
            source.manifest.started,
            source.manifest.finished,
            {key: source.manifest.host.get(key) for key in ("hash", "cpu", "usable_cores")},
            source.manifest.noise,
        )
        for source, where in counted
    ]
    notes = dict.fromkeys(note for each in manifests for note in each.notes)
    config = {**first.config, "dataset": {**first.config.get("dataset", {}), "shard": None}, "run_dir": None}
    merged = replace(
        first,
        dataset=DatasetRecord(
            first.dataset.name, whole.digest, whole.note, whole.sequences_expected, whole.pairs_expected, whole.pairs
        ),
        identity={**first.identity, "dataset": whole.digest},
        sessions=sessions,
        title=title or first.title,
        command=list(command),
        started=min((each.started or "" for each in manifests), default=None),
        finished=max((each.finished or "" for each in manifests), default=None),
        config=config,
        methods=_methods(manifests),
        threads=first.threads if len({each.threads for each in manifests}) == 1 else None,
        jobs=max(each.jobs or 1 for each in manifests),
        host=first.host if len(hosts) == 1 else _several_hosts(manifests),
        git={**first.git, "dirty": any(bool(each.git.get("dirty")) for each in manifests)},
        rows_expected=len(first.methods) * len(whole.pairs),
        load_before=None,
        load_after=None,
        died=list(dict.fromkeys(name for each in manifests for name in each.died)),
        notes=list(notes),
        throughput=first.throughput if len(hosts) == 1 else {},
        noise=_noise(sources),
        shards=shards,
    )
    return merged, places


def _methods(manifests: Sequence[Manifest]) -> dict[str, MethodRecord]:
    """Records of the methods: of the first shard, with the most memory and all dropped keypoints of any."""
    found = {}
    for name, method in manifests[0].methods.items():
        every = [each.methods[name].info.get("costs") or {} for each in manifests]
        costs = dict(every[0])
        for key, total in (("peak_memory_mb", max), ("dropped_keypoints", sum)):
            values = [one[key] for one in every if one.get(key) is not None]
            if values:
                costs[key] = total(values)
        found[name] = replace(method, info={**method.info, "costs": costs})
    return found


def _several_hosts(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """What is said of hosts of several classes: nothing that is true of one only."""
    classes = {str(each.host.get("hash")): each.host for each in manifests}
    cpus = dict.fromkeys(str(host.get("cpu") or "unknown") for host in classes.values())
    return {
        "hash": f"{len(classes)} classes: {', '.join(sorted(classes))}",
        "cpu": f"{len(classes)} classes of hosts ({', '.join(cpus)})",
    }


def _noise(sources: Sequence[Source]) -> dict[str, Any]:
    """Noisy if a shard was; the worst of each measure."""
    every = [source.manifest.noise for source in sources]
    found: dict[str, Any] = {}
    for key in dict.fromkeys(name for noise in every for name in noise):
        values = [noise[key] for noise in every if noise.get(key) is not None]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if numbers:
            found[key] = max(numbers, key=abs)
        else:
            found[key] = values[0] if values and all(value == values[0] for value in values) else None
    found["noisy"] = any(bool(noise.get("noisy")) for noise in every)
    reasons = [
        f"shard {source.whole.shard}: {'; '.join(map(str, reasons))}"
        for source in sources
        if (reasons := source.manifest.noise.get("reasons", ()))
    ]
    left = len(reasons) - _REASONS
    found["reasons"] = reasons if left <= 0 else [*reasons[:_REASONS], f"and {left} more shards were disturbed"]
    alone = [noise["alone"] for noise in every if noise.get("alone") is not None]
    if alone:
        found["alone"] = all(alone)
    return found


def _tables(
    sources: Sequence[Source], manifest: Manifest, sessions: Sequence[Sequence[int]], folder: Path, stored: bool
) -> pd.DataFrame:
    """Write parts, features and tables of the merged run; returns its rows of pairs."""
    store = RunStore(folder)
    place = {name: number for number, name in enumerate(manifest.dataset.pairs)}
    sequences: list[tuple[int, Source, str]] = []
    times = []
    offset = 0
    shifted = []
    for source, where in zip(sources, sessions, strict=True):
        rows = sorted((source.path / "parts" / "rows").glob("*.parquet"))
        for path in rows:
            names = read_parquet(path, PAIR_COLUMNS)["pair"]
            sequences.append((min(place[name] for name in names), source, path.stem))
        found = read_parquet(source.path / "times.parquet", TIME_COLUMNS)
        shifted.append(_Shift(offset, tuple(where)))
        blocks = [found["block"].max(), -1]
        times.append(shifted[-1].rows(found))
        offset += int(max(blocks)) + 1
    by_source = {id(source): shift for source, shift in zip(sources, shifted, strict=True)}
    sequences.sort(key=lambda entry: entry[0])
    for number, (_, source, stem) in enumerate(sequences):
        shift = by_source[id(source)]
        name = f"{number:05d}"
        for kind in ("rows", "sweep", "stages"):
            part = source.path / "parts" / kind / f"{stem}.parquet"
            if part.is_file():
                _copy_part(part, store.part(kind, name), shift)
        cards = source.path / "parts" / "cards" / f"{stem}.npz"
        if cards.is_file():
            write_atomic(store.cards_part(name), read_bytes(cards))
    for source, shift in zip(sources, shifted, strict=True):
        for part in sorted((source.path / "parts" / "times").glob("*.parquet")):
            turn, _, block = part.stem.partition("-")
            _copy_part(part, store.part("times", f"{turn}-{int(block) + shift.blocks:06d}"), shift)
        _copy_logs(source, folder)
    if stored:
        _copy_features(sources, shifted, store)
    mixed = len(manifest.sessions) > 1
    pairs = store.read_parts("rows")
    if len(pairs) != manifest.rows_expected:
        raise StoreError(
            f"the shards have {len(pairs)} rows in their folders parts/rows, {manifest.rows_expected} are needed; "
            "restore them from a copy, or repeat the shards"
        )
    pairs = marked(pairs, mixed)
    every = pd.concat(times, ignore_index=True)
    # An image of sequences in several shards was extracted in each; the first is the one that is kept.
    again = every.duplicated(["method", "item", "stage", "repeat"]) & (every["method"] != "calibration")
    every = marked(every[~again].sort_values(TIME_ORDER, kind="stable", ignore_index=True), mixed)
    write_parquet(folder / "pairs.parquet", pairs)
    write_parquet(folder / "times.parquet", every)
    swept = store.read_parts("sweep")
    if len(swept):
        draws, seed = int(manifest.config.get("bootstrap_draws", 2000)), int(manifest.seeds.get("run") or 0)
        table = summarise_sweep(swept, manifest.protocol_config(), draws, seed)
        write_parquet(folder / "sweep.parquet", swept)
        write_atomic(folder / "sweep.csv", to_csv(table, float_format="%.6g").encode())
    return pairs


@dataclass(frozen=True)
class _Shift:
    """Where blocks and sessions of a shard stand in the merged run.

    Attributes
    ----------
    blocks : int
        Added to the numbers of its blocks.
    sessions : tuple of int
        Place of each of its sessions.
    """

    blocks: int
    sessions: tuple[int, ...]

    @property
    def changes_sessions(self) -> bool:
        return self.sessions != tuple(range(len(self.sessions)))

    def session(self, number: int) -> int:
        return self.sessions[number] if 0 <= number < len(self.sessions) else 0

    def rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with the numbers of the merged run."""
        changed = {}
        if "block" in rows and self.blocks:
            changed["block"] = rows["block"].where(rows["block"] < 0, rows["block"] + self.blocks)
        if "session" in rows and self.changes_sessions:
            changed["session"] = rows["session"].fillna(0).astype(np.int64).map(self.session)
        elif "session" not in rows and self.session(0):
            changed["session"] = pd.Series(self.session(0), rows.index)
        return rows.assign(**changed) if changed else rows


def _copy_part(part: Path, target: Path, shift: _Shift) -> None:
    """Copy a part; as it is where no number in it changes."""
    rows = read_parquet(part)
    moved = shift.rows(rows)
    if moved is rows:
        write_atomic(target, read_bytes(part))
    else:
        write_parquet(target, moved)


def _copy_logs(source: Source, folder: Path) -> None:
    logs = source.path / "logs"
    if logs.is_dir():
        shutil.copytree(logs, folder / "logs" / source.whole.shard.replace("/", "of"))


def _copy_features(sources: Sequence[Source], shifts: Sequence[_Shift], store: RunStore) -> None:
    """Copy stored extractions with their place in the merged run.

    Raises
    ------
    StoreError
        If an image of two shards gave other features in one than in the other.
    """
    files = [
        (source, shift, path)
        for source, shift in zip(sources, shifts, strict=True)
        for path in sorted((source.path / "features").rglob("*"))
        if path.is_file()
    ]
    with progress("copy features", len(files)) as step:
        for source, shift, path in files:
            name = path.relative_to(source.path)
            safe_name(name.parts[1], "the method")
            target = store.directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".json":
                content = json.loads(read_bytes(path))
                content["block"] = int(content["block"]) + shift.blocks
                content["session"] = shift.session(int(content.get("session", 0)))
                if not target.exists() and not target.with_suffix(".npz").exists():
                    target.write_text(json.dumps(content, indent=1) + "\n")
            elif path.suffix == ".npz":
                _copy_extraction(path, target, shift)
            step("")


def _copy_extraction(path: Path, target: Path, shift: _Shift) -> None:
    arrays = read_npz(path)
    if target.exists():
        known = read_npz(target)
        for name in sorted({*known, *arrays} - {"position", "times_ms"}):
            if name not in known or name not in arrays or not np.array_equal(known[name], arrays[name], equal_nan=True):
                raise StoreError(
                    f"{path} has other {name} than another shard found in the same image, on another processor "
                    "perhaps; rows of both would be of two kinds. Run shards that share images on one kind of host"
                )
        return
    block, order, *session = map(int, arrays["position"])
    moved = (block + shift.blocks, order, shift.session(sum(session[:1])))
    if moved == (block, order, sum(session[:1])):
        target.write_bytes(read_bytes(path))
        return
    arrays["position"] = np.array(moved, dtype=np.int32)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    target.write_bytes(buffer.getvalue())
