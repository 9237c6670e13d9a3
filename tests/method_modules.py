"""Methods that misbehave, for tests of the worker and of a run: ``backend: tests.method_modules``-style modules.

``params.fault``: none | crash | crash_once | raise | nan | model | die_in_reply | stop_in_reply | silent.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from pathlib import Path

import numpy as np

from bench.core.errors import ModelError
from bench.core.types import Context, EvaluatedImage, Features, MethodInfo, Size, StageTimes
from bench.schema import CustomConfig


class Faulty:
    """Corners of a grid as keypoints, the grey patch around each as its descriptor; fails as told on chosen images."""

    def __init__(self, name: str, fault: str, on: str, scratch: Path) -> None:
        self._name, self._fault, self._on, self._scratch = name, fault, on, scratch

    def warm_up(self, size: Size) -> None:
        if self._fault == "model":
            raise ModelError(f"cannot run at {size}; choose another size")

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        height, width = image.grey.shape
        y, x = np.mgrid[8 : height - 8 : 12, 8 : width - 8 : 12]
        keypoints = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
        patches = [image.grey[b - 4 : b + 4, a - 4 : a + 4].ravel() for a, b in keypoints.astype(int)]
        descriptors = np.array(patches, np.float32)
        if self._on in image.key:
            if self._fault == "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._fault == "crash_once" and not (mark := self._scratch / "crashed").exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if self._fault in ("die_in_reply", "stop_in_reply"):
                _reply_in_part()
                os.kill(os.getpid(), signal.SIGKILL if self._fault == "die_in_reply" else signal.SIGSTOP)
            if self._fault == "silent":
                time.sleep(60)
            if self._fault == "raise":
                raise RuntimeError("the method broke")
            if self._fault == "nan":
                descriptors[0, 0] = np.nan
        return (
            Features(keypoints, np.ones(len(keypoints), np.float32), descriptors, image.size),
            StageTimes(0.0, 1.0, 0.0),
        )

    def info(self) -> MethodInfo:
        return MethodInfo(self._name, "test", True, precision={"label": "FP32"}, fingerprint={"fault": self._fault})


def _reply_in_part() -> None:
    """Write the first thousand bytes of a reply of a million to the parent."""
    for link in Path("/proc/self/fd").iterdir():
        if link.is_symlink() and str(link.readlink()).startswith("socket:"):
            os.write(int(link.name), struct.pack("<Q", 1_000_000) + bytes(1000))


def create(name: str, config: CustomConfig, context: Context) -> Faulty:
    return Faulty(name, str(config.params.get("fault", "none")), str(config.params.get("on", "")), context.cache)
