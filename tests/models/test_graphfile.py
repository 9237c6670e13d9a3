"""IR and ONNX files of the user: run as they are, give the features of the same weights, refused where they lie."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.core.errors import ConfigError, ModelError
from bench.core.types import Context, EvaluatedImage, Features, Size
from bench.features.base import check_sizes, runnable
from bench.features.superpoint import create
from bench.models.graphfile import GraphFingerprint, graph_file_of, read_graph_file
from bench.models.network import BATCH_NORM_EPSILON, DESCRIPTOR_HEAD, DETECTOR_HEAD, ENCODER
from bench.models.store import saved_model
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights
from bench.schema import ImageConfig, ModelConfig, NmsConfig, SuperPointConfig
from bench.schema.methods import ModelOutputs

SIZE = Size(120, 160)


def config(**changes: Any) -> SuperPointConfig:
    return SuperPointConfig(
        **(
            {
                "backend": "openvino",
                "model": ModelConfig("builtin"),
                "max_keypoints": 200,
                "threads": 1,
                "nms": NmsConfig("box", 8, 0.1, "maps"),
                "min_probability": 0.001,
                "border_px": 0,
            }
            | changes
        )
    )


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("graphfile")
    return Context(threads=1, cache=root / "cache", data_root=root)


@pytest.fixture(scope="module")
def irs(context: Context) -> Path:
    """Folder with the builtin model as `ovc` writes it: free size and one size, FP32 and FP16."""
    import openvino

    folder = context.data_root / "ir"
    folder.mkdir()
    directory = str(saved_model(ModelConfig("builtin"), context))
    free = openvino.convert_model(directory)
    built_in = openvino.convert_model(directory, input=[1, SIZE.height, SIZE.width, 1])
    openvino.save_model(free, folder / "free.xml", compress_to_fp16=False)
    openvino.save_model(free, folder / "half.xml")
    openvino.save_model(built_in, folder / "size.xml", compress_to_fp16=False)
    return folder


def write_onnx(
    path: Path,
    weights: Mapping[str, NDArray[Any]],
    external: bool = False,
    dtype: Any = np.float32,
    image: tuple[Any, ...] = ("N", 1, "H", "W"),
    names: tuple[str, str] = ("semi", "desc"),
    known: bool = True,
) -> None:
    """The semi-dense network as PyTorch exports it: [N, 1, H, W] in, [N, 65, h, w] and [N, 256, h, w] out.

    With an `image` whose last axis is 1 as tf2onnx does: NHWC in, a transposition, and NHWC out. `known` false: no
    shape says where the channels are.
    """
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed; it writes the files of this test")
    nodes, initial = [], []

    def constant(name: str, array: NDArray[Any]) -> str:
        initial.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def block(tensor: str, spec: Any) -> str:
        part = {name.removeprefix(f"{spec.scope}/"): array for name, array in weights.items() if spec.scope in name}
        key, pad = f"{spec.part}_{spec.name}", spec.kernel_px // 2
        kernel = constant(f"{key}.weight", part["conv/kernel"].transpose(3, 2, 0, 1))
        bias = constant(f"{key}.bias", part["conv/bias"])
        tensor = add("Conv", [tensor, kernel, bias], f"{key}_conv", pads=[pad] * 4)
        if spec.relu:
            tensor = add("Relu", [tensor], f"{key}_relu")
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        norms = [constant(f"{key}.{name}", part[f"bn/{name}"]) for name in names]
        tensor = add("BatchNormalization", [tensor, *norms], f"{key}_bn", epsilon=BATCH_NORM_EPSILON)
        return add("MaxPool", [tensor], f"{key}_pool", kernel_shape=[2, 2], strides=[2, 2]) if spec.pool else tensor

    last, kind = image[3] == 1, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensor = add("Transpose", ["input"], "nchw", perm=[0, 3, 1, 2]) if last else "input"
    for spec in ENCODER:
        tensor = block(tensor, spec)
    heads = []
    for head in (DETECTOR_HEAD, DESCRIPTOR_HEAD):
        found = tensor
        for spec in head:
            found = block(found, spec)
        heads.append(found)
    value, outputs = onnx.helper.make_tensor_value_info, []
    for name, head, channels in zip(names, heads, (65, 256), strict=True):
        add("Transpose", [head], name, perm=[0, 2, 3, 1] if last else [0, 1, 2, 3])
        shape = ["N", "h", "w", channels] if last else ["N", channels, "h", "w"]
        outputs.append(value(name, kind, shape if known else ["N", "a", "b", "c"]))
    graph = onnx.helper.make_graph(
        nodes, "superpoint", [value("input", kind, list(image) if known else ["N", "A", "B", "C"])], outputs, initial
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, path, save_as_external_data=external, location="weights" if external else None)


def image() -> EvaluatedImage:
    rng = np.random.default_rng(5)
    grey = cv2.GaussianBlur(np.kron(rng.integers(0, 255, (15, 20)), np.ones((8, 8))).astype(np.uint8), (5, 5), 1)
    return EvaluatedImage("test", grey, np.eye(3))


def features(context: Context, **changes: Any) -> Features:
    method = create("it", config(**changes), context)
    method.warm_up(SIZE)
    return method.extract(image())[0]


def same(a: Features, b: Features, atol: float) -> None:
    assert len(a.keypoints) > 30
    np.testing.assert_array_equal(a.keypoints, b.keypoints)
    np.testing.assert_allclose(a.scores, b.scores, atol=atol)
    assert a.descriptors is not None and b.descriptors is not None
    assert np.einsum("nd,nd->n", a.descriptors, b.descriptors).min() > 1 - atol


@pytest.mark.slow
@pytest.mark.parametrize("name", ["free.xml", "size.xml"])
def test_an_ir_of_the_user_gives_the_features_of_ours(name: str, irs: Path, context: Context) -> None:
    same(features(context, model=ModelConfig("path", str(irs / name))), features(context), 1e-5)


ALL_FIRST, ALL_LAST = ("image", "logits", "descriptors_raw"), ()


@pytest.mark.slow
@pytest.mark.extras
@pytest.mark.parametrize(
    ("written", "keys", "weights", "channels_first"),
    [
        ({}, {}, "f32", ALL_FIRST),
        ({"image": ("N", "H", "W", 1)}, {}, "f32", ALL_LAST),
        (
            {"known": False},
            {"layout": "NCHW", "outputs": ModelOutputs(logits="semi", descriptors_raw="desc")},
            "f32",
            ALL_FIRST,
        ),
        (
            {"names": ("descriptors", "prob")},
            {"outputs": ModelOutputs(logits="descriptors", descriptors_raw="prob")},
            "f32",
            ALL_FIRST,
        ),
        ({"dtype": np.float16}, {}, "f16", ALL_FIRST),
    ],
    ids=["NCHW", "NHWC", "layout", "names", "FP16"],
)
def test_an_onnx_file_gives_the_features_of_the_same_weights(
    written: dict[str, Any],
    keys: dict[str, Any],
    weights: str,
    channels_first: tuple[str, ...],
    tmp_path: Path,
    context: Context,
) -> None:
    write_onnx(tmp_path / "superpoint.onnx", load_weights(BUILTIN_SUPERPOINT), **written)
    model = ModelConfig("path", str(tmp_path / "superpoint.onnx"), **keys)
    found = graph_file_of(model)
    assert found.weights == weights and found.channels_first == channels_first
    ours, theirs = features(context, model=model, weights=weights), features(context)
    if weights == "f32":
        same(ours, theirs, 1e-4)
    else:  # activations in half precision, too: near-ties change places
        assert len({tuple(xy) for xy in ours.keypoints} & {tuple(xy) for xy in theirs.keypoints}) > 0.9 * len(theirs)


@pytest.mark.extras
def test_an_onnx_file_that_does_not_say_its_layout_is_asked_for_it(tmp_path: Path) -> None:
    write_onnx(tmp_path / "m.onnx", load_weights(BUILTIN_SUPERPOINT), known=False)
    with pytest.raises(
        ModelError, match=r"'input' is \[\?, \?, \?, \?\].*set model\.layout=NCHW or model\.layout=NHWC"
    ):
        read_graph_file(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"its outputs are semi .*model\.outputs\.prob=NAME"):
        read_graph_file(tmp_path / "m.onnx", layout="NCHW")
    with pytest.raises(
        ModelError, match=r"model\.outputs\.logits=smei: no such output; did you mean semi\? It has semi"
    ):
        read_graph_file(tmp_path / "m.onnx", named={"logits": "smei"}, layout="NCHW")


@pytest.mark.slow
def test_an_ir_of_nncf_is_an_int8_model(irs: Path, tmp_path: Path, context: Context) -> None:
    """As a user's own script quantises the sparse graph."""
    nncf = pytest.importorskip("nncf", reason="needs the extra int8")
    import openvino

    model = openvino.Core().read_model(str(irs / "free.xml"))
    for output in list(model.outputs):
        if not output.get_names() & {"prob", "descriptors_raw"}:
            model.remove_result(output.get_node())
    model.reshape([1, -1, -1, 1])
    grey = image().grey.astype(np.float32)[None, :, :, None] / 255
    openvino.save_model(nncf.quantize(model, nncf.Dataset([grey]), subset_size=1), tmp_path / "int8.xml")
    found = read_graph_file(tmp_path / "int8.xml")
    assert (found.weights, found.batch, sorted(found.output_tensors)) == ("int8", 1, ["descriptors_raw", "prob"])
    method = create("it", config(model=ModelConfig("path", str(tmp_path / "int8.xml")), weights="int8"), context)
    method.warm_up(SIZE)
    assert len(method.extract(image())[0].keypoints) > 30
    assert str(method.info().precision["label"]).startswith("INT8 (")


