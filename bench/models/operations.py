"""Which operations a stranger's graph may hold: those that compute, and those that load its own variables.

An operation that is not listed is refused, so files, network, Python functions, custom kernels and everything unknown
are out without being named here. Operations of a saver read and write files. Real SavedModels hold them, and TensorFlow
needs some to load the variables; they are allowed only where loading and running the model cannot reach them, or where
the file is the one that the loader names:

- no tensor of a signature, no node named in a collection (initialisers, main operations) and no function that the
  object graph names may depend on one;
- the restore operation may depend on ``RestoreV2`` only, and its file must be the saver's file name, which the loader
  replaces by the model's own variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_COMPUTING = """
Abs Acos Acosh Add AddN AddV2 All Any ApproximateEqual ArgMax ArgMin Asin Asinh Assert Atan Atan2 Atanh AvgPool
AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchNormWithGlobalNormalization BatchToSpace BatchToSpaceND BiasAdd
BiasAddV1 Bitcast BroadcastArgs BroadcastTo Cast Ceil CheckNumerics ClipByValue CombinedNonMaxSuppression Complex
ComplexAbs Concat ConcatOffset ConcatV2 Conj Const Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cos Cosh
CropAndResize Cross Cumprod Cumsum CumulativeLogsumexp DepthToSpace DepthwiseConv2dNative Dequantize Diag DiagPart
Dilation2D Div DivNoNan DynamicPartition DynamicStitch Einsum Elu Empty EnsureShape Equal Erf Erfc Exp ExpandDims
Expm1 ExtractImagePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill Floor
FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual
GuaranteeConst Identity IdentityN ImageProjectiveTransformV2 ImageProjectiveTransformV3 InTopK InTopKV2 Inv
InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu Less LessEqual LinSpace Log Log1p LogSoftmax LogicalAnd
LogicalNot LogicalOr MatMul MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2
MatrixDiagV3 MatrixInverse MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 Max MaxPool MaxPool3D MaxPoolV2
MaxPoolWithArgmax Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Multinomial Neg NextAfter NoOp NonMaxSuppression
NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps NotEqual
OneHot OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch Placeholder PlaceholderV2 PlaceholderWithDefault
Polygamma Pow PreventGradient Prod Qr QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3
QuantizeAndDequantizeV4 QuantizeV2 QuantizedBiasAdd QuantizedConv2D QuantizedMaxPool QuantizedRelu RandomShuffle
RandomStandardNormal RandomUniform RandomUniformInt Range Rank RealDiv Reciprocal Relu Relu6 RequantizationRange
Requantize Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor Reverse ReverseSequence ReverseV2
RightShift Rint Roll Round Rsqrt ScaleAndTranslate ScatterNd SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum
Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Snapshot Softmax Softplus Softsign SpaceToBatch
SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StatelessMultinomial
StatelessRandomGetKeyCounter StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform
StatelessRandomUniformV2 StopGradient StridedSlice Sub Sum Svd Tan Tanh TensorScatterAdd TensorScatterMax
TensorScatterMin TensorScatterSub TensorScatterUpdate Tile TopK TopKV2 Transpose TruncateDiv TruncateMod
TruncatedNormal Unique UniqueV2 UniqueWithCounts Unpack UnravelIndex UnsortedSegmentMax UnsortedSegmentMin
UnsortedSegmentProd UnsortedSegmentSum Where Xdivy Xlog1py Xlogy ZerosLike

Case ControlTrigger Enter Exit For If LoopCond Merge NextIteration PartitionedCall StatefulPartitionedCall
StatelessCase StatelessIf StatelessWhile Switch While

TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3
TensorArraySplitV3 TensorArrayV3 TensorArrayWriteV3 TensorListConcatV2 TensorListElementShape TensorListFromTensor
TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListReserve
TensorListResize TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack EmptyTensorList

Assign AssignAdd AssignAddVariableOp AssignSub AssignSubVariableOp AssignVariableOp DestroyResourceOp
DisableCopyOnRead IsVariableInitialized ReadVariableOp ResourceGather ResourceGatherNd VarHandleOp VarIsInitializedOp
Variable VariableShape VariableV2

