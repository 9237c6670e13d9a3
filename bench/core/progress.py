"""Progress bars with an estimated time of arrival; plain lines where the output is not a terminal; none with ``-q``."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, soft_wrap=True)
_LINE_EVERY_S = 20.0
T = TypeVar("T")


def quiet() -> bool:
    """Whether the level of the logger ``bench`` was set above INFO, as ``-q`` does."""
    return logging.getLogger("bench").level > logging.INFO


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """Go through `items` and show how many are done."""
    with progress(what, len(items)) as step:
        for item in items:
            yield item
            step("")


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Show a bar for `total` steps, of which `done` are behind us.

    The yielded function is called after each step with a short note. Nothing is shown if :func:`quiet`; without a
    terminal every step has a line where the level of the logger ``bench`` is DEBUG (``-v``).
    """
    if quiet():
        yield lambda note: None
        return
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=total, completed=done, note="")
            yield lambda note: bar.update(task, advance=1, note=note)
        return
    start = last = time.monotonic()
    before = done
    every_s = 0.0 if logging.getLogger("bench").level == logging.DEBUG else _LINE_EVERY_S

    def step(note: str) -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if done == total or now - last >= every_s:
            last = now
            eta_s = (now - start) / (done - before) * (total - done)
            print(
                f"{what}: {done}/{total}, {now - start:.0f} s, ETA {eta_s:.0f} s  {note}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    yield step
