"""Words of the options whose set is closed.

OmegaConf reads a member by its name, so name and value are the same word.
"""

from __future__ import annotations

from enum import StrEnum


class Option(StrEnum):
    """A word of a closed set; messages and logs show the word."""

    def __repr__(self) -> str:
        return repr(self.value)


class NmsKind(Option):
    """Kinds of non-maximum suppression."""

    none = "none"
    box = "box"
    square = "square"
    maxpool = "maxpool"


class NmsTargets(Option):
    """Whose keypoints are suppressed."""

    maps = "maps"
    all = "all"


class GreyMode(Option):
    """Weights of the colours in a grey level."""

    bt601 = "bt601"
    bt601_swapped = "bt601_swapped"
    bt601_swapped_cv2 = "bt601_swapped_cv2"
    bt709 = "bt709"


class ResizePolicy(Option):
    """How a source image gets its evaluated size."""

    original = "original"
    short_side = "short_side"
    fixed = "fixed"
    cover_crop = "cover_crop"
    cover_topleft = "cover_topleft"


class Kernel(Option):
    """Resampling of an image."""

    area = "area"
    linear = "linear"
    tf1_bilinear = "tf1_bilinear"


class Rounding(Option):
    """How side lengths become integers."""

    round = "round"
    truncate = "truncate"
    ceil = "ceil"


class MultipleMode(Option):
    """How sides become multiples of a number."""

    crop = "crop"
    resize_up = "resize_up"


class TargetSize(Option):
    """Whose size the target image is resized by."""

    own = "own"
    reference = "reference"


class ImageDtype(Option):
    """Type of the grey levels."""

    uint8 = "uint8"
    float32 = "float32"


class HomographyMode(Option):
    """How the ground truth follows the resampling."""

    exact = "exact"
    nominal_scale = "nominal_scale"
    reference_scale = "reference_scale"


class DescriptorMetric(Option):
    """Distance of descriptors."""

    l2 = "l2"
    dot = "dot"


class MatchOrder(Option):
    """Order of the matches by the score of the reference keypoint."""

    best_first = "best_first"
    best_last = "best_last"


class CornerConvention(Option):
    """Where the far corner of an image lies."""

    size_minus_one = "size_minus_one"
    size = "size"


class ErrorAggregate(Option):
    """What stands for the corner errors of a data set."""

    mean = "mean"
    median = "median"


class AucKind(Option):
    """How the area under the curve of corner errors is computed."""

    exact = "exact"
    trapezoid = "trapezoid"


class Frame(Option):
    """Pixels of the image file, or of the image as it was evaluated."""

    source = "source"
    evaluated = "evaluated"


class Subset(Option):
    """Set of sequences."""

    all = "all"
    no_large = "no_large"
    i = "i"
    v = "v"


class DltSolver(Option):
    """How the DLT solves its system."""

    svd = "svd"
    lu = "lu"


class EmptyRepeatability(Option):
    """What a pair without a keypoint in the shared region counts."""

    zero = "zero"
    drop = "drop"


class SharedRegion(Option):
    """Where a warped point counts as inside an image."""

    pixel_centres = "pixel_centres"
    size = "size"


class MatchError(Option):
    """In which image the error of a match is measured."""

    one_way = "one_way"
    symmetric = "symmetric"


class ModelKind(Option):
    """Where the weights of a network come from."""

    builtin = "builtin"
    builtin_magicpoint = "builtin_magicpoint"
    sp_v6 = "sp_v6"
    path = "path"


class Layout(Option):
    """Order of the axes of images and maps in a model file."""

    auto = "auto"
    NCHW = "NCHW"
    NHWC = "NHWC"


class Aggregation(Option):
    """How maps of warped copies are joined."""

    sum = "sum"
    max = "max"


class Runtime(Option):
    """What computes a network."""

    tensorflow = "tensorflow"
    openvino = "openvino"
    onnxruntime = "onnxruntime"
    mnn = "mnn"
    ncnn = "ncnn"
    torch = "torch"
    litert = "litert"
    opencv_dnn = "opencv_dnn"


class Graph(Option):
    """Which outputs of a network are computed."""

    sparse = "sparse"
    full = "full"


class Weights(Option):
    """Number format of the weights in an IR."""

    f32 = "f32"
    f16 = "f16"
    int8 = "int8"


class ModelFile(Option):
    """Formats that `bench convert` writes."""

    ir = "ir"
    onnx = "onnx"


class PrecisionHint(Option):
    """Arithmetic asked of OpenVINO."""

    f32 = "f32"
    f16 = "f16"
    bf16 = "bf16"
    auto = "auto"


class Winograd(Option):
    """How far 3x3 convolutions may be computed by Winograd's algorithm."""

    auto = "auto"
    small = "small"
    off = "off"


class PerformanceHint(Option):
    """What OpenVINO optimises for."""

    latency = "latency"
    throughput = "throughput"


class OpenCVAlgorithm(Option):
    """Detectors with descriptors of OpenCV."""

    sift = "sift"
    rootsift = "rootsift"
    orb = "orb"
    akaze = "akaze"
    brisk = "brisk"
    kaze = "kaze"


class DetectorAlgorithm(Option):
    """Detectors without descriptors."""

    harris = "harris"
    shi_tomasi = "shi_tomasi"
    fast = "fast"
    random = "random"


class FeatureFormat(Option):
    """Layouts of feature files."""

    npz = "npz"
    hdf5 = "hdf5"


class LatencyMode(Option):
    """How much is timed."""

    off = "off"
    quick = "quick"
    full = "full"


class HistoryOrder(Option):
    """What a history of runs is ordered by."""

    version = "version"
    commit = "commit"
    date = "date"


class FailOn(Option):
    """What a comparison of runs fails on."""

    never = "never"
    step = "step"
    difference = "difference"


class WhenBusy(Option):
    """What a run does while another run of bench times something on this host."""

    wait = "wait"
    mark = "mark"
    refuse = "refuse"


class Cleaned(Option):
    """What `bench clean` deletes."""

    unfinished = "unfinished"
    features = "features"
    cache = "cache"


class EngineKind(Option):
    """Where a run is computed."""

    local = "local"
    ray = "ray"


class EngineData(Option):
    """How images, features and models reach the nodes of a cluster."""

    ship = "ship"
    shared = "shared"
