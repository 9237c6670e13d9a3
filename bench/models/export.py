"""Export of a weight file as a TensorFlow SavedModel with the signature of sp_v6.

The graph is written operation by operation in TensorFlow 1 graph mode, from the arrays, without Keras.  So the tensor
and variable names are those of sp_v6 (``superpoint/image:0``, ``superpoint/prob:0``, ...), nothing depends on the
Keras backend in use, and the same arrays give the same ``saved_model.pb`` byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import ModelError
from bench.core.files import staged_folder
from bench.models.network import BATCH_NORM_EPSILON, CELL_PX, DESCRIPTOR_HEAD, DETECTOR_HEAD, ENCODER, LayerSpec
from bench.models.weights import has_descriptors, load_weights

NMS_SIZE_PX = 4.0
NMS_IOU = 0.1
NMS_MIN_PROB = 0.01
PRED_MIN_PROB = 0.001
SUPERPOINT_OUTPUTS = ("logits", "prob", "prob_nms", "pred", "descriptors_raw", "descriptors")
MAGICPOINT_OUTPUTS = SUPERPOINT_OUTPUTS[:4]


def export_saved_model(weights_npz: str | os.PathLike[str], directory: str | os.PathLike[str]) -> Path:
    """Write a weight file as a SavedModel (tag ``serve``, signature ``serving_default``).

    Parameters
    ----------
    weights_npz : path
        Weights of a SuperPoint or a MagicPoint, see :mod:`bench.models.weights`.
    directory : path
        The SavedModel directory.  It appears complete or not at all; an existing SavedModel there is replaced.

    Returns
    -------
    Path
        ``directory``.  The input is ``image``, float32 [N, H, W, 1] in [0, 1]; the outputs are ``logits``, float32
        [N, H/8, W/8, 65]; ``prob`` and ``prob_nms``, float32 [N, H, W]; ``pred``, int32 [N, H, W]; and for a SuperPoint
        ``descriptors_raw``, float32 [N, H/8, W/8, 256], and ``descriptors``, float32 [N, H, W, 256].  Sides that are no
        multiple of 8 are rounded up.

    Raises
    ------
    ModelError
        If the weights are unusable, or ``directory`` exists and is not a SavedModel.
    """
    weights = load_weights(weights_npz)
    directory = Path(directory)
    if directory.exists() and not (directory / "saved_model.pb").is_file() and any(directory.iterdir()):
        raise ModelError(f"{directory}: exists and holds no SavedModel; give a new directory")
    with staged_folder(directory, replace=True) as scratch:
        _write(weights, scratch)
    return directory


def _write(weights: Mapping[str, npt.NDArray[np.float32]], directory: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        outputs = _build_graph(weights)
        image = graph.get_tensor_by_name("superpoint/image:0")
        signature = v1.saved_model.build_signature_def(
            inputs={"image": v1.saved_model.build_tensor_info(image)},
            outputs={key: v1.saved_model.build_tensor_info(tensor) for key, tensor in outputs.items()},
            method_name=v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
        )
        # The sharded saver that the builder makes by default puts a random name into the graph.
        saver = v1.train.Saver(v1.global_variables(), sharded=False)
        with v1.Session(graph=graph, config=v1.ConfigProto(device_count={"GPU": 0})) as session:
            for variable in v1.global_variables():
                variable.load(weights[variable.op.name], session)
            builder = v1.saved_model.Builder(str(directory))
            builder.add_meta_graph_and_variables(
                session,
                [v1.saved_model.tag_constants.SERVING],
                signature_def_map={v1.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signature},
                saver=saver,
            )
            builder.save()


def _build_graph(weights: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, Any]:
    """Add the network and its decoding to the current graph; returns the output tensors by signature key."""
    import tensorflow as tf

    variables = {
        name: tf.compat.v1.get_variable(
            name, shape=array.shape, dtype=tf.float32, initializer=tf.zeros_initializer(), use_resource=False
        )
        for name, array in weights.items()
    }
    image = tf.compat.v1.placeholder(tf.float32, [None, None, None, 1], name="superpoint/image")
    with tf.name_scope("superpoint/pred"):
        outputs = sparse_outputs(image, variables)
        prob_nms = _box_nms(outputs["prob"])
        outputs["prob_nms"] = prob_nms
        outputs["pred"] = tf.cast(tf.greater_equal(prob_nms, PRED_MIN_PROB), tf.int32)
        if has_descriptors(weights):
            raw = outputs["descriptors_raw"]
            dense = tf.compat.v1.image.resize_bilinear(raw, CELL_PX * tf.shape(raw)[1:3], align_corners=False)
            outputs["descriptors"] = tf.nn.l2_normalize(dense, axis=-1)
    return {key: tf.identity(tensor, name=f"superpoint/{key}") for key, tensor in outputs.items()}


def sparse_outputs(image: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors ``logits``, ``prob`` and, of a SuperPoint, ``descriptors_raw`` for [N, H, W, 1] images.

    Parameters
    ----------
    image : tensor
    variables : mapping
        Variables or constants of TensorFlow under the names of a weight file.
    """
    import tensorflow as tf

    features = image
    for spec in ENCODER:
        features = _block(features, spec, variables)
    logits = features
    for spec in DETECTOR_HEAD:
        logits = _block(logits, spec, variables)
    cells = tf.nn.softmax(logits)[..., :-1]
    outputs = {"logits": logits, "prob": tf.squeeze(tf.nn.depth_to_space(cells, CELL_PX), axis=-1)}
    if has_descriptors(variables):
        raw = features
        for spec in DESCRIPTOR_HEAD:
            raw = _block(raw, spec, variables)
        outputs["descriptors_raw"] = raw
    return outputs


