"""Which configuration to ship: pruning by rules fixed before, one test at the end, one sentence.

A *candidate* is a set of outputs: a method at an image size and a keypoint budget. Threads change times and not
outputs, so several configurations may share one candidate.

1. *Time.* Configurations that are not shown to meet the limits, or not shown to be faster than the reference, are left
   out before any accuracy is looked at. What is left is the family of the test.
2. *Rounds.* Sequences are added in a seeded order: a quarter, half, all. After each round but the last candidates are
   pruned by three rules in this order: shown to lose more than the margin; beaten by one that is not slower; not in the
   better part (successive halving).
3. *Test.* On all sequences, those of the rounds included: "loses the margin or more" is to be refuted, with Holm's
   adjustment over the whole family, the pruned included.

Why the sequences of the rounds may be used again: a candidate is recommended only if its test on all sequences refutes,
and that test does not know of rounds. Pruning takes candidates away, never in, and those it takes count as not refuted,
which makes Holm's adjustment of the others larger. So the probability of recommending any candidate that loses the
margin is at most what it is without pruning, `ALPHA`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from bench.stats import DRAWS, BoundedGain, bounded_gain, holm, sequences_needed
from bench.summary.verdict import MIN_SEQUENCES

Floats = NDArray[np.float64]
ALPHA = 0.05


class Rule(StrEnum):
    """Why a candidate was pruned."""

    LOSES = "loses"
    BEATEN = "beaten"
    HALVED = "halved"


class Answer(StrEnum):
    """What a recommendation amounts to."""

    SHIP = "ship"
    KEEP = "keep"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"
    LIMITS_NOT_MET = "limits_not_met"


@dataclass(frozen=True, slots=True)
class Pruned:
    """A candidate that a round took away.

    Attributes
    ----------
    name : str
    rule : Rule
    n_sequences : int
        Seen until then.
    gain : BoundedGain
        Over the reference on those.
    by : str
        Of a beaten one: the candidate that is better and not slower.
    """

    name: str
    rule: Rule
    n_sequences: int
    gain: BoundedGain
    by: str = ""


def rounds(n_sequences: int) -> list[int]:
    """Sequences seen at the end of each round: a quarter, half and all, none below :data:`MIN_SEQUENCES`.

    Examples
    --------
    >>> rounds(7), rounds(13), rounds(116)
    ([7], [7, 13], [29, 58, 116])
    """
    steps = (math.ceil(n_sequences / 4), math.ceil(n_sequences / 2))
    return [*(step for step in steps if step >= MIN_SEQUENCES), n_sequences]


def screen(
    values: Mapping[str, Floats],
    reference: Floats,
    codes: NDArray[np.int64],
    times_ms: Mapping[str, float],
    margin: float,
    keep: float,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Pruned]:
    """Apply the three rules after a round.

    Parameters
    ----------
    values : mapping of (N, R) float64
        Candidate -> shares of the pairs seen so far, in [0, 1], higher is better.
    reference : (N, R) float64
        Of the reference on the same pairs.
    codes : (N,) int64
        Sequence of each pair.
    times_ms : mapping
        Candidate -> time of its fastest configuration.
    margin : float
    keep : float
        Part of the candidates that the third rule keeps.
    seed, draws : int
        Of :func:`bench.stats.bounded_gain`.
    """
    n = len(np.unique(codes))
    gains = {name: bounded_gain(own, reference, codes, draws, seed) for name, own in values.items()}
    left = dict(gains)
    pruned = []
    for name in list(left):
        if gains[name].p_holds(margin) <= ALPHA:
            pruned.append(Pruned(name, Rule.LOSES, n, left.pop(name)))
    for name in sorted(left, key=lambda name: (-times_ms[name], name)):
        better = (
            other
            for other in sorted(left, key=lambda other: (times_ms[other], other))
            if other != name
            and times_ms[other] <= times_ms[name]
            and gains[other].value > gains[name].value
            and bounded_gain(values[other], values[name], codes, draws, seed).p_loses(0.0) <= ALPHA / 2
        )
        if (by := next(better, None)) is not None:
            pruned.append(Pruned(name, Rule.BEATEN, n, left.pop(name), by))

    def rank(name: str) -> tuple[bool, float, str]:
        within = gains[name].value >= -margin
        return not within, times_ms[name] if within else -gains[name].value, name

    kept = sorted(left, key=rank)[: max(1, math.ceil(keep * len(gains)))]
    pruned += [Pruned(name, Rule.HALVED, n, left[name]) for name in left if name not in kept]
    return pruned


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate in the final test.

    Attributes
    ----------
    name : str
    gain : BoundedGain
        Over the reference on all sequences.
    p_loses : float
        Of "loses the margin or more", Holm's over the family.
    p_holds : float
        Of "loses the margin or less", for this candidate alone.
    shown : bool
        Non-inferior by the margin.
    """

    name: str
    gain: BoundedGain
    p_loses: float
    p_holds: float
    shown: bool


