"""Where the files that ship with the package lie: beside the checkout, or inside the installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_IN_CHECKOUT = {"conf": "conf", "datasets": "datasets", "published": "results/published"}


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
