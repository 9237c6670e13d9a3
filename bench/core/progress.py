"""Progress bars with an estimated time of arrival; plain lines where the output is not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, soft_wrap=True)
_LINE_EVERY_S = 20.0


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar for `total` steps; call the yielded function with a short note after each step."""
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
            task = bar.add_task(what, total=total, note="")
            yield lambda note: bar.update(task, advance=1, note=note)
        return
    start = last = time.monotonic()
    done = 0

    def step(note: str) -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if done == total or now - last >= _LINE_EVERY_S:
            last = now
            eta_s = (now - start) / done * (total - done)
            print(
                f"{what}: {done}/{total}, {now - start:.0f} s, ETA {eta_s:.0f} s  {note}", file=sys.stderr, flush=True
            )

    yield step
