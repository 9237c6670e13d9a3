"""What this machine has: the bounds of values that would exhaust it."""

from __future__ import annotations

import os
from pathlib import Path


def processors() -> int:
    """Logical processors of the machine, whatever this process may use of them."""
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of the machine or of this process's control group, whichever is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no control group, or "max"
        return physical
