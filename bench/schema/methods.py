"""Models and methods. Interpolations such as ``${protocol.keypoints.max}`` tie a method to the protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import II, MISSING

from bench.core.doors import Door
from bench.core.errors import ConfigError
from bench.schema.options import (
    Aggregation,
    DetectorAlgorithm,
    FeatureFormat,
    Frame,
    Graph,
    Layout,
    ModelKind,
    NmsKind,
    NmsTargets,
    OpenCVAlgorithm,
    PerformanceHint,
    PrecisionHint,
    Runtime,
    Weights,
    Winograd,
)
from bench.schema.protocol import (
    Border,
    ClassicalMax,
    MatcherConfig,
    NmsConfig,
    NmsSize,
    SiftConfig,
    SiftContrast,
    SiftEdge,
    SiftLayers,
)
from bench.schema.values import (
    Batch,
    Device,
    Found,
    Keypoints,
    Name,
    OneOf,
    Probability,
    Range,
    Seed,
    Share,
    Streams,
    Text,
    Threads,
)

ModelPath = Annotated[str, Found("any", "a SavedModel or a weight file")]
InputScale = Annotated[float, OneOf((1.0, 255.0))]


TensorName = Annotated[str, Text(1000, False, "the name of an output in the file")]
GRAPH_SUFFIXES = (".xml", ".onnx")
"""Of model files that run as they are: OpenVINO IR and ONNX."""


def _tied(value: object) -> bool:
    """Whether a value is an interpolation that is not resolved yet."""
    return isinstance(value, str) and value.startswith("${")


@dataclass
class ModelOutputs:
    """Outputs of an IR or ONNX file that has other names for them; null: found by name or shape."""

    prob: TensorName | None = None
    """Keypoint probability of each pixel: [N, H, W], or with an axis of one channel."""
    logits: TensorName | None = None
    """Logits of the detector, 65 channels a cell of 8 x 8 pixels; used where there is no `prob`."""
    descriptors_raw: TensorName | None = None
    """A descriptor a cell, not normalised."""
    descriptors: TensorName | None = None
    """A descriptor a pixel; used where there is no `descriptors_raw`."""

    def named(self) -> dict[str, str]:
        """Those that are given."""
        found = {key: getattr(self, key) for key in ("prob", "logits", "descriptors_raw", "descriptors")}
        return {key: name for key, name in found.items() if name is not None and not _tied(name)}


@dataclass
class ModelConfig:
    """Weights of SuperPoint or MagicPoint as a TensorFlow SavedModel."""

    kind: ModelKind = MISSING
    """builtin | builtin_magicpoint (weights of the package) | sp_v6 (downloaded, verified) | path."""
    path: ModelPath | None = None
    """Of ``kind=path``: SavedModel directory, ``weights.npz`` of ``bench train``, or weights of a PyTorch SuperPoint
    (``.pth``, ``.pt``, ``.safetensors``), or an OpenVINO IR (``.xml``) or ``.onnx`` file, which runs as it is."""
    input_scale: InputScale | None = None
    """Largest input value: 1 or 255; null: by the graph (1 for SuperPoint, 255 for the 2018 MagicPoint)."""
    outputs: ModelOutputs = field(default_factory=ModelOutputs)
    layout: Layout = Layout.auto
    """Of an IR or ONNX file whose shapes do not say which axis holds the channels: NCHW | NHWC; auto: by the shapes."""

    def __post_init__(self) -> None:
        if self.kind == ModelKind.path and self.path is None:
            raise ConfigError("model=path needs model.path: a SavedModel, weights, an OpenVINO IR or ONNX file")
        if self.path is not None and self.kind in (ModelKind.builtin, ModelKind.builtin_magicpoint, ModelKind.sp_v6):
            raise ConfigError(f"model.path is not read with model={self.kind}; say model=path, too")
        given = [f"model.outputs.{key}={name}" for key, name in self.outputs.named().items()]
        if self.layout != Layout.auto and not _tied(self.layout):
            given.append(f"model.layout={self.layout}")
        if given and not _tied(self.kind) and not str(self.path).endswith(GRAPH_SUFFIXES):
            what = self.path if self.kind == ModelKind.path else f"model={self.kind}"
            raise ConfigError(
                f"{given[0]} is for an OpenVINO IR (.xml) or ONNX file; {what} has the names and the layout of sp_v6 "
                "(NHWC); leave the key out"
            )


@dataclass
class ProtocolNms(NmsConfig):
    """NMS as the protocol has it. Each key is tied alone, so that a method's key can be set without changing the
    protocol (an interpolated node as a whole would be written through)."""

    kind: NmsKind = II("protocol.keypoints.nms.kind")
    size: NmsSize = II("protocol.keypoints.nms.size")
    iou: Share = II("protocol.keypoints.nms.iou")
    applies_to: NmsTargets = II("protocol.keypoints.nms.applies_to")


@dataclass
class ProtocolSift(SiftConfig):
    """Parameters of SIFT as the protocol has them, tied key by key like :class:`ProtocolNms`."""

    contrast_threshold: SiftContrast = II("protocol.keypoints.sift.contrast_threshold")
    edge_threshold: SiftEdge = II("protocol.keypoints.sift.edge_threshold")
    octave_layers: SiftLayers = II("protocol.keypoints.sift.octave_layers")
    precise_upscale: bool = II("protocol.keypoints.sift.precise_upscale")


@dataclass
class SelectedOutputs(ModelOutputs):
    """The outputs of the model of the run, key by key."""

    prob: TensorName | None = II("model.outputs.prob")
    logits: TensorName | None = II("model.outputs.logits")
    descriptors_raw: TensorName | None = II("model.outputs.descriptors_raw")
    descriptors: TensorName | None = II("model.outputs.descriptors")


@dataclass
class SelectedModel(ModelConfig):
    """The model of the run, key by key."""

    kind: ModelKind = II("model.kind")
    path: ModelPath | None = II("model.path")
    input_scale: InputScale | None = II("model.input_scale")
    outputs: ModelOutputs = field(default_factory=SelectedOutputs)
    layout: Layout = II("model.layout")


@dataclass
class HomographicAdaptationConfig:
    """Averaging of the detector over warped copies of the image (paper section 5.2); num=0 is off."""

    num: Annotated[int, Range(0, 1000, "each is an inference")] = 0
    aggregation: Aggregation = Aggregation.sum
    seed: Seed = 0
    batch: Batch = 1


EXTRACTORS = Door(
    "method",
    "bench.extractors",
    "create",
    {
        **{runtime.value: "bench.features.superpoint:create" for runtime in Runtime},
        "opencv": "bench.features.opencv:create",
        "detector": "bench.features.detectors:create",
        "imported": "bench.features.imported:create",
    },
)


@dataclass
class MethodConfig:
    """Common to all methods."""

    backend: Name = MISSING
    label: Name | None = None
    """Name in tables; null: the key under ``methods``."""
    max_keypoints: Keypoints = II("protocol.keypoints.max")
    threads: Threads = II("threads")
    matcher: MatcherConfig | None = None
    """Instead of the protocol's, for a method that comes with a matcher of its own."""
    optional: bool | None = None
    """True: left out, with a note, where the host cannot run it; false: the command is refused there. null: true for a
    method that only a preset brings, false for one that the command line names."""
    only_with: Name | None = None
    """A Python package without which the row of a preset is not there, without a note; one that the command line names
    stays, and is refused."""


