"""The one place that imports OpenCV where a missing system library must end in one clear line."""

from __future__ import annotations

import importlib
from types import ModuleType

from bench.core.errors import BenchError


def import_cv2() -> ModuleType:
    """Return the module ``cv2``.

    Raises
    ------
    BenchError
        If OpenCV cannot be imported; the message holds the remedies.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        if "lib" in str(error) and ".so" in str(error):
            raise BenchError(
                f"OpenCV cannot be loaded because a system library is missing ({error}); install it "
                "(Debian, Ubuntu: apt-get install libgl1), or use the build that does not need it "
                "(pip uninstall opencv-contrib-python; pip install opencv-contrib-python-headless)"
            ) from error
        raise BenchError(
            f"OpenCV cannot be imported ({error}); install it with: pip install opencv-contrib-python"
        ) from error
