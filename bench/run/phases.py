"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Phases:
    """Seconds of each phase of a command, in the order in which they ended first.

    Attributes
    ----------
    seconds : dict
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def end(self, name: str) -> None:
        """Give the time since the last end, or since this object was made, to a phase."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


def account(seconds: Mapping[str, float], stages_s: float | None) -> str:
    """One line: how long a run took, the methods' own share, and the rest by phase.

    Parameters
    ----------
    seconds : mapping
        Of each phase; `stages_s` is part of ``extract``.
    stages_s : float or None
        Sum of the methods' stages in the timed extractions; None where another command measured some of them.

    Examples
    --------
    >>> account({"start": 2.0, "extract": 70.0, "report": 8.0}, 64.0)
    "80.0 s: methods' own stages 64.0 s (80 %), start 2.0, rest of extract 6.0, report 8.0"
    """
    total = sum(seconds.values())
    parts = []
    if stages_s is not None:
        parts.append(f"methods' own stages {stages_s:.1f} s ({stages_s / total:.0%})".replace("%", " %"))
    for name, spent in seconds.items():
        inside = name == "extract" and stages_s is not None
        parts.append(f"{'rest of ' if inside else ''}{name} {spent - (stages_s or 0.0) * inside:.1f}")
    return f"{total:.1f} s: {', '.join(parts)}"