@dataclass(frozen=True)
class _Able:
    """What a runtime can be asked for."""

    weights: tuple[Weights, ...] = (Weights.f32,)
    hints: tuple[PrecisionHint, ...] = (PrecisionHint.f32,)
    full: bool = False
    """All outputs of the exported graph."""
    winograd: bool = False
    """Other ways to compute its convolutions than its own choice."""


_HALF = (PrecisionHint.f32, PrecisionHint.f16, PrecisionHint.bf16)

_ABLE = {
    Runtime.tensorflow: _Able(full=True),
    Runtime.openvino: _Able(tuple(Weights), tuple(PrecisionHint), full=True),
    Runtime.onnxruntime: _Able(),
    Runtime.mnn: _Able(tuple(Weights), _HALF, winograd=True),
    Runtime.ncnn: _Able(hints=_HALF, winograd=True),
    Runtime.torch: _Able(hints=(PrecisionHint.f32, PrecisionHint.bf16)),
    Runtime.litert: _Able(weights=(Weights.f32, Weights.f16)),
    Runtime.opencv_dnn: _Able(),
}


@dataclass
class SuperPointConfig(MethodConfig):
    """SuperPoint or MagicPoint under a runtime."""

    backend: Runtime = MISSING
    """tensorflow | openvino | onnxruntime | torch | litert | opencv_dnn | mnn | ncnn (docs/runtimes.md)."""
    model: ModelConfig = field(default_factory=SelectedModel)
    graph: Graph = Graph.sparse
    """sparse (only prob and descriptors_raw are computed) | full (all outputs of the exported graph; tensorflow and
    openvino only)."""
    descriptors: bool = True
    """False: detector only."""
    weights: Weights = Weights.f32
    """As stored: f32 | f16 | int8; OpenVINO (int8 by NNCF's post-training quantisation), MNN (8-bit weights),
    LiteRT (f16)."""
    inference_precision: PrecisionHint = PrecisionHint.f32
    """f32 | f16 | bf16 (OpenVINO, MNN, ncnn; torch: bf16 by autocast) | auto (OpenVINO: what the plugin prefers)."""
    accuracy_control: bool = False
    """int8 only: revert layers until the per-pair success probability drops by at most `max_drop`."""
    max_drop: Share = 0.01
    performance_hint: PerformanceHint = PerformanceHint.latency
    """latency (one request at a time) | throughput (several side by side); OpenVINO only."""
    device: Device = II("oc.select:device,CPU")
    """Device of OpenVINO; the other runtimes compute on the CPU."""
    num_streams: Streams | None = None
    """Requests that OpenVINO computes side by side; null: what it takes for the hint."""
    winograd: Winograd = Winograd.auto
    """mnn and ncnn, 3x3 convolutions: auto (what the runtime chooses) | small (Winograd's F(2x2, 3x3) at most, whose
    rounding is that of direct sums) | off (direct sums)."""
    compile: bool = False
    """True: by `torch.compile`, for each image size; false: operation by operation. backend=torch only."""
    nms: NmsConfig = field(default_factory=ProtocolNms)
    min_probability: Probability = II("protocol.keypoints.min_probability")
    border_px: Border = II("protocol.keypoints.border_px")
    homographic_adaptation: HomographicAdaptationConfig = field(default_factory=HomographicAdaptationConfig)

    def __post_init__(self) -> None:
        if self.accuracy_control and self.weights != Weights.int8:
            raise ConfigError(f"accuracy_control=true needs weights=int8, got {self.weights}")
        able = _ABLE.get(self.backend)
        if able is None:
            return  # an interpolation; the word itself is checked elsewhere
        if self.weights not in able.weights or self.inference_precision not in able.hints:
            raise ConfigError(
                f"backend={self.backend} runs with weights {' or '.join(able.weights)} and inference_precision "
                f"{' or '.join(able.hints)}, got {self.weights} and {self.inference_precision}; use backend=openvino"
            )
        if self.num_streams is not None and self.backend != Runtime.openvino:
            raise ConfigError(f"backend={self.backend} has no num_streams; openvino has")
        if self.winograd != Winograd.auto and not able.winograd:
            able_to = " and ".join(runtime for runtime, able in _ABLE.items() if able.winograd)
            raise ConfigError(f"backend={self.backend} has no choice of winograd={self.winograd}; {able_to} have")
        if self.compile and self.backend != Runtime.torch:
            raise ConfigError(f"compile=true is torch.compile and needs backend=torch, got {self.backend}")
        if self.graph == Graph.full and not able.full:
            raise ConfigError(
                f"backend={self.backend} computes the sparse graph; graph=full runs under "
                f"{' and '.join(runtime for runtime, able in _ABLE.items() if able.full)}"
            )