def _block(features: Any, spec: LayerSpec, variables: Mapping[str, Any]) -> Any:
    import tensorflow as tf

    with tf.name_scope(f"{spec.part}/{spec.name}"):
        features = tf.nn.conv2d(features, variables[f"{spec.scope}/conv/kernel"], strides=1, padding="SAME")
        features = tf.nn.bias_add(features, variables[f"{spec.scope}/conv/bias"])
        if spec.relu:
            features = tf.nn.relu(features)
        features, _, _ = tf.compat.v1.nn.fused_batch_norm(
            features,
            variables[f"{spec.scope}/bn/gamma"],
            variables[f"{spec.scope}/bn/beta"],
            mean=variables[f"{spec.scope}/bn/moving_mean"],
            variance=variables[f"{spec.scope}/bn/moving_variance"],
            epsilon=BATCH_NORM_EPSILON,
            is_training=False,
        )
        if spec.pool:
            features = tf.nn.max_pool2d(features, 2, 2, padding="SAME")
    return features


def _box_nms(prob: Any) -> Any:
    """Greedy suppression of overlapping boxes of side 4 px centred on the pixels, as in the sp_v6 graph.

    The images of a batch are laid out below one another, further apart than a box, so that one call serves all.
    """
    import tensorflow as tf

    shape = tf.shape(prob)
    pixels = tf.cast(tf.where(tf.greater_equal(prob, NMS_MIN_PROB)), tf.int32)
    scores = tf.gather_nd(prob, pixels)
    rows = tf.cast(pixels[:, 0] * (shape[1] + 2 * int(NMS_SIZE_PX)) + pixels[:, 1], tf.float32)
    centres = tf.stack([rows, tf.cast(pixels[:, 2], tf.float32)], axis=1)
    half = NMS_SIZE_PX / 2
    boxes = tf.concat([centres - half, centres + half], axis=1)
    keep = tf.image.non_max_suppression(boxes, scores, tf.shape(boxes)[0], iou_threshold=NMS_IOU)
    return tf.scatter_nd(tf.gather(pixels, keep), tf.gather(scores, keep), shape)
