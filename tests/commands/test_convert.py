"""Conversion to OpenVINO: static shapes, equality with `ovc`, the command, and requests that are refused."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.commands.convert import ConvertConfig, main
from bench.config import compose
from bench.core.errors import ConfigError, ModelError
from bench.core.types import Size
from bench.features import convert
from bench.features.convert import ir, write_ir
from bench.models.fingerprint import read_fingerprint
from bench.models.recipe import Recipe, converted
from bench.models.shape import input_shape

SPARSE = ("prob", "descriptors_raw")


def run(path: Path, image: np.ndarray, shape: list[int] | None = None) -> dict[str, np.ndarray]:
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    if shape is not None:
        model.reshape(shape)
    results = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)
    return {name: array for output, array in results.items() for name in output.get_names()}


@pytest.mark.slow
def test_reshaped_equals_converted_with_that_shape(builtin: Path, tmp_path: Path) -> None:
    recipe = Recipe(str(builtin), "key", SPARSE, "f32", 1.0)
    for name in ("free", "fixed"):
        (tmp_path / name).mkdir()
    free = write_ir(recipe, tmp_path / "free")
    fixed = write_ir(recipe, tmp_path / "fixed", [1, 64, 96, 1])
    image = np.random.default_rng(0).random((1, 64, 96, 1), dtype=np.float32)
    a, b = run(free, image, [1, 64, 96, 1]), run(fixed, image)
    for key in SPARSE:
        np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "option"), [("f16", []), ("f32", ["--compress_to_fp16=False"])])
def test_full_graph_equals_ovc(superpoint: Path, tmp_path: Path, weights: str, option: list[str]) -> None:
    outputs = read_fingerprint(superpoint).outputs("full")
    ours = write_ir(Recipe(str(superpoint), "key", outputs, weights, 1.0), tmp_path, [1, 64, 96, 1])
    theirs = tmp_path / "ovc.xml"
    command = [
        sys.executable,
        "-m",
        "openvino.tools.ovc",
        str(superpoint),
        "--input",
        "[1,64,96,1]",
        "--output_model",
        str(theirs),
        *option,
    ]
    subprocess.run(command, check=True, capture_output=True)
    image = np.random.default_rng(1).random((1, 64, 96, 1), dtype=np.float32)
    a, b = run(ours, image), run(theirs, image)
    assert set(outputs) <= set(a) and set(outputs) <= set(b)
    for key in outputs:
        np.testing.assert_array_equal(a[key], b[key])
    assert ours.with_suffix(".bin").stat().st_size == theirs.with_suffix(".bin").stat().st_size


def test_cache_entries_differ_by_what_matters(builtin: Path) -> None:
    recipe = Recipe(str(builtin), "key", SPARSE, "f32", 1.0)
    assert recipe.digest() == replace(recipe, saved_model="elsewhere", seed=7, input_scale=255.0).digest()
    others = [replace(recipe, weights="f16"), replace(recipe, outputs=("prob",)), replace(recipe, model_key="other")]
    assert len({recipe.digest(), *(other.digest() for other in others)}) == 4


@pytest.mark.slow
def test_ir_is_converted_once(builtin: Path, tmp_path: Path) -> None:
    recipe = Recipe(str(builtin), "key", SPARSE, "f32", 1.0)
    folder = ir(recipe, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["model.bin", "model.xml"]
    stamp = (folder / "model.bin").stat().st_mtime_ns
    assert ir(replace(recipe, saved_model="not needed any more"), tmp_path) == folder
    assert (folder / "model.bin").stat().st_mtime_ns == stamp


def test_a_broken_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"no")
    with pytest.raises(ModelError, match="OpenVINO cannot convert it"):
        ir(Recipe(str(tmp_path), "key", SPARSE, "f32", 1.0), tmp_path / "cache")


@pytest.mark.slow
def test_a_lost_output_is_named(builtin: Path) -> None:
    with pytest.raises(ModelError, match="no output nonsense"):
        converted(builtin, ("prob", "nonsense"))


def test_shapes_that_cannot_be(builtin: Path) -> None:
    fingerprint = replace(read_fingerprint(builtin), batch=1)
    assert input_shape(Size(480, 640), fingerprint) == [1, 480, 640, 1]
    with pytest.raises(ModelError, match=r"3x3x1x64\); colour images are converted to grey"):
        input_shape(Size(480, 640), fingerprint, channels=3)
    with pytest.raises(ModelError, match="exported for batch 1"):
        input_shape(Size(480, 640), fingerprint, batch=4)
    with pytest.raises(ModelError, match=r"484x640 .* not divisible by 8"):
        input_shape(Size(484, 640), fingerprint)
    assert input_shape(Size(480, 640), replace(fingerprint, batch=None), batch=4) == [4, 480, 640, 1]


def test_int8_without_nncf_is_refused_before_work(
    builtin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "nncf" else real(name, *rest))
    with pytest.raises(ModelError, match=r"pip install 'superpoint-bench\[int8\]'"):
        convert.ir(Recipe(str(builtin), "key", SPARSE, "int8", 1.0), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command(builtin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose(
        [
            "model=path",
            f"model.path={builtin}",
            "height=64",
            "width=96",
            "threads=1",
            f"output={tmp_path / 'out'}",
            f"cache={tmp_path / 'cache'}",
        ],
        "convert",
    )
    assert isinstance(config, ConvertConfig)
    assert main(config) == 0
    printed = capsys.readouterr().out
    assert "FP16 weights, f32 compute" in printed and "keypoints" in printed
    report = json.loads((tmp_path / "out/convert.json").read_text())
    single, half = report["models"]
    assert (single["weights"], half["weights"]) == ("f32", "f16")
    assert single["max_difference"]["prob"] <= 1e-5
    assert single["common_keypoints"] == single["keypoints"] > 10 and single["min_cosine"] >= 0.99999
    assert half["size_mb"] < 0.6 * single["size_mb"]
    names = {"model.xml", "model.bin", "model.json", "example.py"}
    assert {path.name for path in (tmp_path / "out/f16").iterdir()} == names


def deployed(folder: Path, image: Path, place: Path) -> dict[str, np.ndarray]:
    """What the example finds, in a process that cannot import this package."""
    code = (
        "import runpy, sys; sys.modules['bench'] = None; sys.argv[:] = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(folder / "example.py"), str(image), str(place / "out.npz")]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(place / "out.npz") as found:
        return {name: found[name] for name in found.files}


EXAMPLES = [
    pytest.param("ir", "f32", [], "box"),
    pytest.param("ir", "f32", ["dynamic=true", "graph=full", "border_px=5"], "square"),
    pytest.param("onnx", "onnx", ["dynamic=true", "max_keypoints=20"], "none", marks=pytest.mark.extras),
]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "folder", "keys", "nms"), EXAMPLES)
def test_the_example_finds_what_the_benchmark_finds(
    file: str, folder: str, keys: list[str], nms: str, builtin: Path, tmp_path: Path
) -> None:
    from bench.core.types import Context, EvaluatedImage
    from bench.features.superpoint import create
    from bench.schema import ModelConfig, SuperPointConfig

    if file == "onnx":
        pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    typed = [f"formats=[{file}]", "weights=[f32]", "height=128", "width=160", "threads=1", f"nms.kind={nms}", *keys]
    places = [f"model.path={builtin}", f"output={tmp_path / 'out'}", f"cache={tmp_path / 'cache'}"]
    config = compose(["model=path", *places, *typed], "convert")
    assert isinstance(config, ConvertConfig)
    assert main(config) == 0
    rng = np.random.default_rng(3)
    grey = cv2.GaussianBlur(np.kron(rng.integers(0, 255, (17, 21)), np.ones((8, 8))).astype(np.uint8), (5, 5), 1)
    grey = grey[: 128 if not config.dynamic else 136, : 160 if not config.dynamic else 165]
    cv2.imwrite(str(tmp_path / "image.png"), grey)
    found = deployed(tmp_path / "out" / folder, tmp_path / "image.png", tmp_path)
    method = SuperPointConfig(
        backend="openvino",
        model=ModelConfig("path", str(builtin)),
        threads=1,
        nms=config.nms,
        min_probability=config.min_probability,
        border_px=config.border_px,
        max_keypoints=config.max_keypoints,
    )
    extractor = create("it", method, Context(1, tmp_path / "cache", tmp_path))
    grey = np.ascontiguousarray(grey[: len(grey) // 8 * 8, : grey.shape[1] // 8 * 8])
    expected = extractor.extract(EvaluatedImage("it", grey, np.eye(3)))[0]
    assert len(expected) >= 20 and expected.descriptors is not None
    np.testing.assert_array_equal(found["keypoints"], expected.keypoints)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-5)
    np.testing.assert_allclose(found["descriptors"], expected.descriptors, atol=1e-4)


@pytest.mark.slow
def test_a_written_model_runs_and_another_bin_beside_its_card_is_refused(builtin: Path, tmp_path: Path) -> None:
    from bench.models.graphfile import read_graph_file

    typed = ["weights=[f16]", "height=64", "width=96", "threads=1", f"output={tmp_path / 'out'}"]
    main(compose(["model=path", f"model.path={builtin}", *typed, f"cache={tmp_path / 'cache'}"], "convert"))
    path = tmp_path / "out/f16/model.xml"
    card = json.loads(path.with_name("model.json").read_text())
    found = read_graph_file(path)
    assert (
        (found.height, found.width, found.weights)
        == (64, 96, "f16")
        == (*(card["input"][side] for side in ("height", "width")), card["weights"])
    )
    assert card["outputs"] == {"prob": [1, 64, 96], "descriptors_raw": [1, 8, 12, 256]}
    data = bytearray(path.with_suffix(".bin").read_bytes())
    data[-1] ^= 1
    path.with_suffix(".bin").write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.bin is not the file that model\.json beside it names"):
        read_graph_file(path)


def test_the_recipe_is_the_graph_and_the_size_of_ovc() -> None:
    """That the conversions are equal, test_full_graph_equals_ovc shows."""
    config = compose(["experiment=openvino_recipe"])
    half, single = config.methods["recipe_fp16"], config.methods["recipe_fp32"]
    assert (half.graph, half.weights, single.graph, single.weights) == ("full", "f16", "full", "f32")
    assert {each.inference_precision for each in (half, single)} == {"auto"}
    image = config.protocol.image
    assert (image.policy, image.height, image.width) == ("cover_crop", 1280, 720)


def test_the_examples_are_short() -> None:
    from bench.features.deploy import example
    from bench.schema.options import ModelFile

    for file in ModelFile:
        code = example(file)
        compile(code, "example.py", "exec")
        assert "bench" not in code and len([line for line in code.splitlines() if line.strip()]) <= 50


@pytest.mark.slow
def test_impossible_values_of_the_command() -> None:
    with pytest.raises(ConfigError, match="weights.0.='f8' is not possible; allowed: f32, f16, int8"):
        compose(["weights=[f8]"], "convert")
    with pytest.raises(ConfigError, match=r"formats=\[onnx\] writes the sparse graph; use graph=sparse"):
        compose(["formats=[onnx]", "graph=full"], "convert")
    with pytest.raises(ConfigError, match=r"nms\.kind=maxpool is not possible here; allowed: none, box, square"):
        compose(["nms.kind=maxpool"], "convert")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="needs the extra int8")
def test_int8_computes_in_integers(builtin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.features import quantize
    from bench.runtimes.precision import describe, layers

    monkeypatch.setattr(quantize, "CALIBRATION_IMAGES", 4)
    path = write_ir(Recipe(str(builtin), "key", SPARSE, "int8", 1.0), tmp_path)
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape([1, 64, 96, 1])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    label = str(describe("int8", "f32", "f32", layers(compiled))["label"])
    assert label.startswith("INT8 (") and ("i8" in label or "u8" in label)


@pytest.mark.slow
def test_calibration_shows_nothing_that_is_evaluated() -> None:
    from bench.data import calibration, photos

    assert not set(calibration.PHOTOGRAPHS) & set(photos.PHOTOGRAPHS)
    first, again = calibration.images(6, seed=0), calibration.images(6, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert {image.shape for image in first} == {(240, 320)}
    assert not np.array_equal(first[0], first[5])  # the same photograph, seen otherwise
    assert all(image.std() > 5 for image in first)
