"""What flows through the house: frozen records, one name per concept.

Coordinates are xy, pixel centres at integers, in the frame of the evaluated image.
Homographies are 3x3 float64 and map points of the reference image to the target image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import FeatureError

FloatArray = NDArray[np.float32] | NDArray[np.float64]
Transform = NDArray[np.float64]


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Image size in pixels. The string form is ``480x640``: height first, then width."""

    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``HxW``.

        Raises
        ------
        ValueError
            If `text` is not two positive integers joined by ``x``.
        """
        match = re.fullmatch(r"\s*(\d+)\s*[x×]\s*(\d+)\s*", text)
        if match is None or "0" in match.groups():
            raise ValueError(f"size {text!r} is not HEIGHTxWIDTH, for example 480x640")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A source image before the protocol's resize.

    Attributes
    ----------
    key : str
        Unique within a data set, ``<sequence>/<file stem>``; names feature files and rows.
    path : Path
        The file on disk. Embedded data sets write their images there once, losslessly.
    """

    key: str
    path: Path


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images of one sequence and the homography between their source frames.

    Attributes
    ----------
    reference, target : ImageRef
    H_ref_to_target : (3, 3) float64
        Maps source pixels of `reference` to source pixels of `target`.
    sequence : str
        Cluster of the statistics: pairs of one sequence are not independent.
    split : str
        ``i`` (illumination), ``v`` (viewpoint) or ``-`` where the data set has no splits.
    name : str
        Unique pair id, ``<sequence>/<ref>-<target>``, for example ``v_dogman/1-4``.
    """

    reference: ImageRef
    target: ImageRef
    H_ref_to_target: Transform
    sequence: str
    split: str
    name: str


@dataclass(frozen=True, slots=True)
class Whole:
    """The data set that a shard is a part of: its number and count ``k/n``, and what :class:`DataSet` says of the
    whole."""

    shard: str
    digest: str
    note: str
    sequences_expected: int
    pairs_expected: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Complete pairs of a data set, and how many a complete copy has.

    ``note`` is the sentence for logs, manifests and captions, e.g. ``3 of 116 sequences, 15 of 580 pairs``;
    it is given for complete sets, too.
    """

    name: str
    pairs: tuple[Pair, ...]
    sequences_expected: int
    pairs_expected: int
    note: str
    digest: str
    """SHA-256 over the sorted pair names, image bytes and homographies."""
    warnings: tuple[str, ...] = ()
    """What looks wrong in the files, a sentence each; the run goes on."""
    whole: Whole | None = None
    """None unless these are the pairs of a shard (``dataset.shard``)."""