@pytest.mark.slow
def test_a_magicpoint_ir_gives_the_keypoints_of_its_savedmodel(shared: Path, tmp_path: Path, context: Context) -> None:
    import openvino

    folder = shared / "models/magic-point_02-12-2018"
    openvino.save_model(openvino.convert_model(str(folder)), tmp_path / "mp.xml", compress_to_fp16=False)
    with pytest.raises(ModelError, match="a detector does not say whether white is 1 or 255"):
        read_graph_file(tmp_path / "mp.xml")
    theirs = features(context, model=ModelConfig("path", str(folder)), min_probability=0.015)
    ours = features(context, model=ModelConfig("path", str(tmp_path / "mp.xml"), 255.0), min_probability=0.015)
    assert ours.descriptors is None and len(ours) > 30
    np.testing.assert_array_equal(ours.keypoints, theirs.keypoints)


def write_ir(
    path: Path,
    outputs: Mapping[str, tuple[int, ...]],
    image: tuple[int, ...] = (1, -1, -1, 1),
    kind: str = "f32",
    version: str = "opset1",
    head: str = "",
) -> Path:
    """The frame of an IR: an input, outputs, and a constant of the 8 bytes beside it."""

    def dims(shape: tuple[int, ...]) -> str:
        return "".join(f"<dim>{side}</dim>" for side in shape)

    layers = [
        f'<layer id="0" name="x" type="Parameter" version="opset1"><data shape="" element_type="{kind}"/>'
        f'<output><port id="0" names="image">{dims(image)}</port></output></layer>',
        f'<layer id="1" name="c" type="Const" version="{version}">'
        '<data element_type="f32" offset="0" size="8"/></layer>',
    ]
    edges = []
    for number, (name, shape) in enumerate(outputs.items()):
        node, result = 2 + 2 * number, 3 + 2 * number
        layers.append(
            f'<layer id="{node}" name="n{node}" type="Add" version="opset1"><output>'
            f'<port id="2" names="scope/{name}:0,{name}">{dims(shape)}</port></output></layer>'
            f'<layer id="{result}" name="scope/{name}/sink_port_0" type="Result" version="opset1"><input>'
            f'<port id="0">{dims(shape)}</port></input></layer>'
        )
        edges.append(f'<edge from-layer="{node}" from-port="2" to-layer="{result}" to-port="0"/>')
    path.write_text(
        f'<?xml version="1.0"?>{head}<net name="m" version="11"><layers>{"".join(layers)}</layers>'
        f"<edges>{''.join(edges)}</edges></net>"
    )
    path.with_suffix(".bin").write_bytes(bytes(8))
    return path


