"""What a run's manifest says about its conditions, as sentences and rows.

Keys read from the manifest, all optional; a missing one is left out, never guessed::

    title, command, started, finished, threads, jobs, rows_expected, rows_written, died
    notes         sentences on what happened and lost nothing
    left_out      {name: why this host cannot run it}
    config        resolved configuration (nested mappings)
    protocol      name, version, hash, config (every constant, with title, source, unstated, gt_leak)
    dataset       name, note, digest
    methods       {name: {label, config, info}}; info as bench.core.types.MethodInfo
    host          fingerprint of the machine: cpu, isa, usable_cores, memory_gb, ...
    load_before, load_after, seeds, versions, git
    shards        list of {shard, run, host, noise, ...}: the runs that were merged
    noise         noisy (bool), reasons (list of sentences)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bench.metrics.text import DASH

Manifest = Mapping[str, Any]


def get(manifest: Manifest, *keys: str, default: Any = None) -> Any:
    """Return a nested value, or `default` where a key is missing or its value is None."""
    value: Any = manifest
    for key in keys:
        if not isinstance(value, Mapping) or value.get(key) is None:
            return default
        value = value[key]
    return value


def label(manifest: Manifest, method: str) -> str:
    """Name of a method in tables and plots."""
    return str(get(manifest, "methods", method, "label", default=method))


def precision_label(manifest: Manifest, method: str) -> str:
    """Precision of a method in tables, e.g. ``FP16 weights, f32 compute``."""
    return str(get(info(manifest, method), "precision", "label", default=DASH))


def info(manifest: Manifest, method: str) -> Mapping[str, Any]:
    """What the method's worker reported about itself (the fields of MethodInfo); empty if nothing is known."""
    found = get(manifest, "methods", method, "info", default={})
    return found if isinstance(found, Mapping) else {}


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested mappings as (dotted key, text) rows in their own order."""
    if isinstance(value, Mapping):
        return [
            row for key, inner in value.items() for row in flat(inner, f"{prefix}.{key}" if prefix else str(key))
        ] or ([(prefix, "none")] if prefix else [])
    return [(prefix, text(value))]


def text(value: Any) -> str:
    """Write a manifest value for a reader."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(text(item) for item in value) or "none"
    return str(value)


def short_hashes(fingerprint: Any) -> str:
    """Return the first 12 digits of every hash in a fingerprint, e.g. ``graph 0a1b..., variables 2c3d...``."""
    found = [
        (key.rsplit(".", 1)[-1].removesuffix("_sha256"), value[:12])
        for key, value in flat(fingerprint or {})
        if re.fullmatch(r"[0-9a-f]{40,64}", value)
    ]
    return ", ".join(f"{key} {digits}" for key, digits in found)


def models(manifest: Manifest) -> dict[str, list[str]]:
    """Return {short model hashes: methods that run this model}."""
    groups: dict[str, list[str]] = {}
    for name in get(manifest, "methods", default={}):
        hashes = short_hashes(info(manifest, name).get("fingerprint"))
        if hashes:
            groups.setdefault(hashes, []).append(label(manifest, name))
    return groups


def data_note(manifest: Manifest) -> str:
    """Data set and how much of it was evaluated, e.g. ``hpatches: 3 of 116 sequences, 15 of 580 pairs``."""
    name, note = get(manifest, "dataset", "name"), get(manifest, "dataset", "note")
    return ": ".join(str(part) for part in (name, note) if part)


def protocol_note(manifest: Manifest) -> str:
    """Preset, version and hash, e.g. ``protocol strict v1 (0a1b2c3d4e5f)``."""
    protocol = get(manifest, "protocol", default={})
    if not protocol.get("name"):
        return ""
    version = f" v{protocol['version']}" if protocol.get("version") is not None else ""
    digest = f" ({str(protocol['hash'])[:12]})" if protocol.get("hash") else ""
    return f"protocol {protocol['name']}{version}{digest}"


def jobs_note(manifest: Manifest) -> str:
    """Beside what the times of matching and estimation were measured; empty for one process at a time."""
    jobs = get(manifest, "jobs", default=1)
    return f"{jobs} processes side by side, their times as well" if jobs > 1 else ""


def throughput_note(manifest: Manifest) -> str:
    """How images per second were measured; empty where they were not."""
    found = {name: each for name, each in get(manifest, "throughput", default={}).items() if isinstance(each, Mapping)}
    if not found:
        return ""
    first = next(iter(found.values()))
    how = (
        f" for {text(first['seconds'])} s on images of {text(first['height'])}x{text(first['width'])}"
        if "seconds" in first
        else ""
    )
    counts: dict[str, list[str]] = {}
    for name, each in found.items():
        streams, requests = (round(float(each.get(key, 1))) for key in ("streams", "requests"))
        words = f"{streams} stream{'' if streams == 1 else 's'} and {requests} request{'' if requests == 1 else 's'}"
        counts.setdefault(words, []).append(label(manifest, name))
    several = len(counts) > 1
    groups = (f"{words}{f' ({chr(44).join(names)})' if several else ''}" for words, names in counts.items())
    return f"images/s: throughput hint{how}, network alone, {'; '.join(groups)} in flight"