@dataclass(frozen=True, slots=True)
class EvaluatedImage:
    """A source image after the protocol's grey conversion and resize.

    Attributes
    ----------
    grey : (H, W) uint8 or float32
        uint8 in [0, 255], or float32 in [0, 1] where the protocol keeps fractional grey levels.
    T_source_to_evaluated : (3, 3) float64
        Maps source pixels to evaluated pixels.
    read_colour : callable or None
        Gives `colour`; it can be pickled, because images travel to workers.
    """

    key: str
    grey: NDArray[np.uint8] | NDArray[np.float32]
    T_source_to_evaluated: Transform
    source_path: Path | None = None
    read_colour: Callable[[], NDArray[np.uint8]] | None = None

    @property
    def colour(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, resized and cropped as `grey` is; read from the file at every access.

        Raises
        ------
        DataError
            If the file cannot be read.
        ValueError
            If the image was not made from a file.
        """
        if self.read_colour is None:
            raise ValueError(f"image {self.key} was not made from a file and has no colour")
        return self.read_colour()

    @property
    def size(self) -> Size:
        return Size(*self.grey.shape[:2])


@dataclass(frozen=True, slots=True)
class Features:
    """Local features of one evaluated image, sorted by (-score, y, x).

    Attributes
    ----------
    keypoints : (N, 2) float32
        xy in the evaluated image.
    scores : (N,) float32
    descriptors : (N, D) float32, (N, B) uint8 for binary descriptors, or None for detectors
    size : Size
        Size of the evaluated image.

    Raises
    ------
    FeatureError
        If shapes or dtypes differ from the above, a value is not finite, or a keypoint lies outside the image
        (more than half a pixel beyond the outer pixel centres).
    """

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[np.float32] | NDArray[np.uint8] | None
    size: Size

    def __post_init__(self) -> None:
        n = len(self.keypoints)
        if self.keypoints.shape != (n, 2) or self.keypoints.dtype != np.float32:
            raise FeatureError(f"keypoints must be (N, 2) float32, got {self.keypoints.shape} {self.keypoints.dtype}")
        if self.scores.shape != (n,) or self.scores.dtype != np.float32:
            raise FeatureError(f"scores must be ({n},) float32, got {self.scores.shape} {self.scores.dtype}")
        if not (np.isfinite(self.keypoints).all() and np.isfinite(self.scores).all()):
            raise FeatureError("keypoints or scores contain NaN or infinity")
        if n and (
            (self.keypoints < -0.5).any()
            or self.keypoints[:, 0].max() > self.size.width - 0.5
            or self.keypoints[:, 1].max() > self.size.height - 0.5
        ):
            raise FeatureError(f"keypoints lie outside the image of {self.size} (HxW)")
        d = self.descriptors
        if d is not None:
            if d.ndim != 2 or len(d) != n or d.dtype not in (np.float32, np.uint8):
                raise FeatureError(f"descriptors must be ({n}, D) float32 or uint8, got {d.shape} {d.dtype}")
            if d.dtype == np.float32 and not np.isfinite(d).all():
                raise FeatureError("descriptors contain NaN or infinity")

    def __len__(self) -> int:
        return len(self.keypoints)

    @classmethod
    def none(cls, size: Size, has_descriptors: bool) -> Features:
        """No features of an image of this size."""
        descriptors = np.empty((0, 1), np.float32) if has_descriptors else None
        return cls(np.empty((0, 2), np.float32), np.empty(0, np.float32), descriptors, size)


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Wall times of one extraction in milliseconds.

    `preprocess_ms` is the conversion of the evaluated image to the method's input, `infer_ms` the network or the
    OpenCV call, `decode_ms` everything after it. Reading and resizing the file are common to all methods and not here.
    """

    preprocess_ms: float
    infer_ms: float
    decode_ms: float

    @property
    def total_ms(self) -> float:
        return self.preprocess_ms + self.infer_ms + self.decode_ms


@dataclass(frozen=True, slots=True)
class Matches:
    """Putative matches, sorted by reference index.

    Attributes
    ----------
    indices : (M, 2) int32
        Rows (reference keypoint, target keypoint).
    distances : (M,) float32
        L2 distance, or Hamming distance for binary descriptors.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, slots=True)
class Correspondences:
    """Points of two evaluated images that belong together, best first or in any other fixed order.

    Attributes
    ----------
    xy_ref, xy_target : (M, 2) float32
        Row k of both is one correspondence.
    scores : (M,) float32
        Higher is better.

    Raises
    ------
    FeatureError
        If shapes or dtypes differ from the above or a value is not finite.
    """

    xy_ref: NDArray[np.float32]
    xy_target: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.scores)
        for name, shape in (("xy_ref", (n, 2)), ("xy_target", (n, 2)), ("scores", (n,))):
            values = getattr(self, name)
            if values.shape != shape or values.dtype != np.float32:
                raise FeatureError(f"{name} must be {shape} float32, got {values.shape} {values.dtype}")
            if not np.isfinite(values).all():
                raise FeatureError(f"{name} contains NaN or infinity")

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def none(cls) -> Correspondences:
        """No correspondences."""
        return cls(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), np.empty(0, np.float32))


class Outcome(StrEnum):
    """What became of a pair. Everything but OK counts as an infinite corner error."""

    OK = "ok"
    NO_KEYPOINTS = "no_keypoints"
    TOO_FEW_MATCHES = "too_few_matches"
    ESTIMATION_FAILED = "estimation_failed"
    DEGENERATE = "degenerate"
    EXTRACTION_FAILED = "extraction_failed"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Result of one robust estimation.

    Attributes
    ----------
    H : (3, 3) float64 or None
        None unless `outcome` is OK.
    inliers : (M,) bool
        In the order of the matches given.
    """

    outcome: Outcome
    H: Transform | None
    inliers: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PreparedPair:
    """A pair in the frames of its evaluated images: what geometry and metrics see."""

    pair: Pair
    H_ref_to_target: Transform
    """Ground truth between the evaluated frames."""
    size_ref: Size
    size_target: Size
    T_target: Transform | None = None
    """Source to evaluated pixels of the target image, for protocols that measure errors in source pixels."""


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """What a worker reports about its method once it is loaded.

    Attributes
    ----------
    precision : mapping
        ``requested``, ``resolved``, ``executed`` (as read from the runtime) and ``label`` (for tables).
    fingerprint : mapping
        Identity of the model: sha256 of graph and variables, NMS op, baked top-k and minimum probability, ...
    costs : mapping
        ``load_ms``, ``compile_ms``, ``first_inference_ms``, ``peak_memory_mb`` where they apply.
    """

    name: str
    backend: str
    has_descriptors: bool
    precision: Mapping[str, object] = field(default_factory=dict)
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    threads: Mapping[str, object] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    pairwise: bool = False
    """It takes two images and gives their correspondences, instead of the features of one image."""
    device: Mapping[str, object] = field(default_factory=dict)
    """``requested``, ``executed`` and ``names`` where a runtime has devices to choose from."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a backend may use besides its own configuration.

    Attributes
    ----------
    threads : int
        Threads this method may use; at least 1.
    cache : Path
        Folder for exported SavedModels and converted IRs; content is keyed by fingerprint and safe to delete.
    data_root : Path
        Folder of downloads, for example sp_v6.
    seed : int
    """

    threads: int
    cache: Path
    data_root: Path
    seed: int = 0
