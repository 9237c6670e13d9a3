"""A SavedModel is a program: what could touch a file is refused before TensorFlow loads anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.models.operations import Function, MetaGraph, Node, refused
from bench.models.savedmodel import check_constants, read_saved_model


def build(directory: Path, evil: str) -> Path:
    """A SavedModel that copies a file to ``written``, in the way named."""
    tf = pytest.importorskip("tensorflow")
    v1 = tf.compat.v1
    secret, written = directory.with_name("secret"), directory.with_name("written")
    secret.write_text("secret")

    def steal() -> Any:
        return tf.raw_ops.WriteFile(filename=str(written), contents=tf.raw_ops.ReadFile(filename=str(secret)))

    @tf.function
    def inner() -> Any:
        steal()
        return tf.constant(1.0)

    @tf.function
    def outer() -> Any:
        return inner()

    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, [None, None, None, 1], name="superpoint/image")
        gain = v1.get_variable("gain", initializer=np.float32(1), use_resource=False)
        main = None
        value = gain
        if evil == "control":
            with tf.control_dependencies([steal()]):
                value = tf.identity(gain)
        elif evil == "main":
            main = steal()
        elif evil == "unused":
            steal()
        elif evil == "function":
            value = gain * inner()
        elif evil == "nested":
            value = gain * outer()
        elif evil == "unused_function":
            outer.get_concrete_function().add_to_graph(v1.get_default_graph())
        elif evil == "print":
            with tf.control_dependencies([tf.print("x", output_stream=f"file://{written}")]):
                value = tf.identity(gain)
        elif evil == "python":
            value = gain * tf.numpy_function(lambda: np.float32(1), [], tf.float32)
        elif evil == "save":
            saving = tf.raw_ops.SaveV2(
                prefix=str(written), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant("payload")]
            )
            with tf.control_dependencies([saving]):
                value = tf.identity(gain)
        elif evil == "restore":
            found = tf.raw_ops.RestoreV2(
                prefix=str(secret), tensor_names=["gain"], shape_and_slices=[""], dtypes=[tf.float32]
            )
            value = gain * found[0]
        elif evil == "save_in_main":
            main = tf.raw_ops.SaveV2(
                prefix=str(written), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant("payload")]
            )
        elif evil == "table":
            table = v1.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.string)
            main = tf.raw_ops.InitializeTableFromTextFileV2(
                table_handle=table, filename=str(secret), key_index=-2, value_index=-2
            )
        prob = tf.identity(tf.reduce_mean(image, -1) * value, name="superpoint/prob")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(directory))
        tensors = [{key: v1.saved_model.build_tensor_info(t)} for key, t in (("image", image), ("prob", prob))]
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": v1.saved_model.build_signature_def(*tensors)}, main_op=main
        )
        builder.save()
    return directory


@pytest.mark.parametrize(
    ("evil", "message"),
    [
        ("control", "node '(Read|Write)File' is the operation '(Read|Write)File'"),
        ("main", "node '(Read|Write)File' is the operation '(Read|Write)File'"),
        ("unused", "node '(Read|Write)File' is the operation '(Read|Write)File'"),
        ("function", "function '__inference_inner_.*', node '(Read|Write)File' is the operation '(Read|Write)File'"),
        ("nested", "function '__inference_inner_.*', node '(Read|Write)File' is the operation '(Read|Write)File'"),
        ("unused_function", "function '__inference_inner_.*', node '(Read|Write)File' is"),
        ("print", "is the operation '(StringFormat|PrintV2)'"),
        ("python", "node 'PyFunc' is the operation 'PyFunc'"),
        ("save", "node 'SaveV2' would run 'SaveV2', which reads or writes a file"),
        ("save_in_main", "node 'SaveV2' would run 'SaveV2', which reads or writes a file"),
        ("restore", "node 'RestoreV2' would run 'RestoreV2', which reads or writes a file"),
        ("table", "is the operation '(HashTableV2|InitializeTableFromTextFileV2)'"),
    ],
)
def test_graphs_that_touch_files_are_refused(tmp_path: Path, evil: str, message: str) -> None:
    directory = build(tmp_path / "model", evil)
    with pytest.raises(ModelError, match=rf"saved_model\.pb: refused, .*{message}"):
        read_saved_model(directory)
    assert not (tmp_path / "written").exists()


def test_the_harmless_twin_is_read(tmp_path: Path) -> None:
    assert set(read_saved_model(build(tmp_path / "model", "")).outputs) == {"prob"}


@pytest.mark.slow
def test_exports_of_keras_are_read(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    image = keras.Input((None, None, 1), name="image")
    layers = keras.layers
    features = layers.MaxPooling2D(8)(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(image)))
    prob = layers.Conv2DTranspose(1, 8, strides=8)(layers.Softmax()(layers.Conv2D(65, 1)(features)))
    raw = layers.UnitNormalization()(layers.Conv2D(8, 1)(features))
    keras.Model(image, {"prob": prob[..., 0], "descriptors_raw": raw}).export(str(tmp_path / "model"), verbose=False)
    assert set(read_saved_model(tmp_path / "model").outputs) == {"prob", "descriptors_raw"}


def test_a_second_graph_in_the_file_is_checked(tmp_path: Path) -> None:
    good, evil = build(tmp_path / "good", ""), build(tmp_path / "evil", "unused")
    path = good / "saved_model.pb"
    path.write_bytes(path.read_bytes() + (evil / "saved_model.pb").read_bytes())  # protocol buffers merge
    with pytest.raises(ModelError, match="'(Read|Write)File'"):
        read_saved_model(good)


def test_another_form_of_the_graph_beside_it_is_refused(tmp_path: Path) -> None:
    directory = build(tmp_path / "model", "")
    (directory / "saved_model.pbtxt").write_text("")
    with pytest.raises(ModelError, match=r"saved_model\.pbtxt beside saved_model\.pb"):
        read_saved_model(directory)


def graph(
    nodes: tuple[Node, ...] = (), functions: tuple[Function, ...] = (), named: str = "prob:0", objects: bytes = b""
) -> MetaGraph:
    """A graph with a saver as TensorFlow 2 writes it, and further nodes and functions."""
    saver = (
        Node("file", "Placeholder", ()),
        Node("save", "StatefulPartitionedCall", ("file",), ("__saving",)),
        Node("restore", "StatefulPartitionedCall", ("file",), ("__restoring",)),
    )
    library = (
        Function("__saving", ("prefix",), (Node("s", "SaveV2", ("prefix",)),)),
        Function(
            "__restoring", ("prefix",), (Node("i", "Identity", ("prefix",)), Node("r", "RestoreV2", ("i:output:0",)))
        ),
    )
    return MetaGraph(saver + nodes, library + functions, frozenset({named}), objects, "file:0", "restore")


PROB = Node("prob", "Identity", ("image",))


def test_savers_are_allowed_where_only_the_loader_runs_them() -> None:
    assert refused(graph((PROB,))) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (graph((Node("prob", "Identity", ("image", "^save")),)), "node 'save' would run 'SaveV2'"),
        (graph((Node("prob", "Identity", ("mid:0",)), Node("mid", "Add", ("restore:0",)))), "node 'restore' would run"),
        (graph((PROB,), named="save"), "node 'save' would run 'SaveV2'"),
        (graph((PROB,), objects=b"\x0a\x08__saving"), "object graph names function '__saving'"),
        (
            graph((PROB,), (Function("__f", (), (Node("call", "PartitionedCall", (), ("__saving",)),)),)),
            "function '__f', node 'call' calls '__saving'",
        ),
        (
            graph((PROB,), (Function("__f", (), (Node("call", "__saving", ()),)),)),
            "function '__f', node 'call' calls '__saving'",
        ),
        (graph((Node("prob", "Add", (), ("__absent",)),)), "calls '__absent', which is not in the file"),
        (graph((Node("prob", "__absent", ()),)), "node 'prob' is the operation '__absent'"),
        (
            graph((Node("prob", "ReadFile", ()),), (Function("ReadFile", (), ()),)),
            "node 'prob' is the operation 'ReadFile'",
        ),
    ],
)
def test_savers_within_reach_are_refused(changed: MetaGraph, message: str) -> None:
    reason = refused(changed)
    assert reason is not None and message in reason


def test_the_restore_operation_reads_the_file_of_the_loader_only() -> None:
    def restoring(*nodes: Node) -> MetaGraph:
        first = (Node("file", "Const", ()), Node("other", "Const", ()), PROB)
        return MetaGraph(first + nodes, (), frozenset({"prob:0"}), b"", "file:0", "all")

    good = (Node("r", "RestoreV2", ("file", "names")), Node("all", "NoOp", ("^r",)))
    assert refused(restoring(*good)) is None
    other = (Node("r", "RestoreV2", ("other", "names")), Node("all", "NoOp", ("^r",)))
    assert "node 'r' would run 'RestoreV2' on a file of its own choice" in str(refused(restoring(*other)))
    saving = (*good[:1], Node("s", "SaveV2", ("file",)), Node("all", "NoOp", ("^r", "^s")))
    assert "node 's' would run 'SaveV2' on a file of its own choice" in str(refused(restoring(*saving)))


@pytest.mark.parametrize("shape", [(), (7,), (3, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_nan_in_a_constant_of_the_graph_is_refused(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    tf = pytest.importorskip("tensorflow")
    v1 = tf.compat.v1
    for name, last in (("finite", np.inf), ("nan", np.nan)):
        values = np.ones(shape)
        values[(-1,) * len(shape)] = last
        with tf.Graph().as_default(), v1.Session() as session:
            image = v1.placeholder(tf.float32, [None, None, None, 1], name="superpoint/image")
            kernel = tf.reduce_sum(tf.cast(tf.constant(values, dtype, name="kernel"), tf.float32))
            prob = tf.identity(tf.reduce_mean(image, -1) * kernel, name="superpoint/prob")
            builder = v1.saved_model.Builder(str(tmp_path / name))
            tensors = [{key: v1.saved_model.build_tensor_info(t)} for key, t in (("image", image), ("prob", prob))]
            signature = v1.saved_model.build_signature_def(*tensors)
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.save()
    check_constants(tmp_path / "finite", read_saved_model(tmp_path / "finite"))
    with pytest.raises(ModelError, match=r"node 'kernel' holds NaN"):
        check_constants(tmp_path / "nan", read_saved_model(tmp_path / "nan"))
