"""Reading SavedModels without TensorFlow: identity, signature, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.models.fingerprint import read_fingerprint
from bench.models.savedmodel import read_saved_model


def save(directory: Path, channels: int = 1, name: str = "superpoint") -> Path:
    """A small graph with the signature of MagicPoint."""
    tf = pytest.importorskip("tensorflow")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, [None, None, None, channels], name=f"{name}/image")
        gain = v1.get_variable("gain", initializer=np.float32(1), use_resource=False)
        prob = tf.identity(tf.reduce_mean(image, -1) * gain, name=f"{name}/prob")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(directory), {"image": image}, {"prob": prob})
    return directory


def test_the_published_graph(shared: Path) -> None:
    found = read_fingerprint(shared / "models/sp_v6_graph_int8_weights")
    assert found.graph_sha256.startswith("307245ea")
    assert (found.input_scale, found.channels, found.batch, found.descriptors) == (1.0, 1, 1, True)
    assert found.outputs("sparse") == ("prob", "descriptors_raw")
    assert found.outputs("sparse", descriptors=False) == ("prob",)
    assert set(found.outputs("full")) == {"descriptors", "descriptors_raw", "logits", "pred", "prob", "prob_nms"}


def test_the_magicpoint_of_2018_takes_255(shared: Path) -> None:
    found = read_fingerprint(shared / "models/magic-point_02-12-2018")
    assert (found.input_scale, found.descriptors) == (255.0, False)
    assert read_fingerprint(shared / "models/magic-point_02-12-2018", input_scale=1.0).input_scale == 1.0


def test_the_graph_of_the_package(builtin: Path) -> None:
    found = read_fingerprint(builtin)
    assert (found.input_scale, found.channels, found.batch, found.descriptors) == (1.0, 1, None, True)
    assert found.outputs("sparse") == ("prob", "descriptors_raw")
    assert set(found.outputs("full")) == {"descriptors", "descriptors_raw", "logits", "pred", "prob", "prob_nms"}


def test_graph_agrees_with_tensorflows_own_parser(superpoint: Path) -> None:
    saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
    message = saved_model_pb2.SavedModel.FromString((superpoint / "saved_model.pb").read_bytes())
    expected = {node.name: (node.op, tuple(node.input)) for node in message.meta_graphs[0].graph_def.node}
    assert {n.name: (n.op, n.inputs) for n in read_saved_model(superpoint).nodes} == expected


def test_three_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="3 channels, expected 1"):
        read_fingerprint(save(tmp_path / "model", channels=3))


def test_unknown_input_scale_is_refused_until_it_is_given(tmp_path: Path) -> None:
    directory = save(tmp_path / "model", name="magicpoint")
    with pytest.raises(ModelError, match=r"set model\.input_scale=1 or"):
        read_fingerprint(directory)
    assert read_fingerprint(directory, 255.0).input_scale == 255.0


@pytest.mark.parametrize("content", [b"", b"not a protocol buffer", b"\xff" * 40])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ModelError, match=r"saved_model\.pb"):
        read_fingerprint(tmp_path)


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    data = (save(tmp_path / "model") / "saved_model.pb").read_bytes()
    (tmp_path / "model/saved_model.pb").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match=r"saved_model\.pb"):
        read_fingerprint(tmp_path / "model")


def test_missing_variables_are_refused(tmp_path: Path) -> None:
    directory = save(tmp_path / "model")
    for path in (directory / "variables").iterdir():
        path.unlink()
    with pytest.raises(ModelError, match="variables"):
        read_fingerprint(directory)


def test_no_tensorflow_is_loaded() -> None:
    code = "import sys, bench.models.fingerprint, bench.models.store; sys.exit('tensorflow' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
