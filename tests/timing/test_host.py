"""The host description: complete, stable, JSON."""

from __future__ import annotations

import json

from bench.timing import host


def test_the_fingerprint_is_stable_and_names_the_processor() -> None:
    first, second = host.fingerprint(), host.fingerprint()
    assert first["hash"] == second["hash"]
    assert first["cpu"]
    assert first["usable_cores"] == host.available_cpus() >= 1  # type: ignore[comparison-overlap]
    json.dumps(first)


def test_threads_are_taken_as_asked_or_from_the_machine() -> None:
    assert host.resolve_threads(3) == 3
    assert 1 <= host.resolve_threads(0) <= 8


def test_versions_name_what_results_depend_on() -> None:
    assert {"numpy", "tensorflow", "openvino"} <= host.versions().keys()