SIX = {
    "prob": (1, -1, -1),
    "descriptors": (1, -1, -1, 256),
    "pred": (1, -1, -1),
    "descriptors_raw": (1, -1, -1, 256),
    "logits": (1, -1, -1, 65),
    "prob_nms": (1, -1, -1),
}


@pytest.mark.parametrize("order", [sorted(SIX), sorted(SIX, reverse=True), list(SIX)])
def test_the_six_outputs_in_any_order(order: list[str], tmp_path: Path) -> None:
    """Named by their tensors, as OpenVINO before 2026 writes them; only the names of nodes end in sink_port_0."""
    found = read_graph_file(write_ir(tmp_path / "m.xml", {name: SIX[name] for name in order}))
    assert found.output_tensors == {key: key for key in ("prob", "descriptors_raw", "descriptors", "logits")}
    assert found.channels_first == () and found.input_tensor == "image"


SEMI_DENSE = {"logits": "a", "descriptors_raw": "b"}
SPARSE = {"prob": "a", "descriptors_raw": "b"}


@pytest.mark.parametrize(
    ("outputs", "keys", "wanted", "first"),
    [
        ({"a": (1, 65, 15, 20), "b": (1, 256, 15, 20)}, {}, SEMI_DENSE, ["logits", "descriptors_raw"]),
        ({"b": (1, 15, 20, 256), "a": (1, 15, 20, 65)}, {}, SEMI_DENSE, []),
        ({"a": (1, 1, 120, 160), "b": (1, 15, 20, 256)}, {"named": {"prob": "a"}}, SPARSE, ["prob"]),
        (
            {"a": (1, 120, 160), "b": (1, 15, 20, 128)},
            {"named": {"prob": "scope/a:0", "descriptors_raw": "b"}, "layout": "NHWC"},
            SPARSE,
            [],
        ),
        ({"a": (1, 65, 20, 65)}, {"layout": "NHWC", "input_scale": 1.0}, {"logits": "a"}, []),
    ],
)
def test_outputs_are_found_or_named(
    outputs: Any, keys: Any, wanted: dict[str, str], first: list[str], tmp_path: Path
) -> None:
    found = read_graph_file(write_ir(tmp_path / "m.xml", outputs), **keys)
    assert found.output_tensors == wanted and list(found.channels_first) == first


