"""Typed configuration of ``bench train``; the values are in ``conf/train.yaml`` and ``conf/train/``."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from bench.core.errors import ConfigError
from bench.schema import at_least, one_of, within
from bench.train.photometric import PhotometricConfig
from bench.train.warps import WarpConfig

STAGES = ("synthetic_shapes", "magicpoint", "adapt", "superpoint")


@dataclass
class OptimizerConfig:
    """AdamW with a one-cycle learning rate: linear warm-up, then a cosine to zero."""

    learning_rate: float = 0.0025
    """The peak."""
    warmup: float = 0.15
    """Part of the steps spent warming up."""
    weight_decay: float = 0.0001
    clip_norm: float = 5.0
    """Gradients are scaled to at most this global norm."""

    def validate(self, key: str) -> None:
        at_least(f"{key}.learning_rate", self.learning_rate, 1e-9)
        within(f"{key}.warmup", self.warmup, 0.0, 0.9)
        at_least(f"{key}.weight_decay", self.weight_decay, 0.0)
        at_least(f"{key}.clip_norm", self.clip_norm, 1e-6)


@dataclass
class SyntheticShapesConfig:
    """The renderer; as a stage of its own it writes a preview."""

    height: int = 120
    width: int = 160
    shapes: list[str] = field(default_factory=list)
    """Kinds drawn, each equally often; empty: all."""
    preview_columns: int = 8
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)

    def validate(self, key: str) -> None:
        from bench.train.synthetic_shapes import SHAPES

        for name in ("height", "width"):
            value = getattr(self, name)
            if value < 16 or value % 8:
                raise ConfigError(f"{key}.{name}={value} is not possible; allowed: multiples of 8 from 16")
        for shape in self.shapes:
            one_of(f"{key}.shapes", shape, sorted(SHAPES))
        at_least(f"{key}.preview_columns", self.preview_columns, 1)
        validate_photometric(f"{key}.photometric", self.photometric)


@dataclass
class MagicPointConfig:
    """The detector, trained on Synthetic Shapes."""

    steps: int = 1000
    batch: int = 16
    """Images a step."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def validate(self, key: str) -> None:
        at_least(f"{key}.steps", self.steps, 1)
        at_least(f"{key}.batch", self.batch, 1)
        self.optimizer.validate(f"{key}.optimizer")


@dataclass
class AdaptConfig:
    """Homographic Adaptation: keypoints that a detector finds in many warps of a photograph."""

    detector: str = "magicpoint"
    """magicpoint | shi_tomasi | harris | both (MagicPoint and Shi-Tomasi: the mean of the two maps, each relative to
    its 99.9th percentile)."""
    weights: str | None = None
    """Detector weights; null: those of the magicpoint stage."""
    warps: int = 40
    """Views a photograph, the unwarped one included."""
    warp: WarpConfig = field(default_factory=WarpConfig)
    short_side_px: int = 240
    """Photographs with a longer short side are reduced to this one before anything else."""
    min_views: int = 8
    """Pixels seen in fewer views have no keypoints."""
    magnification: float = 1.0
    """Keypoints are found on photographs enlarged by this factor; lengths are in pixels before."""
    smoothing_sigma_px: float = 1.0
    """Of the map of scores."""
    nms_radius_px: int = 4
    threshold: float = 0.015
    """Least mean score of a keypoint; with harris of the fourth root."""
    max_keypoints: int = 300

    def validate(self, key: str) -> None:
        one_of(f"{key}.detector", self.detector, ("magicpoint", "shi_tomasi", "harris", "both"))
        at_least(f"{key}.warps", self.warps, 1)
        within(f"{key}.min_views", self.min_views, 1, self.warps)
        at_least(f"{key}.short_side_px", self.short_side_px, 64)
        within(f"{key}.magnification", self.magnification, 1.0, 4.0)
        within(f"{key}.smoothing_sigma_px", self.smoothing_sigma_px, 0.1, 10.0)
        at_least(f"{key}.nms_radius_px", self.nms_radius_px, 1)
        within(f"{key}.threshold", self.threshold, 0.0, 1.0)
        at_least(f"{key}.max_keypoints", self.max_keypoints, 1)
        validate_warp(f"{key}.warp", self.warp)


