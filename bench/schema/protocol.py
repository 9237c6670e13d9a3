"""Every constant of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from bench.core.doors import Door
from bench.core.errors import ConfigError
from bench.schema.checks import at_least, one_of, within

ADDED = {"added": True}
"""Metadata of a key that is younger than the first presets. Its default is what was done before it existed, and the
hash of a protocol leaves it out there, so that a new key changes no hash; see :mod:`bench.schema.identity`."""


@dataclass
class ImageConfig:
    """How a source image becomes the evaluated image."""

    grey: str = "bt601"
    """bt601 | bt601_swapped (BGR read as RGB by TensorFlow, as rpautrat does) | bt601_swapped_cv2 (the same by OpenCV,
    as pytorch-superpoint does) | bt709 (scikit-image)."""
    policy: str = "short_side"
    """original | short_side | fixed (stretch) | cover_crop (scale to cover, centre crop) |
    cover_topleft (scale to cover, crop at the top left corner)."""
    crop_first: bool = field(default=False, metadata=ADDED)
    """cover_crop and cover_topleft: cut the source image, its sides truncated to whole pixels, and stretch that part to
    the target size (pytorch-superpoint), instead of cutting the resized image."""
    short_side: int = 480
    height: int = 480
    width: int = 640
    kernel: str = "area"
    """area (cv2.INTER_AREA when shrinking, else linear) | linear (half-pixel centres) | tf1_bilinear (corner-aligned
    legacy sampler without anti-aliasing)."""
    rounding: str = "round"
    """round | truncate | ceil: how the resized side lengths become integers."""
    multiple_of: int = 1
    """Sides are made multiples of this number ..."""
    multiple_mode: str = "crop"
    """... by cropping right and bottom (crop) or by choosing a larger resize target (resize_up)."""
    target_size: str = "own"
    """own | reference: silk resizes image k to the size of image 1."""
    dtype: str = "uint8"
    """uint8 | float32 (fractional grey levels are kept; OpenCV methods truncate)."""
    homography: str = "exact"
    """exact (follows the sampler and the true sizes) | nominal_scale (diagonal scaling by the float scale factor, as
    rpautrat) | reference_scale (image 1's scale for both images, as pytorch-superpoint)."""

    def __post_init__(self) -> None:
        p = "protocol.image"
        one_of(f"{p}.grey", self.grey, ("bt601", "bt601_swapped", "bt601_swapped_cv2", "bt709"))
        one_of(f"{p}.policy", self.policy, ("original", "short_side", "fixed", "cover_crop", "cover_topleft"))
        one_of(f"{p}.kernel", self.kernel, ("area", "linear", "tf1_bilinear"))
        one_of(f"{p}.rounding", self.rounding, ("round", "truncate", "ceil"))
        one_of(f"{p}.multiple_mode", self.multiple_mode, ("crop", "resize_up"))
        one_of(f"{p}.target_size", self.target_size, ("own", "reference"))
        one_of(f"{p}.dtype", self.dtype, ("uint8", "float32"))
        one_of(f"{p}.homography", self.homography, ("exact", "nominal_scale", "reference_scale"))
        for key in ("short_side", "height", "width"):
            at_least(f"{p}.{key}", getattr(self, key), 16)
        at_least(f"{p}.multiple_of", self.multiple_of, 1)
        if self.crop_first and self.policy not in ("cover_crop", "cover_topleft"):
            raise ConfigError(
                f"{p}.crop_first=true is not possible with {p}.policy={self.policy}, which cuts nothing to a target "
                "size; allowed with: cover_crop, cover_topleft"
            )


@dataclass
class NmsConfig:
    """Non-maximum suppression of a probability or response map."""

    kind: str = "box"
    """none | box (IoU of boxes of side `size`, threshold `iou`) | square (L-infinity radius `size`, greedy, Magic
    Leap) | maxpool (max-pooling of radius `size`, repeated as glue-factory's simple_nms)."""
    size: int = 4
    iou: float = 0.1
    applies_to: str = "maps"
    """maps (SuperPoint, MagicPoint and detectors with a response map) | all (also keypoints of SIFT, ORB, ...)."""

    def __post_init__(self) -> None:
        one_of("nms.kind", self.kind, ("none", "box", "square", "maxpool"))
        at_least("nms.size", self.size, 1)
        within("nms.iou", self.iou, 0.0, 1.0)
        one_of("nms.applies_to", self.applies_to, ("maps", "all"))


@dataclass
class SiftConfig:
    """Parameters of OpenCV's SIFT (and RootSIFT); the defaults are OpenCV's."""

    contrast_threshold: float = field(default=0.04, metadata=ADDED)
    edge_threshold: float = field(default=10.0, metadata=ADDED)
    octave_layers: int = field(default=3, metadata=ADDED)
    precise_upscale: bool = field(default=False, metadata=ADDED)
    """True: the first octave, the image enlarged twice, has its pixels where the coordinates say. OpenCV's default
    moves all keypoints by a quarter of a pixel to the right and down, which does not cancel where images are turned."""

    def __post_init__(self) -> None:
        p = "protocol.keypoints.sift"
        within(f"{p}.contrast_threshold", self.contrast_threshold, 0.0, 1.0)
        at_least(f"{p}.edge_threshold", self.edge_threshold, 0.0)
        within(f"{p}.octave_layers", self.octave_layers, 1, 100)


@dataclass
class KeypointsConfig:
    """The keypoint budget and who gets into it."""

    max: int = 1000
    """Best keypoints kept per image; 0 keeps all."""
    classical_max: int | None = None
    """Budget asked of SIFT, ORB, ... before NMS and the final budget; null: `max`."""
    nms: NmsConfig = field(default_factory=NmsConfig)
    min_probability: float = 0.001
    """Smallest probability of SuperPoint and MagicPoint keypoints."""
    border_px: int = 0
    """Keypoints closer than this to the image border are removed (network detectors only)."""
    integer: bool = False
    """Truncate coordinates of classical keypoints to integers, one keypoint per pixel (rpautrat)."""
    gt_filter: bool = False
    """Remove keypoints whose ground-truth warp leaves the other image, before the budget (rpautrat; a leak)."""
    sift: SiftConfig = field(default_factory=SiftConfig, metadata=ADDED)

    def __post_init__(self) -> None:
        at_least("protocol.keypoints.max", self.max, 0)
        at_least("protocol.keypoints.classical_max", self.classical_max, 1)
        within("protocol.keypoints.min_probability", self.min_probability, 0.0, 1.0)
        at_least("protocol.keypoints.border_px", self.border_px, 0)


@dataclass
class MatcherConfig:
    kind: str = "mutual_nn"
    """mutual_nn | nn (one way, reference to target) | none (detector protocols)."""
    metric: str = "l2"
    """l2 | dot. Binary descriptors always use Hamming."""
    max_distance: float | None = None
    """Largest L2 distance of a match between float descriptors of unit length (networks, RootSIFT); others (SIFT,
    binary) are not limited."""
    ratio: float | None = None
    order: str = field(default="best_first", metadata=ADDED)
    """Order of the matches by the score of the reference keypoint, in which the estimator gets them: best_first |
    best_last (rpautrat, whose keypoints ascend by score). Of equally near neighbours the first in that order is
    taken."""

    def __post_init__(self) -> None:
        one_of("protocol.matcher.order", self.order, ("best_first", "best_last"))
        one_of("protocol.matcher.kind", self.kind, ("mutual_nn", "nn", "none"))
        one_of("protocol.matcher.metric", self.metric, ("l2", "dot"))
        at_least("protocol.matcher.max_distance", self.max_distance, 0.0)
        within("protocol.matcher.ratio", self.ratio, 0.0, 1.0)


ESTIMATORS = (
    "opencv_ransac", "opencv_lmeds", "opencv_rho", "usac_default", "usac_fast", "usac_accurate", "usac_prosac",
    "usac_magsac", "poselib", "dlt", "none",
)  # fmt: skip


@dataclass
class EstimatorConfig:
    name: str = "usac_magsac"
    threshold_px: float = 2.0
    max_iterations: int = 10000
    confidence: float = 0.9999
    repeats: int = 10
    """Estimations per pair: the first in the matcher's order, the others after seeded permutations of the matches."""

    def __post_init__(self) -> None:
        one_of("protocol.estimator.name", self.name, ESTIMATORS)
        if not self.threshold_px > 0:
            raise ConfigError(f"protocol.estimator.threshold_px={self.threshold_px} is not possible; allowed: above 0")
        at_least("protocol.estimator.max_iterations", self.max_iterations, 1)
        if not 0 < self.confidence < 1:
            raise ConfigError(
                f"protocol.estimator.confidence={self.confidence} is not possible; allowed: between 0 and 1"
            )
        within("protocol.estimator.repeats", self.repeats, 1, 1000)


@dataclass
class HomographyMetricConfig:
    thresholds_px: list[float] = field(default_factory=lambda: [1.0, 3.0, 5.0])
    corners: str = "size_minus_one"
    """size_minus_one: (W-1, H-1) | size: (W, H)."""
    aggregate: str = "mean"
    """mean of per-pair success | median of corner errors (glue-factory prints both AUC and medians)."""
    auc: str = "exact"
    """exact | trapezoid (SuperGlue, glue-factory, SiLK)."""
    frame: str = "evaluated"
    """evaluated | source: the frame in which corner errors are measured."""

    def __post_init__(self) -> None:
        p = "protocol.homography"
        if not self.thresholds_px or any(not t > 0 for t in self.thresholds_px):
            raise ConfigError(
                f"{p}.thresholds_px={self.thresholds_px} is not possible; allowed: one or more, all above 0"
            )
        one_of(f"{p}.corners", self.corners, ("size_minus_one", "size"))
        one_of(f"{p}.aggregate", self.aggregate, ("mean", "median"))
        one_of(f"{p}.auc", self.auc, ("exact", "trapezoid"))
        one_of(f"{p}.frame", self.frame, ("evaluated", "source"))


DLT_SOLVERS = ("svd", "lu")
METRICS = Door(
    "metric",
    "bench.metrics",
    "METRIC",
    {
        name: f"bench.metrics.{name}:METRIC"
        for name in ("homography", "dlt", "repeatability", "descriptors", "mma", "matches")
    },
)


@dataclass
class ProtocolConfig:
    """Every constant of an evaluation. Its hash is stored with the results; tables never mix two."""

    name: str = MISSING
    version: int = 1
    title: str = ""
    source: str = ""
    """Paper, repository and commit the constants come from."""
    unstated: list[str] = field(default_factory=list)
    """What the source does not state and this file chose. Not empty: results are "paper-style"."""
    gt_leak: bool = False
    """True where ground truth selects keypoints."""
    subset: str = "all"
    """Sequence set asked of the data set: all | no_large | i | v (a data set may narrow it further)."""
    image: ImageConfig = field(default_factory=ImageConfig)
    keypoints: KeypointsConfig = field(default_factory=KeypointsConfig)
    matcher: MatcherConfig = field(default_factory=MatcherConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    metrics: list[str] = field(default_factory=lambda: list(METRICS))
    homography: HomographyMetricConfig = field(default_factory=HomographyMetricConfig)
    dlt_solver: str = field(default="svd", metadata=ADDED)
    """svd | lu: how the metric `dlt` solves its system; see :func:`bench.geometry.dlt.dlt_homography`."""
    repeatability_px: float = 3.0
    """Distance of a repeated, localised or correctly matched point (repeatability, localisation error, NN mAP,
    matching score)."""
    repeatability_max: int = 0
    """Keypoints used for repeatability after the shared-region filter; 0: the features as they are."""
    repeatability_empty: str = "zero"
    """zero | drop: what a pair without a keypoint in the shared region counts in the mean repeatability."""
    shared_region: str = "pixel_centres"
    """pixel_centres (0 <= x <= W-1) | size (0 <= x < W, rpautrat and its descendants): where a warped keypoint counts
    as inside the other image."""
    mma_px: list[float] = field(default_factory=lambda: [float(t) for t in range(1, 16)])
    precision_px: list[float] = field(default_factory=lambda: [1.0, 3.0])
    """Thresholds of match precision and recall."""
    precision_strict: bool = False
    """True: error < t (glue-factory); False: error <= t."""
    precision_error: str = "one_way"
    """one_way (in the target image) | symmetric (mean of both directions, glue-factory)."""

    def __post_init__(self) -> None:
        one_of("protocol.subset", self.subset, ("all", "no_large", "i", "v"))
        for metric in self.metrics:
            METRICS.check("protocol.metrics", metric)
        if self.keypoints.gt_filter and not self.gt_leak:
            raise ConfigError(
                "protocol.keypoints.gt_filter=true lets the ground truth choose keypoints; "
                "set protocol.gt_leak=true, too, so that every caption says so"
            )
        at_least("protocol.repeatability_px", self.repeatability_px, 0.0)
        at_least("protocol.repeatability_max", self.repeatability_max, 0)
        one_of("protocol.dlt_solver", self.dlt_solver, DLT_SOLVERS)
        one_of("protocol.repeatability_empty", self.repeatability_empty, ("zero", "drop"))
        one_of("protocol.shared_region", self.shared_region, ("pixel_centres", "size"))
        one_of("protocol.precision_error", self.precision_error, ("one_way", "symmetric"))
        for key in ("mma_px", "precision_px"):
            if any(not t > 0 for t in getattr(self, key)):
                raise ConfigError(f"protocol.{key}={getattr(self, key)} is not possible; allowed: numbers above 0")