@pytest.mark.parametrize(
    ("outputs", "keys", "sentence"),
    [
        ({"a": (1, 65, 20, 65)}, {"input_scale": 1.0}, "does not say where its channels are; set model.layout=NCHW"),
        (
            {"a": (1, 120, 160)},
            {"named": {"logits": "a"}},
            r"'a' \(model\.outputs\.logits\) is \[1, 120, 160\], expected \[N, h, w, 65\]",
        ),
        ({"a": (1, 3, 120, 160)}, {"named": {"prob": "a"}}, r"is \[1, 3, 120, 160\]: 1 channels are expected"),
        (
            {"prob": (1, 120, 160)},
            {"named": {"prob": "porb"}},
            r"prob=porb: no such output; did you mean prob\? It has prob",
        ),
        ({"keypoints": (-1, 2), "scores": (-1,)}, {}, r"its outputs are keypoints \[\?, 2\], scores \[\?\]; expected"),
        ({"prob": (1, 120, 160)}, {"layout": "NCHW"}, r"layout=NCHW, but input 'image' is \[1, \?, \?, 1\]; leave"),
    ],
)
def test_outputs_that_do_not_fit_are_named_with_the_key_that_helps(
    outputs: Any, keys: Any, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=sentence):
        read_graph_file(write_ir(tmp_path / "m.xml", outputs), **keys)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"image": (1, 480, 640, 3)}, r"'image' is \[1, 480, 640, 3\], expected \[N, H, W, 1\] or"),
        ({"image": (480, 640)}, r"'image' is \[480, 640\], expected"),
        ({"kind": "u8"}, r"input 'image' takes u8, expected f32 or f16 with white at 1 or 255"),
        ({"version": "extension"}, "layer 'c' is Const of 'extension', an operation of an extension library"),
        ({"version": "custom_opset"}, "an operation of an extension library"),
        ({"head": '<!DOCTYPE net [<!ENTITY a "aaaa">]>'}, "it defines entities"),
    ],
)
def test_an_ir_that_is_no_plain_network_is_refused(keys: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=sentence):
        read_graph_file(write_ir(tmp_path / "m.xml", SIX, **keys))