@dataclass
class PhaseConfig:
    """A part of the superpoint stage with one crop size."""

    steps: int = MISSING
    crop_px: int = MISSING
    batch: int = MISSING
    """Pairs a step."""
    points: int = MISSING
    """Corresponding points a pair for the descriptor loss."""
    scale_min: float | None = None
    scale_max: float | None = None
    """Scales of both warps in this phase; null: theirs."""
    reference_rank: int | None = None
    """superpoint.reference_rank in this phase; null: the stage's."""


@dataclass
class DetectorTargetConfig:
    """What the detector learns to predict."""

    kind: str = "keypoints"
    """keypoints: one a cell, at its pixel | map: the scores of all pixels."""
    gain: float = 0.05
    """map: probability of a pixel with the score of superpoint.reference_rank."""
    power: float = 2.0
    """map: of the score, relative to that of the reference rank."""
    sharpness: float = 0.0
    """map: power of the score relative to the largest score within 2 px, so that keypoints are narrow and keep their
    order."""

    def validate(self, key: str) -> None:
        one_of(f"{key}.kind", self.kind, ("keypoints", "map"))
        within(f"{key}.gain", self.gain, 1e-6, 1.0)
        within(f"{key}.power", self.power, 0.1, 10.0)
        within(f"{key}.sharpness", self.sharpness, 0.0, 40.0)


@dataclass
class DescriptorLossConfig:
    """What makes descriptors alike or different."""

    kind: str = "info_nce"
    """info_nce | hinge (the paper's)."""
    weight: float = 1.0
    """Factor on the descriptor loss in the sum with the detector loss."""
    temperature: float = 0.07
    ignore_px: float = 7.0
    """InfoNCE: points of the same image closer than this to the positive are no negatives."""
    keypoint_part: float = 0.5
    """InfoNCE: largest part of the points that are keypoints; the others lie on a random grid."""
    positive_weight: float = 250.0
    positive_margin: float = 1.0
    negative_margin: float = 0.2

    def validate(self, key: str) -> None:
        one_of(f"{key}.kind", self.kind, ("info_nce", "hinge"))
        at_least(f"{key}.weight", self.weight, 0.0)
        at_least(f"{key}.temperature", self.temperature, 1e-3)
        at_least(f"{key}.ignore_px", self.ignore_px, 0.0)
        within(f"{key}.keypoint_part", self.keypoint_part, 0.0, 1.0)


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
    init_weights: str | None = None
    """Weights to start from; null: the magicpoint stage's where it ran, else random ones."""
    reference_rank: int = 150
    """Keypoints of a photograph from this rank on are labels of a probability below 1, in proportion to their scores;
    0: all labels are certain.  With detector_target.kind=map, the rank whose score has the probability ``gain``."""
    border_px: int = 4
    """Cells and points closer than this to the border of the photograph do not count."""

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def validate(self, key: str) -> None:
        if not self.phases:
            raise ConfigError(f"{key}.phases is empty; give at least one {{steps, crop_px, batch, points}}")
        lowest_rank = 0 if self.detector_target.kind == "keypoints" else 1
        for i, phase in enumerate(self.phases):
            at_least(f"{key}.phases[{i}].steps", phase.steps, 1)
            at_least(f"{key}.phases[{i}].batch", phase.batch, 1)
            at_least(f"{key}.phases[{i}].points", phase.points, 8)
            low = self.first_warp.scale_min if phase.scale_min is None else phase.scale_min
            within(f"{key}.phases[{i}].scale_min", phase.scale_min, 0.1, 10.0)
            within(f"{key}.phases[{i}].scale_max", phase.scale_max, low, 10.0)
            at_least(f"{key}.phases[{i}].reference_rank", phase.reference_rank, lowest_rank)
            if phase.crop_px < 32 or phase.crop_px % 8:
                raise ConfigError(
                    f"{key}.phases[{i}].crop_px={phase.crop_px} is not possible; allowed: multiples of 8 from 32"
                )
        validate_warp(f"{key}.first_warp", self.first_warp)
        validate_warp(f"{key}.second_warp", self.second_warp)
        validate_photometric(f"{key}.photometric", self.photometric)
        self.detector_target.validate(f"{key}.detector_target")
        self.descriptor_loss.validate(f"{key}.descriptor_loss")
        self.optimizer.validate(f"{key}.optimizer")
        at_least(f"{key}.reference_rank", self.reference_rank, lowest_rank)
        at_least(f"{key}.border_px", self.border_px, 0)


