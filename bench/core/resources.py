"""Where the files that ship with the package lie (beside the checkout, or inside the installed wheel), and those that
are made once for a machine."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_IN_CHECKOUT = {"conf": "conf", "datasets": "datasets", "published": "results/published"}


CACHE = "BENCH_CACHE"
"""Environment variable that names the cache folder."""
DATASETS = "datasets"
"""Folder of rendered data sets in the cache."""


def cache_folder() -> Path:
    """The cache of this machine: BENCH_CACHE, or the user's cache folder as the system has it (XDG_CACHE_HOME)."""
    import pooch

    return Path(os.environ.get(CACHE) or pooch.os_cache("superpoint-bench"))


def resource(name: str) -> Path:
    """Return the directory of a shipped resource.

    Parameters
    ----------
    name : {"conf", "datasets", "published"}

    Raises
    ------
    FileNotFoundError
        If the package was installed without its resources.
    """
    for path in (_PACKAGE / "_resources" / name, _PACKAGE.parent / _IN_CHECKOUT[name]):
        if path.is_dir():
            return path
    raise FileNotFoundError(f"the resource folder {name!r} is missing from the installation of bench; reinstall it")