@dataclass
class OpenCVConfig(MethodConfig):
    """Detector and descriptor of OpenCV with OpenCV's parameters."""

    backend: Name = "opencv"
    algorithm: OpenCVAlgorithm = MISSING
    """sift | rootsift | orb | akaze | brisk | kaze."""
    classical_max: ClassicalMax | None = II("protocol.keypoints.classical_max")
    integer: bool = II("protocol.keypoints.integer")
    nms: NmsConfig = field(default_factory=ProtocolNms)
    sift: SiftConfig = field(default_factory=ProtocolSift)
    """Of sift and rootsift."""
    params: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of OpenCV's create function; they override the keys above."""


@dataclass
class DetectorConfig(MethodConfig):
    """Classical detectors without descriptors."""

    backend: Name = "detector"
    algorithm: DetectorAlgorithm = MISSING
    """harris | shi_tomasi | fast | random."""
    nms: NmsConfig = field(default_factory=ProtocolNms)
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class ImportedConfig(MethodConfig):
    """Features computed elsewhere."""

    backend: Name = "imported"
    format: FeatureFormat = FeatureFormat.npz
    """npz (``<image>.<suffix>`` in D2-Net's convention) | hdf5 (hloc's layout)."""
    path: Annotated[str, Found("any", "a folder or an HDF5 file of features")] | None = None
    """Folder of the npz files (null: beside the images) or the HDF5 file."""
    suffix: Annotated[str, Text(200, False, "the end of a file name")] | None = None
    """npz: file name after the image's name, e.g. ``lift`` for ``1.ppm.lift``."""
    frame: Frame = Frame.source
    """source (keypoints in pixels of the image file) | evaluated."""
    descriptors: bool = True
    """False: the files hold a detector's keypoints and scores only."""


@dataclass
class CustomConfig(MethodConfig):
    """A method outside this package: ``backend`` is an entry point of group ``bench.extractors``, or an importable
    module with ``create(name, config, context)``."""

    backend: Annotated[str, EXTRACTORS] = MISSING
    params: dict[str, Any] = field(default_factory=dict)


METHOD_CONFIGS: dict[str, type[MethodConfig]] = {
    "superpoint": SuperPointConfig,
    "opencv": OpenCVConfig,
    "detector": DetectorConfig,
    "imported": ImportedConfig,
    "custom": CustomConfig,
}
"""Schema of a preset in ``conf/method`` by its name there: ``schema_superpoint``, ..."""