@dataclass
class TrainConfig:
    """``bench train``."""

    stage: str = "all"
    """all | synthetic_shapes | magicpoint | adapt | superpoint."""
    data: str | None = None
    """Folder of photographs (adapt, superpoint)."""
    out: str = MISSING
    """Folder of the run; a run found there is continued."""
    seed: int = 0
    threads: int = 0
    """CPU threads of the computation; 0: all."""
    dtype: str = "float32"
    """float32 | mixed_bfloat16 (convolutions in bfloat16, weights and losses in float32)."""
    compile: bool = False
    """With KERAS_BACKEND=torch: compile the network (needs a C++ compiler; three times as fast on a CPU)."""
    checkpoint_every_s: float = 180.0
    log_every_steps: int = 20
    synthetic_shapes: SyntheticShapesConfig = field(default_factory=SyntheticShapesConfig)
    magicpoint: MagicPointConfig = field(default_factory=MagicPointConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    superpoint: SuperPointConfig = field(default_factory=SuperPointConfig)

    def __post_init__(self) -> None:
        one_of("stage", self.stage, ("all", *STAGES))
        one_of("dtype", self.dtype, ("float32", "mixed_bfloat16"))
        at_least("seed", self.seed, 0)
        at_least("threads", self.threads, 0)
        at_least("checkpoint_every_s", self.checkpoint_every_s, 0.0)
        at_least("log_every_steps", self.log_every_steps, 1)
        if self.stage in ("all", "adapt", "superpoint") and not self.data:
            raise ConfigError(f"stage={self.stage} needs photographs; give data=DIR, a folder of images")
        self.synthetic_shapes.validate("synthetic_shapes")
        self.magicpoint.validate("magicpoint")
        self.adapt.validate("adapt")
        if self.stage in ("all", "superpoint"):
            self.superpoint.validate("superpoint")


def validate_warp(key: str, warp: WarpConfig) -> None:
    within(f"{key}.rotation_deg", warp.rotation_deg, 0.0, 180.0)
    at_least(f"{key}.rotation_falloff", warp.rotation_falloff, 0.0)
    within(f"{key}.scale_min", warp.scale_min, 0.1, 10.0)
    within(f"{key}.scale_max", warp.scale_max, warp.scale_min, 10.0)
    within(f"{key}.perspective", warp.perspective, 0.0, 0.45)
    within(f"{key}.shear", warp.shear, 0.0, 1.0)
    within(f"{key}.translation", warp.translation, 0.0, 1.0)


def validate_photometric(key: str, photometric: PhotometricConfig) -> None:
    for name in ("shading", "blur", "motion_blur", "noise"):
        within(f"{key}.{name}", getattr(photometric, name), 0.0, 1.0)
    for name in ("shading_log_gain", "gamma_log", "gain_log", "bias", "noise_sigma", "strength"):
        within(f"{key}.{name}", getattr(photometric, name), 0.0, 3.0)
    within(f"{key}.blur_sigma_px", photometric.blur_sigma_px, 0.2, 10.0)