def test_the_keys_of_a_file_are_refused_for_other_models(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.layout=NCHW is for an OpenVINO IR .* model=builtin has the names"):
        ModelConfig("builtin", layout="NCHW")
    with pytest.raises(ConfigError, match=r"model\.outputs\.prob=p is for .*; weights\.npz has the names"):
        ModelConfig("path", "weights.npz", outputs=ModelOutputs(prob="p"))


def test_links_are_followed_and_dead_ones_named(tmp_path: Path) -> None:
    """Caches of model hubs are folders of links; what they lead to is what the fingerprint is of."""
    (tmp_path / "store").mkdir()
    there = write_ir(tmp_path / "store/m.xml", SIX)
    for suffix in (".xml", ".bin"):
        (tmp_path / f"m{suffix}").symlink_to(there.with_suffix(suffix))
    assert read_graph_file(tmp_path / "m.xml").variables_sha256 == read_graph_file(there).variables_sha256
    there.with_suffix(".bin").unlink()
    with pytest.raises(ModelError, match=r"m\.bin are not beside it \(a link to .*store/m\.bin, which is none\)"):
        read_graph_file(tmp_path / "m.xml")
    (tmp_path / "loop.onnx").symlink_to(tmp_path / "loop.onnx")
    with pytest.raises(ModelError, match="no such model file"):
        read_graph_file(tmp_path / "loop.onnx")
    with pytest.raises(ModelError, match="no such model file"):
        read_graph_file(tmp_path)


def test_files_that_are_too_large_are_not_read(tmp_path: Path) -> None:
    for name, of in (("a.onnx", "a.onnx"), ("b.xml", "b.xml"), ("c.xml", "c.bin")):
        write_ir(tmp_path / Path(name).with_suffix(".xml"), SIX)
        with (tmp_path / of).open("ab") as file:
            file.truncate(3 << 30)  # a hole: takes no room
        with pytest.raises(ModelError, match=r"has 3072 MB; SuperPoint has 5"):
            read_graph_file(tmp_path / name)


def test_another_bin_than_the_card_beside_it_names_is_refused(tmp_path: Path) -> None:
    path = write_ir(tmp_path / "m.xml", SIX)
    files = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("m.xml", "m.bin")}
    (tmp_path / "model.json").write_text(json.dumps({"sha256": files}))
    before = read_graph_file(path)
    path.with_suffix(".bin").write_bytes(bytes([0, 0, 0, 0, 0, 0, 0, 1]))
    with pytest.raises(ModelError, match=r"m\.bin is not the file that model\.json beside it names"):
        read_graph_file(path)
    (tmp_path / "model.json").write_text('{"of": "another tool"}')
    assert read_graph_file(path).variables_sha256 != before.variables_sha256


