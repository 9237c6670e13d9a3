"""Every constant of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import MISSING

from bench.core.doors import Door
from bench.core.errors import ConfigError
from bench.schema.checks import increasing
from bench.schema.options import (
    AucKind,
    CornerConvention,
    DescriptorMetric,
    DltSolver,
    EmptyRepeatability,
    ErrorAggregate,
    Frame,
    GreyMode,
    HomographyMode,
    ImageDtype,
    Kernel,
    MatchError,
    MatchOrder,
    MultipleMode,
    NmsKind,
    NmsTargets,
    ResizePolicy,
    Rounding,
    SharedRegion,
    Subset,
    TargetSize,
)
from bench.schema.values import (
    Items,
    Keypoints,
    Probability,
    Range,
    Share,
    Side,
    Text,
    Threshold,
    Thresholds,
    Title,
    check_area,
)

NmsSize = Annotated[int, Range(1, 256, "more than half of a small image")]
ClassicalMax = Annotated[int, Range(1, 1_000_000, "more than an image of 64 megapixels has")]
SiftContrast = Annotated[float, Range(0, 1)]
SiftEdge = Annotated[float, Range(0, 1e6, "no edge would be refused")]
SiftLayers = Annotated[int, Range(1, 100, "a pyramid would not fit the memory")]
MaxMatches = Annotated[int, Range(4, 10_000_000, "more than images have pixels")]
Border = Annotated[int, Range(0, 1024, "more than half of an image")]

ADDED = {"added": True}
"""Metadata of a key that is younger than the first presets. Its default is what was done before it existed, and the
hash of a protocol leaves it out there, so that a new key changes no hash; see :mod:`bench.schema.identity`."""


@dataclass
class ImageConfig:
    """How a source image becomes the evaluated image."""

    grey: GreyMode = GreyMode.bt601
    """bt601 | bt601_swapped (BGR read as RGB by TensorFlow, as rpautrat does) | bt601_swapped_cv2 (the same by OpenCV,
    as pytorch-superpoint does) | bt709 (scikit-image)."""
    policy: ResizePolicy = ResizePolicy.short_side
    """original | short_side | fixed (stretch) | cover_crop (scale to cover, centre crop) |
    cover_topleft (scale to cover, crop at the top left corner)."""
    crop_first: bool = field(default=False, metadata=ADDED)
    """cover_crop and cover_topleft: cut the source image, its sides truncated to whole pixels, and stretch that part to
    the target size (pytorch-superpoint), instead of cutting the resized image."""
    short_side: Side = 480
    height: Side = 480
    width: Side = 640
    kernel: Kernel = Kernel.area
    """area (cv2.INTER_AREA when shrinking, else linear) | linear (half-pixel centres) | tf1_bilinear (corner-aligned
    legacy sampler without anti-aliasing)."""
    rounding: Rounding = Rounding.round
    """round | truncate | ceil: how the resized side lengths become integers."""
    multiple_of: Annotated[int, Range(1, 256, "more than half of a small image would be cut")] = 1
    """Sides are made multiples of this number ..."""
    multiple_mode: MultipleMode = MultipleMode.crop
    """... by cropping right and bottom (crop) or by choosing a larger resize target (resize_up)."""
    target_size: TargetSize = TargetSize.own
    """own | reference: silk resizes image k to the size of image 1."""
    dtype: ImageDtype = ImageDtype.uint8
    """uint8 | float32 (fractional grey levels are kept; OpenCV methods truncate)."""
    homography: HomographyMode = HomographyMode.exact
    """exact (follows the sampler and the true sizes) | nominal_scale (diagonal scaling by the float scale factor, as
    rpautrat) | reference_scale (image 1's scale for both images, as pytorch-superpoint)."""

    def __post_init__(self) -> None:
        if self.crop_first and self.policy not in (ResizePolicy.cover_crop, ResizePolicy.cover_topleft):
            raise ConfigError(
                f"protocol.image.crop_first=true is not possible with policy={self.policy}, which cuts nothing "
                "to a target size; allowed with: cover_crop, cover_topleft"
            )
        if self.policy in (ResizePolicy.fixed, ResizePolicy.cover_crop, ResizePolicy.cover_topleft):
            check_area("protocol.image", self.height, self.width)


@dataclass
class NmsConfig:
    """Non-maximum suppression of a probability or response map."""

    kind: NmsKind = NmsKind.box
    """none | box (IoU of boxes of side `size`, threshold `iou`) | square (L-infinity radius `size`, greedy, Magic
    Leap) | maxpool (max-pooling of radius `size`, repeated as glue-factory's simple_nms)."""
    size: NmsSize = 4
    iou: Share = 0.1
    applies_to: NmsTargets = NmsTargets.maps
    """maps (SuperPoint, MagicPoint and detectors with a response map) | all (also keypoints of SIFT, ORB, ...)."""


@dataclass
class SiftConfig:
    """Parameters of OpenCV's SIFT (and RootSIFT); the defaults are OpenCV's."""

    contrast_threshold: SiftContrast = field(default=0.04, metadata=ADDED)
    edge_threshold: SiftEdge = field(default=10.0, metadata=ADDED)
    octave_layers: SiftLayers = field(default=3, metadata=ADDED)
    precise_upscale: bool = field(default=False, metadata=ADDED)
    """True: the first octave, the image enlarged twice, has its pixels where the coordinates say. OpenCV's default
    moves all keypoints by a quarter of a pixel to the right and down, which does not cancel where images are turned."""


@dataclass
class KeypointsConfig:
    """The keypoint budget and who gets into it."""

    max: Keypoints = 1000
    """Best keypoints kept per image; 0 keeps all."""
    classical_max: ClassicalMax | None = None
    """Budget asked of SIFT, ORB, ... before NMS and the final budget; null: `max`."""
    nms: NmsConfig = field(default_factory=NmsConfig)
    min_probability: Probability = 0.001
    """Smallest probability of SuperPoint and MagicPoint keypoints."""
    border_px: Border = 0
    """Keypoints closer than this to the image border are removed (network detectors only)."""
    integer: bool = False
    """Truncate coordinates of classical keypoints to integers, one keypoint per pixel (rpautrat)."""
    gt_filter: bool = False
    """Remove keypoints whose ground-truth warp leaves the other image, before the budget (rpautrat; a leak)."""
    sift: SiftConfig = field(default_factory=SiftConfig, metadata=ADDED)


MATCHERS = Door(
    "matcher", "bench.matchers", "create", dict.fromkeys(("mutual_nn", "nn", "none"), "bench.geometry.nearest:match")
)


@dataclass
class MatcherConfig:
    kind: Annotated[str, MATCHERS] = "mutual_nn"
    """mutual_nn | nn (one way, reference to target) | none (detector protocols) | a matcher from outside."""
    metric: DescriptorMetric = DescriptorMetric.l2
    """l2 | dot. Binary descriptors always use Hamming."""
    max_distance: Annotated[float, Range(0, 2, "unit descriptors are never further apart", above=True)] | None = None
    """Largest L2 distance of a match between float descriptors of unit length (networks, RootSIFT); others (SIFT,
    binary) are not limited."""
    ratio: Annotated[float, Range(0, 1, above=True)] | None = None
    order: MatchOrder = field(default=MatchOrder.best_first, metadata=ADDED)
    """Order of the matches by the score of the reference keypoint, in which the estimator gets them: best_first |
    best_last (rpautrat, whose keypoints ascend by score). Of equally near neighbours the first in that order is
    taken."""
    max_matches: MaxMatches | None = field(default=None, metadata=ADDED)
    """Matches kept, the nearest ones (of a pairwise method those with the best scores), in the order they have; null:
    all."""
    options: dict[str, Any] = field(default_factory=dict, metadata=ADDED)
    """What a matcher from outside wants to know; `metric`, `max_distance`, `ratio` and `order` are for the built-in
    ones."""


_ESTIMATORS = (
    "opencv_ransac",
    "opencv_lmeds",
    "opencv_rho",
    "usac_default",
    "usac_fast",
    "usac_accurate",
    "usac_prosac",
    "usac_magsac",
    "poselib",
    "dlt",
    "none",
)
ESTIMATORS = Door(
    "estimator", "bench.estimators", "create", dict.fromkeys(_ESTIMATORS, "bench.geometry.estimation:estimate")
)


@dataclass
class EstimatorConfig:
    name: Annotated[str, ESTIMATORS] = "usac_magsac"
    threshold_px: Threshold = 2.0
    per_short_side_px: Side | None = field(default=None, metadata=ADDED)
    """Short side of the target image that threshold_px is meant for; it grows and shrinks with the image. null: the
    same threshold in all images."""
    max_iterations: Annotated[int, Range(1, 10_000_000, "a pair would take hours")] = 10000
    confidence: Annotated[float, Range(0, 1 - 1e-9, "certainty takes for ever", above=True)] = 0.9999
    repeats: Annotated[int, Range(1, 1000, "it would take days")] = 10
    """Estimations per pair: the first in the matcher's order, the others after seeded permutations of the matches."""
    options: dict[str, Any] = field(default_factory=dict, metadata=ADDED)
    """What an estimator from outside wants to know beside the above."""


@dataclass
class HomographyMetricConfig:
    thresholds_px: Thresholds = field(default_factory=lambda: [1.0, 3.0, 5.0])
    corners: CornerConvention = CornerConvention.size_minus_one
    """size_minus_one: (W-1, H-1) | size: (W, H)."""
    aggregate: ErrorAggregate = ErrorAggregate.mean
    """mean of per-pair success | median of corner errors (glue-factory prints both AUC and medians)."""
    auc: AucKind = AucKind.exact
    """exact | trapezoid (SuperGlue, glue-factory, SiLK)."""
    frame: Frame = Frame.evaluated
    """evaluated | source: the frame in which corner errors are measured."""
    per_short_side_px: Side | None = field(default=None, metadata=ADDED)
    """Corner errors are those of a target image with this short side: error * per_short_side_px / min(H, W). null: as
    they are."""

    def __post_init__(self) -> None:
        if self.per_short_side_px is not None and self.frame == Frame.source:
            raise ConfigError(
                "protocol.homography.per_short_side_px scales errors in the evaluated target image and is not possible "
                "with frame=source; use frame=evaluated"
            )
        increasing("protocol.homography.thresholds_px", self.thresholds_px)


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

    name: Annotated[str, Text(200, False, "a name")] = MISSING
    version: Annotated[int, Range(1, 1_000_000)] = 1
    title: Title = ""
    source: Title = ""
    """Paper, repository and commit the constants come from."""
    unstated: list[Title] = field(default_factory=list)
    """What the source does not state and this file chose. Not empty: results are "paper-style"."""
    gt_leak: bool = False
    """True where ground truth selects keypoints."""
    subset: Subset = Subset.all
    """Sequence set asked of the data set: all | no_large | i | v (a data set may narrow it further)."""
    image: ImageConfig = field(default_factory=ImageConfig)
    keypoints: KeypointsConfig = field(default_factory=KeypointsConfig)
    matcher: MatcherConfig = field(default_factory=MatcherConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    metrics: Annotated[list[Annotated[str, METRICS]], Items(1)] = field(default_factory=lambda: list(METRICS))
    homography: HomographyMetricConfig = field(default_factory=HomographyMetricConfig)
    dlt_solver: DltSolver = field(default=DltSolver.svd, metadata=ADDED)
    """svd | lu: how the metric `dlt` solves its system; see :func:`bench.geometry.dlt.dlt_homography`."""
    repeatability_px: Threshold = 3.0
    """Distance of a repeated, localised or correctly matched point (repeatability, localisation error, NN mAP,
    matching score)."""
    repeatability_max: Keypoints = 0
    """Keypoints used for repeatability after the shared-region filter; 0: the features as they are."""
    repeatability_empty: EmptyRepeatability = EmptyRepeatability.zero
    """zero | drop: what a pair without a keypoint in the shared region counts in the mean repeatability."""
    shared_region: SharedRegion = SharedRegion.pixel_centres
    """pixel_centres (0 <= x <= W-1) | size (0 <= x < W, rpautrat and its descendants): where a warped keypoint counts
    as inside the other image."""
    mma_px: Thresholds = field(default_factory=lambda: [float(t) for t in range(1, 16)])
    precision_px: Thresholds = field(default_factory=lambda: [1.0, 3.0])
    """Thresholds of match precision and recall."""
    precision_strict: bool = False
    """True: error < t (glue-factory); False: error <= t."""
    precision_error: MatchError = MatchError.one_way
    """one_way (in the target image) | symmetric (mean of both directions, glue-factory)."""

    def __post_init__(self) -> None:
        if self.keypoints.gt_filter and not self.gt_leak:
            raise ConfigError(
                "protocol.keypoints.gt_filter=true lets the ground truth choose keypoints; "
                "set protocol.gt_leak=true, too, so that every caption says so"
            )
        for key in ("mma_px", "precision_px"):
            increasing(f"protocol.{key}", getattr(self, key))