AsString StaticRegexFullMatch StringJoin
"""
COMPUTING = frozenset(_COMPUTING.split())
"""Arithmetic, control flow, lists of tensors, variables in memory, and joining of text."""

SAVING = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})
_RESTORING = "RestoreV2"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a graph or function; `functions` are those its attributes name, `nan` that its constant holds NaN."""

    name: str
    op: str
    inputs: tuple[str, ...]
    functions: tuple[str, ...] = ()
    nan: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the library."""

    name: str
    arguments: tuple[str, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MetaGraph:
    """What may run of one MetaGraphDef.

    Attributes
    ----------
    nodes : tuple of Node
    functions : tuple of Function
    named : frozenset of str
        All text in signatures and collections, among it the names of tensors and nodes that are run.
    objects : bytes
        The object graph as it stands in the file; it names the functions that Python may call.
    filename, restore : str
        Tensor and operation of the saver.
    """

    nodes: tuple[Node, ...]
    functions: tuple[Function, ...]
    named: frozenset[str]
    objects: bytes
    filename: str
    restore: str


def refused(graph: MetaGraph) -> str | None:
    """Say why a graph must not be loaded.

    Returns
    -------
    str or None
        The first node that is not allowed, by name and operation, or None.
    """
    places = [("node", graph.nodes), *((f"function {f.name!r}, node", f.nodes) for f in graph.functions)]
    library = {function.name for function in graph.functions}
    for where, nodes in places:
        for node in nodes:
            # No operation's name begins with two underscores: a function of that kind cannot pass for one.
            if node.op not in COMPUTING | SAVING and not (node.op in library and node.op.startswith("__")):
                return f"{where} {node.name!r} is the operation {node.op!r}, not one of those that only compute"
            if unknown := [name for name in node.functions if name not in library]:
                return f"{where} {node.name!r} calls {unknown[0]!r}, which is not in the file"
    return next(_misused_savers(graph), None)


def _misused_savers(graph: MetaGraph) -> Iterator[str]:
    """Reasons why saving operations could be run by more than the loader, or on another file."""
    savers = {f.name: f for f in graph.functions if any(node.op in SAVING for node in f.nodes)}
    for function in graph.functions:
        for node in function.nodes:
            for name in {node.op, *node.functions} & savers.keys():
                yield f"function {function.name!r}, node {node.name!r} calls {name!r}, which reads or writes files"
    for name in savers:
        if name.encode() in graph.objects:
            yield f"the object graph names function {name!r}, which reads or writes files"

    def operations(node: Node) -> Iterator[tuple[str, str]]:
        """Saving operations that a node of the main graph runs, and the input that is a RestoreV2's file."""
        if node.op in SAVING:
            yield node.op, node.inputs[0] if node.inputs else ""
        for name in {node.op, *node.functions} & savers.keys():
            function = savers[name]
            for inner in function.nodes:
                if inner.op in SAVING:
                    first = _first_input(inner, function.nodes)
                    of_argument = bool(function.arguments) and _name(first) == function.arguments[0]
                    yield inner.op, node.inputs[0] if of_argument and node.inputs else ""

    for node in _ancestors(graph.nodes, {_name(text) for text in graph.named}):
        for op, _ in operations(node):
            yield f"node {node.name!r} would run {op!r}, which reads or writes a file, when the model is loaded or run"
    for node in _ancestors(graph.nodes, {_name(graph.restore)}):
        for op, file in operations(node):
            if op != _RESTORING or not graph.filename or _resolved(file, graph.nodes) != _name(graph.filename):
                yield f"node {node.name!r} would run {op!r} on a file of its own choice when the variables are loaded"


def _name(tensor: str) -> str:
    """Name of the node that gives a tensor, or of a control input."""
    return tensor.removeprefix("^").partition(":")[0]


def _ancestors(nodes: Iterable[Node], roots: set[str]) -> list[Node]:
    """Nodes that the roots need, control inputs and the roots themselves included."""
    by_name: dict[str, list[Node]] = {}
    for node in nodes:
        by_name.setdefault(node.name, []).append(node)
    found: list[Node] = []
    seen, queue = set(roots), list(roots)
    while queue:
        for node in by_name.get(queue.pop(), ()):
            found.append(node)
            fresh = {_name(text) for text in node.inputs} - seen
            seen |= fresh
            queue += fresh
    return found


def _first_input(node: Node, nodes: Iterable[Node]) -> str:
    return _resolved(node.inputs[0], nodes) if node.inputs else ""


def _resolved(tensor: str, nodes: Iterable[Node]) -> str:
    """Name of the node or argument from which a tensor comes through nothing but ``Identity``."""
    identities = {node.name: node.inputs[0] for node in nodes if node.op == "Identity" and node.inputs}
    name, seen = _name(tensor), set[str]()
    while name in identities and name not in seen:
        seen.add(name)
        name = _name(identities[name])
    return name