def final_test(
    values: Mapping[str, Floats],
    reference: Floats,
    codes: NDArray[np.int64],
    margin: float,
    family: int,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Judged]:
    """Test the candidates that are left on all sequences.

    Non-inferior means: Holm's adjusted p-value is at most :data:`ALPHA`, and the 95 % interval lies above -margin, so
    that no sentence says more than the interval beside it. Below :data:`MIN_SEQUENCES` nothing is.

    Parameters
    ----------
    values, reference, codes, margin, seed, draws
        As for :func:`screen`.
    family : int
        Candidates whose accuracy was looked at in any round; the pruned count as not refuted.
    """
    gains = {name: bounded_gain(own, reference, codes, draws, seed) for name, own in values.items()}
    adjusted = holm([gain.p_loses(margin) for gain in gains.values()], family)
    enough = len(np.unique(codes)) >= MIN_SEQUENCES
    return {
        name: Judged(
            name,
            gain,
            float(p),
            gain.p_holds(margin),
            enough and bool(p <= ALPHA) and gain.limits(1 - ALPHA)[0] > -margin,
        )
        for (name, gain), p in zip(gains.items(), adjusted, strict=True)
    }


def choose(tested: Mapping[str, Judged], times_ms: Mapping[str, float]) -> str | None:
    """The fastest candidate that is shown to be non-inferior; None without one."""
    shown = [name for name, one in tested.items() if one.shown]
    return min(shown, key=lambda name: (times_ms[name], name), default=None)


def walk(
    values: Mapping[str, Floats],
    reference: Floats,
    codes: NDArray[np.int64],
    times_ms: Mapping[str, float],
    margin: float,
    keep: float = 0.5,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[str | None, dict[str, Judged], list[Pruned]]:
    """All rounds and the test on values that are already there; sequences are taken in the order of their codes.

    Returns
    -------
    chosen : str or None
    tested : dict
    pruned : list of Pruned
    """
    alive, pruned = dict(values), list[Pruned]()
    order = np.unique(codes)
    for seen in rounds(len(order))[:-1]:
        part = codes < order[seen]
        found = screen(
            {name: own[part] for name, own in alive.items()},
            reference[part],
            codes[part],
            times_ms,
            margin,
            keep,
            seed,
            draws,
        )
        pruned += found
        alive = {name: own for name, own in alive.items() if name not in {one.name for one in found}}
    tested = final_test(alive, reference, codes, margin, len(values), seed, draws)
    return choose(tested, times_ms), tested, pruned


class State(StrEnum):
    """Where a configuration ended."""

    REFERENCE = "reference"
    SHOWN = "non-inferior"
    UNDECIDED = "not shown"
    LOSES = "loses more"
    PRUNED = "pruned"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval; NaN where there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True)
class Measured:
    """All that is known of one configuration.

    Attributes
    ----------
    name, method, size, max_keypoints, threads
        `size` as in the grid.
    label : str
        In sentences, such as ``superpoint_ov_bf16 at 480x640, 1000 keypoints, 2 threads``.
    candidate : str
        Whose rows are its accuracy.
    latency_ms, speedup : Interval
        Median time per image; as many times as fast as the reference.
    memory_mb : float
        Peak of the process.
    accuracy : Interval
    gain : BoundedGain or None
        Over the reference, on `n_sequences`.
    p_loses : float
        Of the final test, adjusted.
    state : State
    why : str
        Of those pruned or left out, with what was seen until then.
    """

    name: str
    method: str
    size: str
    max_keypoints: int
    threads: int
    label: str
    candidate: str
    precision: str = ""
    latency_ms: Interval = field(default_factory=Interval)
    speedup: Interval = field(default_factory=Interval)
    memory_mb: float = math.nan
    accuracy: Interval = field(default_factory=Interval)
    gain: BoundedGain | None = None
    n_sequences: int = 0
    n_pairs: int = 0
    p_loses: float = math.nan
    state: State = State.UNDECIDED
    why: str = ""


