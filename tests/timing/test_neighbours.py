"""Processor time of others: counted where cores are short, not where they are spare, and never our own."""

from __future__ import annotations

import math

import pytest

from bench.timing import neighbours
from bench.timing.calibration import WINDOW_MS, CalibrationKernel
from bench.timing.neighbours import MOST, Neighbours


class Told(Neighbours):
    """Counters as told: clock, everyone's and our own processor time in seconds."""

    readings: list[tuple[float, float, float]]

    def _read(self) -> tuple[float, float, float]:
        return self.readings.pop(0)


def lost(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, busy: float, own: float) -> tuple[float, float]:
    monkeypatch.setattr(neighbours, "_cores", lambda: list(range(cores)))
    Told.readings = [(10.0, 100.0, 50.0), (12.0, 100.0 + busy, 50.0 + own)]
    return Told(threads).lost_ms()


@pytest.mark.parametrize(
    ("cores", "threads", "busy", "own", "share"),
    [
        (2, 2, 4.0, 4.0, 0.0),  # alone
        (2, 2, 4.0, 2.0, 0.5),  # a neighbour on one of two cores
        (2, 1, 4.0, 2.0, 0.0),  # the neighbour has the spare core
        (8, 2, 14.0, 2.0, 0.0),  # six spare cores
        (8, 4, 14.0, 2.0, 0.5),
        (2, 2, 4.0, 5.0, 0.0),  # clocks that disagree
        (2, 2, 4.0, 0.0, MOST),
    ],
)
def test_what_neighbours_take(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, busy: float, own: float, share: float
) -> None:
    wall, taken = lost(monkeypatch, cores, threads, busy, own)
    assert wall == 2000
    assert taken == pytest.approx(2000 * share)


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_cores", lambda: [0])
    Told.readings = [(10.0, 0.0, 1.0), (12.0, 0.0, 2.0)]
    assert math.isnan(Told(1).lost_ms()[1])


def test_our_own_work_is_not_a_neighbours() -> None:
    import time

    watch = Neighbours(1)
    _, everyone, own = watch._read()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    _, busy_after, own_after = watch._read()
    assert own_after - own == pytest.approx(0.3, abs=0.1)
    assert busy_after - everyone >= 0.2  # the counters of the system move in steps of 10 ms


def test_the_kernel_is_bounded_and_on_one_thread() -> None:
    import time

    kernel = CalibrationKernel()
    wall, used = time.perf_counter(), time.process_time()
    product_ms, interrupted_ms = kernel.measure()
    wall, used = time.perf_counter() - wall, time.process_time() - used
    assert 0.01 < product_ms < 1000
    assert interrupted_ms >= 0
    assert used <= 1.3 * wall + 0.01
    assert 1e3 * used < 5 * WINDOW_MS + 8 * product_ms
