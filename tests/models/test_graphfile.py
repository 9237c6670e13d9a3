"""IR and ONNX files of the user: run as they are, give the features of the same weights, refused where they lie."""

from __future__ import annotations

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
from bench.models.graphfile import GraphFingerprint, read_graph_file
from bench.models.network import BATCH_NORM_EPSILON, DESCRIPTOR_HEAD, DETECTOR_HEAD, ENCODER
from bench.models.store import saved_model
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights
from bench.schema import ImageConfig, ModelConfig, NmsConfig, SuperPointConfig

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


def write_onnx(path: Path, weights: Mapping[str, NDArray[Any]], external: bool = False) -> None:
    """The semi-dense network as PyTorch exports it: [N, 1, H, W] in, [N, 65, h, w] and [N, 256, h, w] out."""
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed; it writes the files of this test")
    nodes, initial = [], []

    def constant(name: str, array: NDArray[Any]) -> str:
        initial.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
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

    tensor = "input"
    for spec in ENCODER:
        tensor = block(tensor, spec)
    heads = []
    for head in (DETECTOR_HEAD, DESCRIPTOR_HEAD):
        found = tensor
        for spec in head:
            found = block(found, spec)
        heads.append(found)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "superpoint",
        [value("input", 1, ["N", 1, "H", "W"])],
        [value(heads[0], 1, ["N", 65, "h", "w"]), value(heads[1], 1, ["N", 256, "h", "w"])],
        initial,
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


@pytest.mark.slow
def test_an_onnx_file_gives_the_features_of_the_same_weights(tmp_path: Path, context: Context) -> None:
    write_onnx(tmp_path / "superpoint.onnx", load_weights(BUILTIN_SUPERPOINT))
    found = read_graph_file(tmp_path / "superpoint.onnx")
    assert found.weights == "f32" and found.channels_first == ("image", "logits", "descriptors_raw")
    same(features(context, model=ModelConfig("path", str(tmp_path / "superpoint.onnx"))), features(context), 1e-4)


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


def test_onnx_data_in_another_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_onnx(tmp_path / "in/superpoint.onnx", load_weights(BUILTIN_SUPERPOINT), external=True)
    with pytest.raises(ModelError, match=r"lie in another file, which is not read; export the model as one file"):
        read_graph_file(tmp_path / "in/superpoint.onnx")


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