@pytest.mark.slow
def test_the_fingerprint_is_of_the_files_that_run(irs: Path, context: Context, tmp_path: Path) -> None:
    for suffix in (".xml", ".bin"):
        shutil.copy(irs / f"half{suffix}", tmp_path / f"sp_v6{suffix}")
    found = read_graph_file(tmp_path / "sp_v6.xml")
    assert isinstance(found, GraphFingerprint) and found.weights == "f16" and found.height is None
    data = bytearray((tmp_path / "sp_v6.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "sp_v6.bin").write_bytes(data)
    other = read_graph_file(tmp_path / "sp_v6.xml")
    assert other.graph_sha256 == found.graph_sha256 and other.variables_sha256 != found.variables_sha256
    info = create("it", config(weights="f16", model=ModelConfig("path", str(tmp_path / "sp_v6.xml"))), context).info()
    assert info.fingerprint["variables_sha256"] == other.variables_sha256 and info.fingerprint["graph"] == "file"


@pytest.mark.slow
def test_rows_that_cannot_run_the_file_are_named(irs: Path) -> None:
    model = ModelConfig("path", str(irs / "half.xml"))
    methods = {
        "tf": config(backend="tensorflow", model=model, optional=True),
        "fp32": config(model=model, optional=True),
        "fp16": config(model=model, weights="f16", optional=True),
    }
    kept, left_out = runnable(methods)
    assert list(kept) == ["fp16"]
    assert left_out["tf"] == "TensorFlow does not read half.xml; OpenVINO does"
    assert left_out["fp32"] == "half.xml holds f16 weights and runs as it is, not as f32"
    methods["fp32"].optional = False
    with pytest.raises(ConfigError, match=r"methods\.fp32 cannot run here: half\.xml holds f16"):
        runnable(methods)


@pytest.mark.slow
def test_a_built_in_size_is_asked_for_before_any_work(irs: Path, context: Context) -> None:
    method = config(model=ModelConfig("path", str(irs / "size.xml")))
    check_sizes({"it": method}, ImageConfig(policy="cover_crop", height=120, width=160))
    for wrong in (ImageConfig(policy="short_side"), ImageConfig(policy="fixed", height=160, width=120)):
        with pytest.raises(ModelError, match=r"is built for 120x160 \(HxW\).*image\.height=120"):
            check_sizes({"it": method}, wrong)
    with pytest.raises(ModelError, match=r"built for 120x160 \(HxW\), the evaluated image is 160x120"):
        create("it", method, context).warm_up(Size(160, 120))


@pytest.mark.slow
def test_a_bin_that_is_cut_or_missing_is_refused(irs: Path, tmp_path: Path) -> None:
    shutil.copy(irs / "free.xml", tmp_path / "free.xml")
    with pytest.raises(ModelError, match=r"its weights free\.bin are not beside it"):
        read_graph_file(tmp_path / "free.xml")
    shutil.copy(irs / "half.bin", tmp_path / "free.bin")
    with pytest.raises(ModelError, match="it belongs to another model or is cut"):
        read_graph_file(tmp_path / "free.xml")


@pytest.mark.extras
def test_onnx_data_in_another_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_onnx(tmp_path / "in/superpoint.onnx", load_weights(BUILTIN_SUPERPOINT), external=True)
    with pytest.raises(ModelError, match=r"lie in another file, which is not read; export the model as one file"):
        read_graph_file(tmp_path / "in/superpoint.onnx")


def small_onnx(path: Path, nodes: list[Any], functions: list[Any] = [], **more: Any) -> Path:  # noqa: B006
    """A file with the outputs of sp_v6 and the nodes that are given."""
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed; it writes the files of this test")
    value, made = onnx.helper.make_tensor_value_info, onnx.helper.make_opsetid
    outputs = [value("prob", 1, ["N", "H", "W"]), value("descriptors_raw", 1, ["N", "h", "w", 256])]
    graph = onnx.helper.make_graph(nodes, "m", [value("image", 1, ["N", "H", "W", 1])], outputs, **more)
    domains = {"": 17, **{node.domain: 1 for node in nodes if node.domain}}
    opsets = [made(domain, version) for domain, version in domains.items()]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opsets, functions=functions).SerializeToString())
    return path


