"""Typed configuration of ``bench train``; the values are in ``conf/train.yaml`` and ``conf/train/``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.schema.options import Option
from bench.schema.values import Batch, Folder, Found, Items, OneOf, Probability, Range, Seed, Share, Threads
from bench.train.photometric import PhotometricConfig
from bench.train.synthetic_shapes import SHAPES
from bench.train.warps import WarpConfig

STAGES = ("synthetic_shapes", "magicpoint", "adapt", "superpoint")

Factor = Annotated[float, Range(0, 1e6, "the loss would overflow")]
Steps = Annotated[int, Range(1, 10_000_000, "it would take years")]
Photographs = Annotated[str, Found("folder", "a folder of photographs")]
WeightFile = Annotated[str, Found("file", "a weight file of bench train")]
Rank = Annotated[int, Range(0, 100_000, "no photograph has that many keypoints")]
DrawingSide = Annotated[int, Range(16, 2048, "a batch of them would not fit the memory", multiple=8)]
PHASE_SCALE = Range(0.1, 10, "hardly any of the image would be left")


class AdaptDetector(Option):
    """Detectors of Homographic Adaptation."""

    magicpoint = "magicpoint"
    shi_tomasi = "shi_tomasi"
    harris = "harris"
    both = "both"


class DetectorTarget(Option):
    """What the detector learns."""

    keypoints = "keypoints"
    map = "map"


class DescriptorLoss(Option):
    """Losses on descriptors."""

    info_nce = "info_nce"
    hinge = "hinge"


class TrainDtype(Option):
    """Number format of a training."""

    float32 = "float32"
    mixed_bfloat16 = "mixed_bfloat16"


@dataclass
class OptimizerConfig:
    """AdamW with a one-cycle learning rate: linear warm-up, then a cosine to zero."""

    learning_rate: Annotated[float, Range(1e-9, 10, "it would diverge")] = 0.0025
    """The peak."""
    warmup: Annotated[float, Range(0, 0.9)] = 0.15
    """Part of the steps spent warming up."""
    weight_decay: Annotated[float, Range(0, 10, "nothing would be learned")] = 0.0001
    clip_norm: Annotated[float, Range(1e-6, 1e6, "it would never act")] = 5.0
    """Gradients are scaled to at most this global norm."""


@dataclass
class SyntheticShapesConfig:
    """The renderer; as a stage of its own it writes a preview."""

    height: DrawingSide = 120
    width: DrawingSide = 160
    shapes: Annotated[list[str], Items()] = field(default_factory=list)
    """Kinds drawn, each equally often; empty: all."""
    preview_columns: Annotated[int, Range(1, 100, "the preview would not fit a screen")] = 8
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)

    def validate(self, key: str) -> None:
        for shape in self.shapes:
            OneOf(tuple(sorted(SHAPES))).check(f"{key}.shapes", shape)


@dataclass
class MagicPointConfig:
    """The detector, trained on Synthetic Shapes."""

    steps: Steps = 1000
    batch: Batch = 16
    """Images a step."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass
class AdaptConfig:
    """Homographic Adaptation: keypoints that a detector finds in many warps of a photograph."""

    detector: AdaptDetector = AdaptDetector.magicpoint
    """magicpoint | shi_tomasi | harris | both (MagicPoint and Shi-Tomasi: the mean of the two maps, each relative to
    its 99.9th percentile)."""
    weights: WeightFile | None = None
    """Detector weights; null: those of the magicpoint stage."""
    warps: Annotated[int, Range(1, 10_000, "a photograph would take hours")] = 40
    """Views a photograph, the unwarped one included."""
    warp: WarpConfig = field(default_factory=WarpConfig)
    short_side_px: Annotated[int, Range(64, 4096, "the views would not fit the memory")] = 240
    """Photographs with a longer short side are reduced to this one before anything else."""
    min_views: Annotated[int, Range(1, 10_000)] = 8
    """Pixels seen in fewer views have no keypoints."""
    magnification: Annotated[float, Range(1, 4, "nothing finer is in the photograph")] = 1.0
    """Keypoints are found on photographs enlarged by this factor; lengths are in pixels before."""
    smoothing_sigma_px: Annotated[float, Range(0.1, 10, "one maximum would be left")] = 1.0
    """Of the map of scores."""
    nms_radius_px: Annotated[int, Range(1, 256, "one keypoint would be left")] = 4
    threshold: Probability = 0.015
    """Least mean score of a keypoint; with harris of the fourth root."""
    max_keypoints: Annotated[int, Range(1, 100_000, "more than a photograph has")] = 300

    def validate(self, key: str) -> None:
        Range(1, self.warps, "adapt.warps").check(f"{key}.min_views", self.min_views)
        validate_warp(f"{key}.warp", self.warp)


@dataclass
class PhaseConfig:
    """A part of the superpoint stage with one crop size."""

    steps: Steps = MISSING
    crop_px: Annotated[int, Range(32, 2048, "a batch of them would not fit the memory", multiple=8)] = MISSING
    batch: Batch = MISSING
    """Pairs a step."""
    points: Annotated[int, Range(8, 100_000, "their products would not fit the memory")] = MISSING
    """Corresponding points a pair for the descriptor loss."""
    scale_min: Annotated[float, PHASE_SCALE] | None = None
    scale_max: Annotated[float, PHASE_SCALE] | None = None
    """Scales of both warps in this phase; null: theirs."""
    reference_rank: Rank | None = None
    """superpoint.reference_rank in this phase; null: the stage's."""


