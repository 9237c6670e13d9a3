"""The exported SavedModel: sp_v6's signature and semantics, checked against NumPy, OpenVINO and the published graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.core.types import Size
from bench.models.export import MAGICPOINT_OUTPUTS, SUPERPOINT_OUTPUTS, export_saved_model
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights, save_weights
from bench.train.synthetic_shapes import render

Outputs = dict[str, np.ndarray]


def drawing(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    image, _ = render(np.random.default_rng(seed), Size(height, width), "checkerboard")
    return image[None, ..., None]


def run(directory: Path, image: np.ndarray) -> Outputs:
    import tensorflow as tf

    signature = tf.saved_model.load(str(directory)).signatures["serving_default"]
    return {key: tensor.numpy() for key, tensor in signature(image=tf.constant(image)).items()}


@pytest.fixture(scope="module")
def saved_model(builtin: Path) -> Path:
    return builtin


@pytest.fixture(scope="module")
def outputs(saved_model: Path) -> Outputs:
    return run(saved_model, drawing(3))


def box_nms(prob: np.ndarray) -> np.ndarray:
    """Greedy suppression of boxes of side 4 whose intersection over union is above 0.1, pair by pair."""
    pixels = [(y, x) for y, x in zip(*np.nonzero(prob >= 0.01), strict=True)]
    pixels.sort(key=lambda pixel: (-prob[pixel], pixel))
    kept: list[tuple[int, int]] = []
    for y, x in pixels:
        overlaps = (max(0, 4 - abs(y - v)) * max(0, 4 - abs(x - u)) for v, u in kept)
        if all(overlap / (32 - overlap) <= 0.1 for overlap in overlaps):
            kept.append((y, x))
    result = np.zeros_like(prob)
    for pixel in kept:
        result[pixel] = prob[pixel]
    return result


def test_signature_is_that_of_sp_v6(saved_model: Path, outputs: Outputs) -> None:
    import tensorflow as tf

    signature = tf.saved_model.load(str(saved_model), tags=["serve"]).signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    assert (spec.name, spec.dtype, spec.shape.as_list()) == ("image", tf.float32, [None, None, None, 1])
    assert signature.graph.get_tensor_by_name("superpoint/image:0").dtype == tf.float32
    assert set(outputs) == set(SUPERPOINT_OUTPUTS)
    assert {key: (value.dtype.name, value.shape) for key, value in outputs.items()} == {
        "logits": ("float32", (1, 8, 12, 65)),
        "prob": ("float32", (1, 64, 96)),
        "prob_nms": ("float32", (1, 64, 96)),
        "pred": ("int32", (1, 64, 96)),
        "descriptors_raw": ("float32", (1, 8, 12, 256)),
        "descriptors": ("float32", (1, 64, 96, 256)),
    }


def test_prob_is_the_softmax_of_the_logits_laid_out_in_cells(outputs: Outputs) -> None:
    logits = outputs["logits"][0].astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    for y, x in ((0, 0), (13, 50), (63, 95), (8, 7)):
        channel = 8 * (y % 8) + x % 8
        assert outputs["prob"][0, y, x] == pytest.approx(softmax[y // 8, x // 8, channel], rel=1e-5)


def test_prob_nms_and_pred_equal_a_pairwise_suppression(outputs: Outputs) -> None:
    expected = box_nms(outputs["prob"][0])
    assert np.count_nonzero(expected) > 10
    np.testing.assert_array_equal(outputs["prob_nms"][0], expected)
    np.testing.assert_array_equal(outputs["pred"][0], (expected >= 0.001).astype(np.int32))


def test_dense_descriptors_are_corner_origin_samples_of_the_raw_ones(outputs: Outputs) -> None:
    raw = outputs["descriptors_raw"][0].astype(np.float64)
    for y, x in ((0, 0), (13, 50), (63, 95), (8, 7)):
        top, left = y // 8, x // 8
        bottom, right = min(top + 1, 7), min(left + 1, 11)
        fy, fx = y / 8 - top, x / 8 - left
        value = (raw[top, left] * (1 - fx) + raw[top, right] * fx) * (1 - fy)
        value += (raw[bottom, left] * (1 - fx) + raw[bottom, right] * fx) * fy
        np.testing.assert_allclose(outputs["descriptors"][0, y, x], value / np.linalg.norm(value), atol=1e-5)


def test_graph_equals_the_keras_network(outputs: Outputs) -> None:
    from bench.models.network import build_network
    from bench.models.weights import set_network_weights

    network = build_network()
    set_network_weights(network, load_weights(BUILTIN_SUPERPOINT))
    for key, value in network.predict_on_batch(drawing(3)).items():
        np.testing.assert_allclose(outputs[key], np.asarray(value), atol=1e-4)


def test_images_of_a_batch_do_not_meet(saved_model: Path) -> None:
    first, second = drawing(3), drawing(4)
    together = run(saved_model, np.concatenate([first, second]))
    for i, image in enumerate((first, second)):
        alone = run(saved_model, image)
        for key in ("prob_nms", "pred", "descriptors"):
            np.testing.assert_allclose(together[key][i], alone[key][0], atol=1e-5)


def test_sides_round_up_to_cells(saved_model: Path) -> None:
    outputs = run(saved_model, drawing(3, 60, 90))
    assert outputs["prob"].shape == (1, 64, 96)
    assert outputs["descriptors"].shape == (1, 64, 96, 256)


def test_an_image_without_keypoints(saved_model: Path) -> None:
    outputs = run(saved_model, np.full((1, 64, 64, 1), 0.5, np.float32))
    assert outputs["prob"].max() < 0.5
    np.testing.assert_array_equal(outputs["prob_nms"][0], box_nms(outputs["prob"][0]))


def test_same_weights_give_the_same_files(saved_model: Path, tmp_path: Path) -> None:
    again = export_saved_model(BUILTIN_SUPERPOINT, tmp_path / "again")
    files = sorted(path.relative_to(saved_model) for path in saved_model.rglob("*") if path.is_file())
    assert [str(path) for path in files] == [
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    for path in files:
        assert (saved_model / path).read_bytes() == (again / path).read_bytes()


@pytest.mark.slow
def test_openvino_converts_it_with_all_outputs(saved_model: Path) -> None:
    import openvino as ov

    image = drawing(3)
    model = ov.convert_model(saved_model, input=[1, 64, 96, 1])
    assert {name for output in model.outputs for name in output.get_names()} >= set(SUPERPOINT_OUTPUTS)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results: Any = compiled(image)
    tolerances = {"logits": 1e-3, "descriptors_raw": 1e-3, "prob": 1e-5, "prob_nms": 1e-5, "descriptors": 1e-5}
    for key, expected in run(saved_model, image).items():
        np.testing.assert_allclose(results[key], expected, atol=tolerances.get(key, 0))


def test_magicpoint_has_the_detector_outputs_only(tmp_path: Path, outputs: Outputs) -> None:
    weights = load_weights(BUILTIN_SUPERPOINT)
    save_weights(tmp_path / "w.npz", {name: array for name, array in weights.items() if "/descriptor/" not in name})
    magicpoint = run(export_saved_model(tmp_path / "w.npz", tmp_path / "magicpoint"), drawing(3))
    assert set(magicpoint) == set(MAGICPOINT_OUTPUTS)
    np.testing.assert_array_equal(magicpoint["prob_nms"], outputs["prob_nms"])


@pytest.mark.slow
def test_with_the_weights_of_sp_v6_it_equals_the_published_graph(shared: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    published = shared / "models" / "sp_v6_graph_int8_weights"
    if not published.is_dir():
        pytest.skip("no published graph in ../shared/models")
    reader = tf.train.load_checkpoint(str(published / "variables" / "variables"))
    names = load_weights(BUILTIN_SUPERPOINT)
    save_weights(tmp_path / "w.npz", {name: reader.get_tensor(name) for name in names})
    image = drawing(3)
    ours, theirs = run(export_saved_model(tmp_path / "w.npz", tmp_path / "ours"), image), run(published, image)
    assert set(ours) == set(theirs)
    assert np.count_nonzero(theirs["prob_nms"]) > 10
    np.testing.assert_array_equal(ours["pred"], theirs["pred"])
    for key, tolerance in (("logits", 1e-3), ("prob", 1e-5), ("prob_nms", 1e-5), ("descriptors", 1e-5)):
        np.testing.assert_allclose(ours[key], theirs[key], atol=tolerance)


def test_an_existing_model_is_replaced_and_other_folders_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "model"
    (target / "variables").mkdir(parents=True)
    (target / "saved_model.pb").write_bytes(b"old")
    export_saved_model(BUILTIN_SUPERPOINT, target)
    assert len((target / "saved_model.pb").read_bytes()) > 1000
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    with pytest.raises(ModelError, match="exists and holds no SavedModel"):
        export_saved_model(BUILTIN_SUPERPOINT, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("bench.models.export._write", fail)
    with pytest.raises(OSError, match="disk full"):
        export_saved_model(BUILTIN_SUPERPOINT, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