def beyond_limits(one: Measured, latency_ms: float | None, memory_mb: float | None) -> str:
    """Why a configuration is not shown to meet the limits; empty where it is."""
    found = []
    if latency_ms is not None:
        high = one.latency_ms.value if math.isnan(one.latency_ms.high) else one.latency_ms.high
        if not high <= latency_ms:
            verb = "is above" if one.latency_ms.value > latency_ms else "is not shown to be at most"
            found.append(f"{_interval(one.latency_ms)} ms {verb} limits.latency_ms={latency_ms:g}")
    if memory_mb is not None and not one.memory_mb <= memory_mb:
        found.append(f"{one.memory_mb:.0f} MB is above limits.memory_mb={memory_mb:g}")
    return " and ".join(found)


def excess(one: Measured, latency_ms: float | None, memory_mb: float | None) -> float:
    """How far a configuration is from the limits: the largest ratio of a value to its limit."""
    ratios = [0.0]
    if latency_ms is not None:
        ratios.append(np.nanmax([one.latency_ms.value, one.latency_ms.high]) / latency_ms)
    if memory_mb is not None:
        ratios.append(one.memory_mb / memory_mb)
    return float(max(ratios))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer, the configuration it names (of not enough evidence: the nearest), and the sentences that say it."""

    answer: Answer
    chosen: str | None
    sentences: tuple[str, ...]


def recommendation(
    measured: Sequence[Measured],
    metric: str,
    margin: float,
    family: int,
    n_sequences: int,
    limits: tuple[float | None, float | None] = (None, None),
    noise: Sequence[str] = (),
) -> Recommendation:
    """Put what was found in words.

    Parameters
    ----------
    measured : sequence of Measured
        Every configuration, the reference among them.
    metric : str
        As it reads: ``accuracy at 3 px``.
    margin : float
    family : int
        Candidates of the final test, the pruned included.
    n_sequences : int
        Of the data set.
    limits : (float or None, float or None)
        ``latency_ms``, ``memory_mb``.
    noise : sequence of str
        Why the host was not quiet.
    """
    (reference,) = (one for one in measured if one.state is State.REFERENCE)
    reference_meets = not beyond_limits(reference, *limits)
    tail = [f"Noisy host, its times have wider intervals: {'; '.join(noise)}."] if noise else []
    shown = sorted((one for one in measured if one.state is State.SHOWN), key=_speed)
    if shown:
        best = shown[0]
        said = [
            f"Ship {best.label}: {_interval(best.latency_ms)} ms, {_times_as_fast(best)} as fast as {reference.label}, "
            f"{best.memory_mb:.0f} MB; {metric} non-inferior by {margin:g} (difference {_gain(best)}, {n_sequences} "
            f"sequences)."
        ]
        faster = sorted((one for one in measured if _failed(one) and _speed(one) < _speed(best)), key=_speed)
        if faster:
            said.append(f"The next faster one, {_why_not(faster[-1], margin)}.")
        return Recommendation(Answer.SHIP, best.name, (*said, *tail))
    timed = [one for one in measured if not math.isnan(one.latency_ms.value)]
    if not reference_meets and all(beyond_limits(one, *limits) for one in timed):
        near = min(timed, key=lambda one: (excess(one, *limits), one.name))
        text = f"No configuration meets the limits. Nearest is {near.label}: {beyond_limits(near, *limits)}."
        return Recommendation(Answer.LIMITS_NOT_MET, near.name, (text, *tail))
    failed = [one for one in measured if _failed(one)]
    if not failed:
        n = sum(one.state is State.LEFT_OUT for one in measured)
        text = f"Not enough evidence: none of {n} configurations is shown to be faster than {reference.label}."
        return Recommendation(Answer.NOT_ENOUGH_EVIDENCE, reference.name, (text, *_over(reference, limits), *tail))
    if all(one.state is State.LOSES or (one.state is State.PRUNED and _lost(one, margin)) for one in failed):
        near = max(failed, key=lambda one: (one.gain.value if one.gain else -math.inf, one.name))
        each = (
            f"each of {len(failed)} faster configurations loses more than {margin:g} in "
            f"{metric}; nearest is {_why_not(near, margin)}."
        )
        if over := _over(reference, limits):
            text = f"No configuration meets the limits and the margin: {each}"
            return Recommendation(Answer.LIMITS_NOT_MET, near.name, (text, *over, *tail))
        return Recommendation(Answer.KEEP, reference.name, (f"Keep {reference.label}: {each}", *tail))
    open_ones = [one for one in failed if one.gain is not None and one.state is State.UNDECIDED]
    near = min(open_ones or failed, key=lambda one: (one.gain is None or one.gain.value < -margin, *_speed_name(one)))
    missing = _missing(n_sequences, margin)
    said = [f"Not enough evidence to ship anything faster than {reference.label}: {missing}."]
    said.append(f"Nearest is {near.label}: {_times_as_fast(near)} as fast, difference in {metric} {_gain(near)}.")
    said += _over(reference, limits)
    if near.gain is not None and n_sequences >= MIN_SEQUENCES and near.gain.value > -margin:
        alpha = min(ALPHA / max(family, 1), ALPHA / 2)
        decided = -near.gain.limits(1 - 2 * alpha)[0]
        needed = sequences_needed(near.gain, margin, alpha)
        more = f"about {needed} sequences like these" if needed else "many more sequences"
        said.append(
            f"It would be decided by {more}, or for margin={math.ceil(100 * decided) / 100:g} and above by these."
        )
    return Recommendation(Answer.NOT_ENOUGH_EVIDENCE, near.name, (*said, *tail))


def _over(reference: Measured, limits: tuple[float | None, float | None]) -> list[str]:
    over = beyond_limits(reference, *limits)
    return [f"The reference does not meet the limits, either: {over}."] if over else []


def _missing(n_sequences: int, margin: float) -> str:
    if n_sequences < MIN_SEQUENCES:
        return f"{n_sequences} sequence{'' if n_sequences == 1 else 's'}, at least {MIN_SEQUENCES} are needed"
    return f"{n_sequences} sequences do not rule out that it loses {margin:g} or more"


def _failed(one: Measured) -> bool:
    """Whether its accuracy was looked at and it was not shown to be non-inferior."""
    return one.gain is not None and one.state in (State.UNDECIDED, State.LOSES, State.PRUNED)


def _lost(one: Measured, margin: float) -> bool:
    return one.gain is not None and one.gain.p_holds(margin) <= ALPHA


def _speed(one: Measured) -> float:
    return one.latency_ms.value


def _speed_name(one: Measured) -> tuple[float, str]:
    return one.latency_ms.value, one.name


def _why_not(one: Measured, margin: float) -> str:
    assert one.gain is not None
    low, high = one.gain.limits()
    if one.state is State.LOSES or _lost(one, margin):
        return f"{one.label}, loses {-one.gain.value:.3f} [{-high:.3f}, {-low:.3f}]"
    what = f"is not shown to lose less than {margin:g} (difference {_gain(one)})"
    if one.state is State.PRUNED:
        what = f"was pruned after {one.n_sequences} sequences (difference {_gain(one)}: {one.why})"
    return f"{one.label}, {what}"


def _gain(one: Measured) -> str:
    if one.gain is None:
        return "unknown"
    low, high = one.gain.limits()
    if math.isnan(low):
        return f"{one.gain.value:+.3f}"
    return f"{one.gain.value:+.3f} [{low:.3f}, {high:.3f}]"


def _interval(found: Interval, digits: int = 3) -> str:
    """Three significant digits, with the interval where there is one."""

    def text(value: float) -> str:
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"

    if math.isnan(found.low) or math.isnan(found.high):
        return text(found.value)
    return f"{text(found.value)} [{text(found.low)}, {text(found.high)}]"


def _times_as_fast(one: Measured) -> str:
    found = one.speedup
    if math.isnan(found.low):
        return f"{found.value:.2f}×"
    return f"{found.value:.2f}× [{found.low:.2f}×, {found.high:.2f}×]"
