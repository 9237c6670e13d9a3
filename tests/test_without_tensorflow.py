"""An installation without TensorFlow: every other row runs, what needs it is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.types import Context, EvaluatedImage
from bench.features.convert import model_files
from bench.features.select import to_float32
from bench.models.store import model_of, saved_model
from bench.runtimes import openvino
from bench.schema import ModelConfig, SuperPointConfig
from tests.superpoint_method import Make

_BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`bench` in interpreters, its children's included, that find no TensorFlow and no Keras."""
    (place / "absent").mkdir(exist_ok=True)
    (place / "absent/sitecustomize.py").write_text(_BLOCK)
    root = Path(__file__).parents[1]
    environment = os.environ | {
        "PYTHONPATH": f"{place / 'absent'}{os.pathsep}{root}",
        "BENCH_CACHE": str(place / "cache"),
    }
    probe = [sys.executable, "-c", "import tensorflow"]
    assert b"No module named 'tensorflow'" in subprocess.run(probe, env=environment, capture_output=True).stderr
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_every_other_row_runs(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "methods=runtimes",
        "methods.add=[superpoint_ov_fp16,sift]",
        "methods.drop=[superpoint_torch_fp32,superpoint_torch_compile_fp32]",
        "dataset=photos_small",
        "dataset.viewpoint_sequences=1",
        "dataset.illumination_sequences=0",
        "dataset.height=120",
        "dataset.width=160",
        "run_dir=results/r",
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "superpoint_tf, TensorFlow is not installed (pip install tensorflow)" in said
    assert "superpoint_litert_fp32, LiteRT gets its model from TensorFlow, which is not installed" in said
    expected = {"superpoint_ov_fp32", "superpoint_ov_fp16", "superpoint_cvdnn_fp32", "sift"}
    extras = {"onnxruntime": "superpoint_ort_fp32", "MNN": "superpoint_mnn_fp32", "ncnn": "superpoint_ncnn_fp32"}
    expected |= {name for package, name in extras.items() if importable(package)}
    pairs = pd.read_parquet(tmp_path / "results/r/pairs.parquet")
    assert set(pairs["method"]) == expected and (pairs["outcome"] == "ok").mean() > 0.7
    methods = json.loads((tmp_path / "results/r/manifest.json").read_text())["methods"]
    assert methods["superpoint_ov_fp32"]["info"]["fingerprint"]["source"] == "weights"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["methods.add=[superpoint_tf]"], "superpoint_tf cannot run here: TensorFlow is not installed"),
        (["+method@methods.full=superpoint_ov_fp32_full"], "graph=full needs TensorFlow, which exports it"),
    ],
)
def test_a_row_that_is_named_is_refused_with_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(tmp_path, "methods=classical", *arguments)
    assert done.returncode == 4 and said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and not (tmp_path / "results").exists()


@pytest.mark.slow
def test_the_weights_reach_openvino_with_the_numbers_of_the_saved_model(
    make: Make, cache: Path, image: EvaluatedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(threads=1, cache=cache, data_root=cache / "data")
    expected = make("openvino").tensors(image)[1]
    exported = model_of(ModelConfig("builtin"), context)[1]
    monkeypatch.setattr("bench.models.store.importable", lambda name: name != "tensorflow")
    config = SuperPointConfig(backend="openvino", model=ModelConfig("builtin"))  # type: ignore[arg-type]
    weights, fingerprint = model_of(config.model, context)
    assert weights.suffix == ".npz" and fingerprint.as_dict()["source"] == "weights"
    assert fingerprint.key != exported.key and "source" not in exported.as_dict()
    network = openvino.load(config, model_files(config, weights, fingerprint, context), fingerprint, context)
    network.prepare(image.size)
    found = network.infer(to_float32(image.grey)[None, :, :, None])
    assert set(found) == set(expected)
    for key, tolerance in {"prob": 1e-5, "descriptors_raw": 1e-4}.items():
        np.testing.assert_allclose(found[key], expected[key], atol=tolerance, rtol=0, err_msg=key)
    with pytest.raises(ModelError, match="builtin.npz cannot be exported: TensorFlow is not installed"):
        saved_model(ModelConfig("builtin"), Context(threads=1, cache=cache / "empty", data_root=cache))
