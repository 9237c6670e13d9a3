"""Kinds of values that several keys share, with their bounds."""

from __future__ import annotations

import math
from typing import Annotated

from bench.core.errors import ConfigError
from bench.core.machine import memory_bytes, processors
from bench.schema.checks import Form, Found, Items, OneOf, Range, Shard, Text, shard_of

BYTES_PER_PIXEL = 600
"""What a network needs for a pixel: input and output of a layer of 64 float32 channels, the map and the image."""


def max_pixels() -> int:
    """Pixels of the largest image a network can take in this machine's memory."""
    return memory_bytes() // BYTES_PER_PIXEL


def max_side() -> int:
    """Side of the largest square image."""
    return math.isqrt(max_pixels())


def max_threads() -> int:
    return 4 * processors()


Seed = Annotated[int, Range(0, 2**32 - 1, "the random generators of TensorFlow and NumPy take 32 bits")]
Threads = Annotated[int, Range(0, max_threads, "four times the processors of this machine")]
Jobs = Annotated[int, Range(0, max_threads, "four times the processors of this machine")]
Draws = Annotated[int, Range(100, 100_000, "with 1000 clusters 100 000 draws fill 1.6 GB")]
Side = Annotated[int, Range(16, max_side, f"{BYTES_PER_PIXEL} bytes a pixel must fit the memory of this machine")]
Keypoints = Annotated[int, Range(0, 1_000_000, "more than an image of 64 megapixels has after suppression")]
Threshold = Annotated[float, Range(0, 1000, "larger than what any image is judged by", above=True)]
Thresholds = Annotated[list[Threshold], Items(1, 100)]
Share = Annotated[float, Range(0, 1)]
Probability = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1, 1_000_000, "more than any data set has")]
Repeats = Annotated[int, Range(1, 10_000, "it would take days")]
Batch = Annotated[int, Range(1, 1024, "it would not fit any memory")]
Folder = Annotated[str, Found("new", "a folder")]
Title = Annotated[str, Text(1000)]
Name = Annotated[str, Text(200, False, "a name")]
_DEVICE = r"(CPU|GPU(\.\d+)?|NPU(\.\d+)?)"
Device = Annotated[
    str,
    Form(
        rf"{_DEVICE}|AUTO|(AUTO|HETERO):{_DEVICE}(,{_DEVICE})*",
        "CPU, GPU, GPU.1, NPU, AUTO, or AUTO: or HETERO: with devices behind it, HETERO:GPU,CPU",
    ),
]
Streams = Annotated[int, Range(1, max_threads, "four times the processors of this machine")]
MethodNames = Annotated[list[Name], Items(1)]
FinishedRun = Annotated[str, Found("folder", "a run directory")]
RunFolders = Annotated[str, Found("folders", "folders of runs or baselines, or a pattern such as results/*")]


def check_area(key: str, height: int, width: int) -> None:
    """Raise ConfigError if an image of this size does not fit the memory."""
    if height * width > max_pixels():
        raise ConfigError(
            f"{key} {height}x{width} is not possible; allowed: up to {max_pixels()} pixels ({BYTES_PER_PIXEL} bytes a "
            "pixel must fit the memory of this machine)"
        )


__all__ = [
    "Batch",
    "Count",
    "Device",
    "Draws",
    "FinishedRun",
    "Folder",
    "Found",
    "Items",
    "Jobs",
    "Keypoints",
    "MethodNames",
    "Name",
    "OneOf",
    "Probability",
    "Range",
    "Repeats",
    "RunFolders",
    "Seed",
    "Shard",
    "Share",
    "Side",
    "Streams",
    "Text",
    "Threads",
    "Threshold",
    "Thresholds",
    "Title",
    "check_area",
    "shard_of",
]