@dataclass
class DetectorTargetConfig:
    """What the detector learns to predict."""

    kind: DetectorTarget = DetectorTarget.keypoints
    """keypoints: one a cell, at its pixel | map: the scores of all pixels."""
    gain: Annotated[float, Range(1e-6, 1)] = 0.05
    """map: probability of a pixel with the score of superpoint.reference_rank."""
    power: Annotated[float, Range(0.1, 10, "one keypoint would be left")] = 2.0
    """map: of the score, relative to that of the reference rank."""
    sharpness: Annotated[float, Range(0, 40, "one keypoint would be left")] = 0.0
    """map: power of the score relative to the largest score within 2 px, so that keypoints are narrow and keep their
    order."""


@dataclass
class DescriptorLossConfig:
    """What makes descriptors alike or different."""

    kind: DescriptorLoss = DescriptorLoss.info_nce
    """info_nce | hinge (the paper's)."""
    weight: Factor = 1.0
    """Factor on the descriptor loss in the sum with the detector loss."""
    temperature: Annotated[float, Range(1e-3, 100, "nothing would be learned")] = 0.07
    ignore_px: Annotated[float, Range(0, 1000, "no negatives would be left")] = 7.0
    """InfoNCE: points of the same image closer than this to the positive are no negatives."""
    keypoint_part: Share = 0.5
    """InfoNCE: largest part of the points that are keypoints; the others lie on a random grid."""
    positive_weight: Factor = 250.0
    positive_margin: Annotated[float, Range(-1, 1, "a product of unit vectors")] = 1.0
    negative_margin: Annotated[float, Range(-1, 1, "a product of unit vectors")] = 0.2


@dataclass
class SuperPointConfig:
    """Detector and descriptors, trained on pairs of warped crops of photographs."""

    phases: list[PhaseConfig] = field(default_factory=list)
    first_warp: WarpConfig = field(default_factory=WarpConfig)
    second_warp: WarpConfig = field(default_factory=WarpConfig)
    """From the photograph to the first and to the second crop, drawn independently."""
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
    detector_target: DetectorTargetConfig = field(default_factory=DetectorTargetConfig)
    descriptor_loss: DescriptorLossConfig = field(default_factory=DescriptorLossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    init_weights: WeightFile | None = None
    """Weights to start from; null: the magicpoint stage's where it ran, else random ones."""
    reference_rank: Rank = 150
    """Keypoints of a photograph from this rank on are labels of a probability below 1, in proportion to their scores;
    0: all labels are certain.  With detector_target.kind=map, the rank whose score has the probability ``gain``."""
    border_px: Annotated[int, Range(0, 1024, "more than half of a photograph")] = 4
    """Cells and points closer than this to the border of the photograph do not count."""

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def validate(self, key: str) -> None:
        if not self.phases:
            raise ConfigError(f"{key}.phases is empty; give at least one {{steps, crop_px, batch, points}}")
        lowest_rank = 0 if self.detector_target.kind == DetectorTarget.keypoints else 1
        for i, phase in enumerate(self.phases):
            low = self.first_warp.scale_min if phase.scale_min is None else phase.scale_min
            if phase.scale_max is not None:
                Range(low, PHASE_SCALE.high).check(f"{key}.phases[{i}].scale_max", phase.scale_max)
            if phase.reference_rank is not None:
                Range(lowest_rank, 100_000).check(f"{key}.phases[{i}].reference_rank", phase.reference_rank)
        validate_warp(f"{key}.first_warp", self.first_warp)
        validate_warp(f"{key}.second_warp", self.second_warp)
        Range(lowest_rank, 100_000).check(f"{key}.reference_rank", self.reference_rank)


@dataclass
class TrainConfig:
    """``bench train``."""

    stage: Annotated[str, OneOf(("all", *STAGES))] = "all"
    """all | synthetic_shapes | magicpoint | adapt | superpoint."""
    data: Photographs | None = None
    """Folder of photographs (adapt, superpoint)."""
    out: Folder = MISSING
    """Folder of the run; a run found there is continued."""
    seed: Seed = 0
    threads: Threads = 0
    """CPU threads of the computation; 0: all."""
    dtype: TrainDtype = TrainDtype.float32
    """float32 | mixed_bfloat16 (convolutions in bfloat16, weights and losses in float32)."""
    compile: bool = False
    """With KERAS_BACKEND=torch: compile the network (needs a C++ compiler; three times as fast on a CPU)."""
    checkpoint_every_s: Annotated[float, Range(0, 1e6, "11 days")] = 180.0
    log_every_steps: Steps = 20
    synthetic_shapes: SyntheticShapesConfig = field(default_factory=SyntheticShapesConfig)
    magicpoint: MagicPointConfig = field(default_factory=MagicPointConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    superpoint: SuperPointConfig = field(default_factory=SuperPointConfig)

    def __post_init__(self) -> None:
        if self.stage in ("all", "adapt", "superpoint") and not self.data:
            raise ConfigError(f"stage={self.stage} needs photographs; give data=DIR, a folder of images")
        self.synthetic_shapes.validate("synthetic_shapes")
        self.adapt.validate("adapt")
        if self.stage in ("all", "superpoint"):
            self.superpoint.validate("superpoint")


def validate_warp(key: str, warp: WarpConfig) -> None:
    """Raise ConfigError unless the largest scale is at least the smallest."""
    Range(warp.scale_min, PHASE_SCALE.high).check(f"{key}.scale_max", warp.scale_max)
