"""`python -m bench`."""

import os
import sys


def _forget_working_directory() -> None:
    """Drop the working directory, which ``python -m`` puts first on ``sys.path``; PYTHONPATH keeps it there.

    The console script does not have it: a file ``numpy.py`` beside the data is not NumPy.
    """
    try:
        here = os.getcwd()  # noqa: PTH109  pathlib is not loaded yet, and could come from here
    except OSError:
        return
    wanted = os.environ.get("PYTHONPATH")
    if not wanted or here not in map(os.path.abspath, wanted.split(os.pathsep)):
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


if __name__ == "__main__":
    _forget_working_directory()
    from bench.cli import main

    main()
