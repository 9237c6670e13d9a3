"""Small data sets on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

IDENTITY = "1 0 0\n0 1 0\n0 0 1\n"


def picture(*seed: int, height: int = 32, width: int = 48) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def write_hpatches(root: Path, names: list[str], extension: str = ".ppm") -> Path:
    for number, name in enumerate(names):
        folder = root / name
        folder.mkdir(parents=True)
        for k in range(1, 7):
            assert cv2.imwrite(str(folder / f"{k}{extension}"), picture(number, k))
            if k > 1:
                (folder / f"H_1_{k}").write_text(f"1 0 {k}\n0 1 -{k}\n0 0 1\n")
    return root


def write_oxford(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        folder = root / name
        folder.mkdir(parents=True)
        for k in range(1, 7):
            assert cv2.imwrite(str(folder / f"img{k}.ppm"), picture(number, k))
            if k > 1:
                (folder / f"H1to{k}p").write_text(IDENTITY)
    return root
