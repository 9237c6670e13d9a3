"""Models and methods. Interpolations such as ``${protocol.keypoints.max}`` tie a method to the protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import II, MISSING

from bench.core.errors import ConfigError
from bench.schema.checks import at_least, one_of, within
from bench.schema.protocol import NmsConfig, SiftConfig


@dataclass
class ModelConfig:
    """Weights of SuperPoint or MagicPoint as a TensorFlow SavedModel."""

    kind: str = MISSING
    """builtin | builtin_magicpoint (weights of the package) | sp_v6 (downloaded, verified) | path."""
    path: str | None = None
    """Of ``kind=path``: SavedModel directory, or ``weights.npz`` of ``bench train``."""
    input_scale: float | None = None
    """Largest input value: 1 or 255; null: by the graph (1 for SuperPoint, 255 for the 2018 MagicPoint)."""

    def __post_init__(self) -> None:
        one_of("model.kind", self.kind, ("builtin", "builtin_magicpoint", "sp_v6", "path"))
        if self.input_scale is not None:
            one_of("model.input_scale", self.input_scale, (1.0, 255.0))


@dataclass
class ProtocolNms(NmsConfig):
    """NMS as the protocol has it. Each key is tied alone, so that a method's key can be set without changing the
    protocol (an interpolated node as a whole would be written through)."""

    kind: str = II("protocol.keypoints.nms.kind")
    size: int = II("protocol.keypoints.nms.size")
    iou: float = II("protocol.keypoints.nms.iou")
    applies_to: str = II("protocol.keypoints.nms.applies_to")


@dataclass
class ProtocolSift(SiftConfig):
    """Parameters of SIFT as the protocol has them, tied key by key like :class:`ProtocolNms`."""

    contrast_threshold: float = II("protocol.keypoints.sift.contrast_threshold")
    edge_threshold: float = II("protocol.keypoints.sift.edge_threshold")
    octave_layers: int = II("protocol.keypoints.sift.octave_layers")
    precise_upscale: bool = II("protocol.keypoints.sift.precise_upscale")


@dataclass
class SelectedModel(ModelConfig):
    """The model of the run, key by key."""

    kind: str = II("model.kind")
    path: str | None = II("model.path")
    input_scale: float | None = II("model.input_scale")


@dataclass
class HomographicAdaptationConfig:
    """Averaging of the detector over warped copies of the image (paper section 5.2); num=0 is off."""

    num: int = 0
    aggregation: str = "sum"
    seed: int = 0
    batch: int = 1

    def __post_init__(self) -> None:
        at_least("homographic_adaptation.num", self.num, 0)
        one_of("homographic_adaptation.aggregation", self.aggregation, ("sum", "max"))
        at_least("homographic_adaptation.batch", self.batch, 1)


@dataclass
class MethodConfig:
    """Common to all methods."""

    backend: str = MISSING
    label: str | None = None
    """Name in tables; null: the key under ``methods``."""
    max_keypoints: int = II("protocol.keypoints.max")
    threads: int = II("threads")
    optional: bool | None = None
    """True: left out, with a note, where the host cannot run it; false: the command is refused there. null: true for a
    method that only a preset brings, false for one that the command line names."""


@dataclass
class SuperPointConfig(MethodConfig):
    """SuperPoint or MagicPoint under TensorFlow or OpenVINO."""

    backend: str = MISSING
    """tensorflow | openvino."""
    model: ModelConfig = field(default_factory=SelectedModel)
    graph: str = "sparse"
    """sparse (only prob and descriptors_raw are computed) | full (all outputs of the exported graph)."""
    descriptors: bool = True
    """False: detector only."""
    weights: str = "f32"
    """Weights in the IR: f32 | f16 (compressed) | int8 (NNCF post-training quantisation); OpenVINO only."""
    inference_precision: str = "f32"
    """OpenVINO's hint: f32 | f16 | bf16 | auto (what the plugin prefers)."""
    accuracy_control: bool = False
    """int8 only: revert layers until the per-pair success probability drops by at most `max_drop`."""
    max_drop: float = 0.01
    performance_hint: str = "latency"
    nms: NmsConfig = field(default_factory=ProtocolNms)
    min_probability: float = II("protocol.keypoints.min_probability")
    border_px: int = II("protocol.keypoints.border_px")
    homographic_adaptation: HomographicAdaptationConfig = field(default_factory=HomographicAdaptationConfig)

    def __post_init__(self) -> None:
        one_of("method.backend", self.backend, ("tensorflow", "openvino"))
        one_of("method.graph", self.graph, ("sparse", "full"))
        one_of("method.weights", self.weights, ("f32", "f16", "int8"))
        one_of("method.inference_precision", self.inference_precision, ("f32", "f16", "bf16", "auto"))
        one_of("method.performance_hint", self.performance_hint, ("latency", "throughput"))
        within("method.min_probability", self.min_probability, 0.0, 1.0)
        if self.backend == "tensorflow" and (self.weights != "f32" or self.inference_precision != "f32"):
            raise ConfigError(
                "backend=tensorflow runs the SavedModel in f32; weights and inference_precision must be f32, "
                f"got {self.weights} and {self.inference_precision}; use backend=openvino"
            )


@dataclass
class OpenCVConfig(MethodConfig):
    """Detector and descriptor of OpenCV with OpenCV's parameters."""

    backend: str = "opencv"
    algorithm: str = MISSING
    """sift | rootsift | orb | akaze | brisk | kaze."""
    classical_max: int | None = II("protocol.keypoints.classical_max")
    integer: bool = II("protocol.keypoints.integer")
    nms: NmsConfig = field(default_factory=ProtocolNms)
    sift: SiftConfig = field(default_factory=ProtocolSift)
    """Of sift and rootsift."""
    params: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of OpenCV's create function; they override the keys above."""

    def __post_init__(self) -> None:
        one_of("method.algorithm", self.algorithm, ("sift", "rootsift", "orb", "akaze", "brisk", "kaze"))


@dataclass
class DetectorConfig(MethodConfig):
    """Classical detectors without descriptors."""

    backend: str = "detector"
    algorithm: str = MISSING
    """harris | shi_tomasi | fast | random."""
    nms: NmsConfig = field(default_factory=ProtocolNms)
    params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("method.algorithm", self.algorithm, ("harris", "shi_tomasi", "fast", "random"))


@dataclass
class ImportedConfig(MethodConfig):
    """Features computed elsewhere."""

    backend: str = "imported"
    format: str = "npz"
    """npz (``<image>.<suffix>`` in D2-Net's convention) | hdf5 (hloc's layout)."""
    path: str | None = None
    """Folder of the npz files (null: beside the images) or the HDF5 file."""
    suffix: str | None = None
    """npz: file name after the image's name, e.g. ``lift`` for ``1.ppm.lift``."""
    frame: str = "source"
    """source (keypoints in pixels of the image file) | evaluated."""
    descriptors: bool = True
    """False: the files hold a detector's keypoints and scores only."""

    def __post_init__(self) -> None:
        one_of("method.format", self.format, ("npz", "hdf5"))
        one_of("method.frame", self.frame, ("source", "evaluated"))


@dataclass
class CustomConfig(MethodConfig):
    """A method outside this package: ``backend`` is an importable module with ``create(name, config, context)``."""

    params: dict[str, Any] = field(default_factory=dict)