def host_note(manifest: Manifest) -> str:
    """Processor, cores and threads per method."""
    parts = [str(get(manifest, "host", "cpu", default="")).strip()]
    cores = get(manifest, "host", "usable_cores")
    threads = get(manifest, "threads")
    parts.append(f"{cores} usable core{'' if cores == 1 else 's'}" if cores else "")
    parts.append(f"{threads} thread{'' if threads == 1 else 's'} per method" if threads else "")
    return ", ".join(part for part in parts if part)


def seed_note(manifest: Manifest) -> str:
    """Seed, estimations per pair and bootstrap draws."""
    seed = get(manifest, "seeds", "run")
    repeats = get(manifest, "protocol", "config", "estimator", "repeats")
    draws = get(manifest, "config", "bootstrap_draws")
    parts = (
        f"seed {seed}" if seed is not None else "",
        f"{repeats} estimation{'' if repeats == 1 else 's'} per pair" if repeats else "",
        f"{draws} bootstrap draws" if draws else "",
    )
    return ", ".join(part for part in parts if part)


def warnings(manifest: Manifest) -> list[str]:
    """Return what a reader must know before comparing these numbers with any other."""
    found = []
    if get(manifest, "protocol", "config", "gt_leak", default=False):
        found.append(
            "Ground truth selects keypoints in this protocol (gt_leak): the numbers are higher than a method reaches "
            "without it and compare only with the same protocol."
        )
    unstated = get(manifest, "protocol", "config", "unstated", default=[])
    if unstated:
        found.append(f"Paper-style: the source does not state {'; '.join(map(str, unstated))}.")
    if get(manifest, "noise", "noisy", default=False):
        reasons = "; ".join(str(reason).rstrip(".") for reason in get(manifest, "noise", "reasons", default=[]))
        found.append(f"Noisy run: the intervals of its times are wider by it{f' ({reasons})' if reasons else ''}.")
    died = get(manifest, "died", default=[])
    if died:
        names = ", ".join(label(manifest, str(name)) for name in died)
        found.append(f"The worker of {names} died on some images; the pairs concerned count as failed.")
    found += [f"Note: {note}." for note in get(manifest, "notes", default=[])]
    left_out = get(manifest, "left_out", default={})
    if left_out:
        found.append(f"Not run here: {'; '.join(f'{name}, {why}' for name, why in left_out.items())}.")
    expected, written = get(manifest, "rows_expected"), get(manifest, "rows_written")
    if expected is not None and written is not None and expected != written:
        found.append(f"Incomplete: {written} of {expected} rows.")
    shards = get(manifest, "shards", default=[])
    if shards:
        hosts = {str(get(shard, "host", "hash")) for shard in shards}
        where = "" if len(hosts) == 1 else f" on hosts of {len(hosts)} classes"
        found.append(f"Merged from {len(shards)} shards, each measured as a run of its own{where}.")
    sessions = get(manifest, "sessions", default=[])
    if len(sessions) > 1:
        keys = sorted({key for each in sessions[1:] for key in each if each[key] != sessions[0].get(key)})
        found.append(
            f"Measured under {len(sessions)} conditions that differ in {', '.join(keys)}; rows say under which."
        )
    if get(manifest, "git", "dirty", default=False):
        found.append("The code had uncommitted changes.")
    return found


def short_caption(manifest: Manifest) -> str:
    """Return data set and protocol: what no table or plot goes without where the full conditions stand nearby."""
    note = protocol_note(manifest)
    return " ".join(f"{part}." for part in (data_note(manifest), note[:1].upper() + note[1:]) if part)


def caption(manifest: Manifest, with_models: bool = True) -> str:
    """Return the conditions that belong under every table and plot, as sentences; the models are named by hashes."""
    model = "; ".join(f"{', '.join(names)}: {hashes}" for hashes, names in models(manifest).items())
    host = host_note(manifest)
    others = [
        protocol_note(manifest),
        seed_note(manifest),
        f"host: {host}" if host else "",
        throughput_note(manifest),
        f"models: {model}" if model and with_models else "",
        *warnings(manifest),
    ]
    return " ".join(
        f"{sentence.rstrip('.')}."
        for sentence in (data_note(manifest), *(other[:1].upper() + other[1:] for other in others))
        if sentence
    )
