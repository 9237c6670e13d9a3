"""The decision of `bench recommend`: rounds, rules, test, sentences, and its error by simulation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from bench.stats import bounded_gain
from bench.summary.recommend import (
    Answer,
    Interval,
    Measured,
    Rule,
    State,
    choose,
    final_test,
    recommendation,
    rounds,
    screen,
    walk,
)
from tests.summary.decisions import World, wrong

CODES = np.repeat(np.arange(60), 5)
ONES = np.ones((300, 1))


def losing(sequences: int) -> Any:
    """All pairs of the first sequences lost."""
    return np.where(CODES[:, None] < sequences, 0.0, 1.0)


def test_rounds_double_and_never_judge_a_handful() -> None:
    assert [rounds(n) for n in (1, 7, 12, 24, 40, 116)] == [[1], [7], [6, 12], [6, 12, 24], [10, 20, 40], [29, 58, 116]]


def test_the_rules_prune_in_their_order() -> None:
    values = {"bad": losing(30), "good": ONES, "beaten": losing(12), "slow": losing(1)}
    times = {"bad": 1.0, "good": 2.0, "beaten": 3.0, "slow": 4.0}
    found = screen(values, ONES, CODES, times, 0.1, 0.25)
    assert [(one.name, one.rule, one.by) for one in found] == [
        ("bad", Rule.LOSES, ""),
        ("beaten", Rule.BEATEN, "good"),
        ("slow", Rule.HALVED, ""),
    ]
    assert all(one.n_sequences == 60 for one in found)
    # What is slower than all others is kept where nothing beats it and all may stay.
    assert [one.name for one in screen(values, ONES, CODES, times, 0.1, 1.0)] == ["bad", "beaten"]


def test_the_fastest_that_is_shown_is_chosen_and_the_family_counts() -> None:
    values = {"a": ONES, "b": losing(1), "c": losing(20)}
    times = {"a": 3.0, "b": 2.0, "c": 1.0}
    found = final_test(values, ONES, CODES, 0.1, 3)
    assert {name: one.shown for name, one in found.items()} == {"a": True, "b": True, "c": False}
    assert choose(found, times) == "b"
    # (1 - 0.1)^60 is 0.0018: with 40 compared it is no longer below 0.05.
    assert not final_test({"a": ONES}, ONES, CODES, 0.1, 40)["a"].shown


def test_five_sequences_show_nothing() -> None:
    few = CODES < 5
    found = final_test({"a": ONES[few]}, ONES[few], CODES[few], 0.9, 1)
    assert found["a"].p_loses < 0.05 and not found["a"].shown


def test_pruning_can_only_take_away() -> None:
    """What is chosen with rounds is shown without them, too: so its error is that of the test alone."""
    for trial in range(20):
        world = World([0.0, 0.05, 0.3, 0.3, 0.5], 24, noise=0.1)
        values, reference, codes = world.draw(np.random.default_rng(trial))
        times = {name: float(len(values) - place) for place, name in enumerate(values)}
        chosen, _, _ = walk(values, reference, codes, times, 0.3, 0.5, draws=2000)
        full = final_test(values, reference, codes, 0.3, len(values), draws=2000)
        assert chosen is None or full[chosen].shown


def test_a_candidate_that_loses_the_margin_is_rarely_shipped() -> None:
    """At the boundary, fastest, half of the losses in whole sequences; at length: tests/benchmarks/recommend.py."""
    trials = 60
    made, lost, _ = wrong(World([0.301, 0.301, 0.0, 0.0], 30), 0.3, trials)
    assert lost <= 0.05 * trials + 2 * math.sqrt(0.05 * 0.95 * trials)
    assert made >= trials / 3  # and it does recommend where something good is there


def measured(name: str, ms: float, state: State, values: Any = None, **changes: Any) -> Measured:
    gain = None if values is None else bounded_gain(values, ONES, CODES)
    row = Measured(
        name,
        name,
        "480",
        1000,
        2,
        f"{name} at 480x640, 1000 keypoints, 2 threads",
        name,
        latency_ms=Interval(ms, 0.9 * ms, 1.1 * ms),
        speedup=Interval(200 / ms, 180 / ms, 220 / ms),
        memory_mb=500.0,
        gain=gain,
        n_sequences=60,
        state=state,
    )
    return replace(row, **changes)


TF = measured("tf", 200, State.REFERENCE)


def said(*rows: Measured, margin: float = 0.1, n: int = 60, **more: Any) -> tuple[Answer, str]:
    found = recommendation([TF, *rows], "accuracy at 3 px", margin, 3, n, **more)
    return found.answer, " ".join(found.sentences)


def test_ship() -> None:
    answer, text = said(
        measured("bf16", 40, State.SHOWN, losing(1)),
        measured("fp32", 150, State.SHOWN, ONES),
        measured("int8", 20, State.LOSES, losing(30)),
    )
    assert answer is Answer.SHIP
    assert text.startswith(
        "Ship bf16 at 480x640, 1000 keypoints, 2 threads: 40 [36, 44] ms, 5.00× [4.50×, 5.50×] as fast as tf at "
        "480x640, 1000 keypoints, 2 threads, 500 MB; accuracy at 3 px non-inferior by 0.1 (difference -0.017 ["
    )
    assert "The next faster one, int8 at 480x640, 1000 keypoints, 2 threads, loses 0.500 [" in text


def test_not_enough_evidence_says_what_would_be() -> None:
    answer, text = said(measured("bf16", 40, State.UNDECIDED, ONES), margin=0.02)
    assert answer is Answer.NOT_ENOUGH_EVIDENCE
    assert "60 sequences do not rule out that it loses 0.02 or more" in text
    needed = math.log(0.05 / 3) / math.log(0.98)
    assert f"about {60 * math.ceil(needed / 60)} sequences like these" in text
    assert "margin=0.07 and above" in text  # 1 - (0.05 / 3)^(1/60) = 0.066


def test_too_few_sequences() -> None:
    answer, text = said(measured("bf16", 40, State.UNDECIDED, ONES), n=4)
    assert answer is Answer.NOT_ENOUGH_EVIDENCE
    assert "4 sequences, at least 6 are needed" in text and "margin=" not in text


def test_a_noisy_host_is_said() -> None:
    answer, text = said(
        measured("bf16", 190, State.LEFT_OUT, why="not shown to be faster than the reference"),
        noise=["other processes took 40 % of the time"],
    )
    assert answer is Answer.NOT_ENOUGH_EVIDENCE
    assert text == (
        "Not enough evidence: none of 1 configurations is shown to be faster than tf at 480x640, 1000 keypoints, 2 "
        "threads. Noisy host, its times have wider intervals: other processes took 40 % of the time."
    )


def test_keep_where_all_lose() -> None:
    pruned = measured("int8", 20, State.PRUNED, losing(40), why="loses more than 0.1")
    answer, text = said(measured("bf16", 40, State.LOSES, losing(30)), pruned)
    assert answer is Answer.KEEP
    assert text.startswith(
        "Keep tf at 480x640, 1000 keypoints, 2 threads: each of 2 faster configurations loses more than"
    )
    assert "nearest is bf16" in text


def test_limits() -> None:
    slow = measured("bf16", 40, State.LEFT_OUT, why="above")
    answer, text = said(slow, limits=(10.0, None))
    assert answer is Answer.LIMITS_NOT_MET
    assert text == (
        "No configuration meets the limits. Nearest is bf16 at 480x640, 1000 keypoints, 2 threads: 40 [36, 44] ms is "
        "above limits.latency_ms=10."
    )
    answer, text = said(measured("bf16", 40, State.LEFT_OUT), limits=(42.0, 400.0))
    assert (
        "40 [36, 44] ms is not shown to be at most limits.latency_ms=42 and 500 MB is above limits.memory_mb=400"
        in text
    )
    answer, text = said(measured("bf16", 40, State.LOSES, losing(30)), limits=(50.0, None))
    assert answer is Answer.LIMITS_NOT_MET
    assert text.startswith("No configuration meets the limits and the margin: each of 1 faster")