@pytest.mark.extras
@pytest.mark.parametrize("domain", ["evil", "com.microsoft", "ai.onnx.contrib"])
def test_an_onnx_operation_of_a_library_is_refused(domain: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed; it writes the files of this test")
    node = onnx.helper.make_node("EPContext", ["image"], ["prob"], name="it", domain=domain)
    sentence = f"node 'it' is EPContext of the domain '{domain}', an operation of a library, which is not loaded"
    with pytest.raises(ModelError, match=sentence):
        read_graph_file(small_onnx(tmp_path / "m.onnx", [node]))
    inner = onnx.helper.make_graph([node], "branch", [], [])
    branch = onnx.helper.make_node("If", ["image"], ["prob"], then_branch=inner, else_branch=inner)
    with pytest.raises(ModelError, match=sentence):
        read_graph_file(small_onnx(tmp_path / "m.onnx", [branch]))


@pytest.mark.extras
def test_functions_of_an_onnx_file_are_looked_into(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed; it writes the files of this test")
    make, opset = onnx.helper.make_node, [onnx.helper.make_opsetid("", 17)]
    call = make("F", ["image"], ["prob"], domain="own")

    def function(*nodes: Any) -> Any:
        return onnx.helper.make_function("own", "F", ["x"], ["y"], list(nodes), opset)

    plain = small_onnx(tmp_path / "m.onnx", [call], [function(make("Abs", ["x"], ["y"]))])
    assert read_graph_file(plain).nodes == 2
    with pytest.raises(ModelError, match="node '' is Load of the domain 'evil'"):
        read_graph_file(small_onnx(plain, [call], [function(make("Load", ["x"], ["y"], domain="evil"))]))
    outside = onnx.helper.make_tensor("t", 1, [1], [0.0])
    outside.ClearField("float_data")
    outside.external_data.add(key="location", value="../../etc/passwd")
    outside.data_location = onnx.TensorProto.EXTERNAL
    for nodes, functions, more in (
        ([call], [function(make("Constant", [], ["y"], value=outside))], {}),
        ([make("Constant", [], ["prob"], value=outside)], [], {}),
        ([], [], {"initializer": [outside]}),
        ([], [], {"sparse_initializer": [onnx.SparseTensorProto(values=outside, dims=[1])]}),
    ):
        with pytest.raises(ModelError, match="the data of tensor t lie in another file, which is not read"):
            read_graph_file(small_onnx(plain, nodes, functions, **more))


@pytest.mark.extras
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.999])
def test_a_cut_onnx_file_is_refused(share: float, tmp_path: Path) -> None:
    write_onnx(tmp_path / "m.onnx", load_weights(BUILTIN_SUPERPOINT))
    content = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match="no readable ONNX model"):
        read_graph_file(tmp_path / "m.onnx")


@pytest.mark.parametrize("content", [b"", b"<net/>", b"<net><layers>", b"\x08\x07", b"\xff" * 64, b"no model"])
@pytest.mark.parametrize("suffix", [".xml", ".onnx"])
def test_what_is_no_model_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"m{suffix}").write_bytes(content)
    (tmp_path / "m.bin").touch()
    with pytest.raises(ModelError, match="no readable"):
        read_graph_file(tmp_path / f"m{suffix}")


def test_other_outputs_are_listed(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_text(
        '<net><layers><layer id="0" name="image" type="Parameter"><data shape="1,1,?,?" element_type="f32"/><output>'
        '<port id="0"><dim>1</dim><dim>1</dim><dim>-1</dim><dim>-1</dim></port></output></layer><layer id="1" '
        'name="keypoints" type="Result" output_names="keypoints"><input><port id="0"><dim>-1</dim><dim>2</dim></port>'
        "</input></layer></layers></net>"
    )
    (tmp_path / "m.bin").touch()
    with pytest.raises(ModelError, match=r"its outputs are keypoints \[\?, 2\]; expected those of sp_v6"):
        read_graph_file(tmp_path / "m.xml")
