"""Starting the backend says nothing; what its libraries print is in a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_what_the_libraries_print_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs/libraries.log"
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom bench.train.backend import start\n"
        f"start(1, Path({str(log)!r}))\nimport keras\nassert float(keras.ops.sum(keras.ops.ones(3))) == 3\n"
        "print('heard', file=sys.stderr)\nos.write(2, b'this, too')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "heard\nthis, too")
    assert log.is_file()


def test_an_error_while_starting_is_raised_and_standard_error_is_back(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom bench.train import backend\n"
        "sys.modules['keras'] = None\n"
        f"try:\n    backend.start(1, Path({str(tmp_path / 'log')!r}))\n"
        "except ImportError:\n    os.write(2, b'back')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "back")
