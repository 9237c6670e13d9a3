"""How much of the processors other processes took while a method was timed.

A neighbour slows a method down without slowing the calibration kernel when each finds a core of its own, and a single
image does not show it. The kernel of the operating system counts what everyone used.
"""

from __future__ import annotations

import os
import time

MOST = 0.95
"""Largest share that is reported; with everything taken nothing could have been measured."""


class Neighbours:
    """Counts the processor time of other processes on the cores this process may use.

    Parameters
    ----------
    threads : int
        Threads a method computes with. Neighbours matter as far as they use cores that the method wants: with 8 cores
        and 2 threads six cores are spare.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._cores = _cores()
        self._before = self._read()

    def lost_ms(self) -> tuple[float, float]:
        """Time since the last call (or the start), and how much of it neighbours took from the method.

        Returns
        -------
        wall_ms, lost_ms : float
            ``lost = wall * max(0, others + threads - cores) / threads``, at most 95 % of wall, with `others` the
            number of cores that other processes and other guests of the host (steal time) kept busy. A method that used
            all its threads would have been done in wall - lost without them. NaN where the system does not tell.
        """
        after = self._read()
        wall = after[0] - self._before[0]
        busy, own = (late - early for late, early in zip(after[1:], self._before[1:], strict=True))
        self._before = after
        if not wall > 0 or not after[1] > 0:
            return 1e3 * wall, float("nan")
        others = max(0.0, busy - own) / wall
        share = min(MOST, max(0.0, others + self._threads - len(self._cores)) / self._threads)
        return 1e3 * wall, 1e3 * wall * share

    def _read(self) -> tuple[float, float, float]:
        """Clock, processor time of everyone on our cores, processor time of this process and its children, in s."""
        import psutil

        me = psutil.Process()
        own = sum(me.cpu_times()[:4])  # user, system, and those of children that have ended
        for child in me.children(recursive=True):
            try:
                own += sum(child.cpu_times()[:4])
            except psutil.Error:
                continue
        each = psutil.cpu_times(percpu=True)
        busy = sum(_busy(each[core]) for core in self._cores if core < len(each))
        return time.perf_counter(), busy, own


def _busy(times: object) -> float:
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(times, name, 0.0) for name in names))


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
