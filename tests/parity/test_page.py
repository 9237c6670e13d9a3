"""Files of the drift report, from rows of a small comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.commands.parity import describe
from bench.config import compose
from bench.core.types import DataSet, Features
from bench.parity import measure
from bench.parity.compare import Comparison, Illustration
from bench.parity.page import words, write_report
from bench.parity.summary import Frames, frames

from .test_measure import features, prepared, protocol, scattered

OTHER = "superpoint_ov_fp16"
THRESHOLDS = (1.0, 3.0, 5.0)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """Two methods: one equal to the reference, one that moved six keypoints by a pixel."""
    xy = scattered()
    moved = xy.copy()
    moved[:6] += np.array([1, 0])
    made = Comparison(refused={"superpoint_ov_bf16": "no <BF16> arithmetic"})
    reference = features(xy)
    pair = prepared(np.eye(3))
    solved = measure.solve_pair(pair, reference, reference, protocol(), 0, 3)
    rng = np.random.default_rng(5)
    prob = rng.random((1, 240, 320)).astype(np.float32)
    for name, other, noise in (("superpoint_ov_fp32", reference, 0.0), (OTHER, features(moved), 1e-4)):
        found = measure.image_drift(reference, other)
        made.images.append({"method": name, "image": "s/1"} | found.row)
        made.cosines[name] = [found.cosines]
        for row in measure.tensor_rows({"prob": prob}, {"prob": prob + np.float32(noise)}):
            made.tensors.append({"method": name, "image": "s/1"} | row)
        own = measure.solve_pair(pair, other, other, protocol(), 0, 3)
        assert solved is not None and own is not None
        made.pairs.append({"method": name} | measure.pair_row(pair, solved, own, protocol()))
        bare: list[Features] = [replace(f, descriptors=None) for f in (reference, other)]
        made.illustrations[name] = Illustration("s/1", np.zeros((240, 320), np.uint8), bare[0], bare[1], 12)
    for k, layer in enumerate(("encoder conv 1", "encoder conv 2")):
        made.layers.append(
            {
                "method": OTHER,
                "image": "s/1",
                "layer": layer,
                "node": f"n{k}",
                "joined_by": "name",
                "shape": "1x2",
                "precision": "f32",
                "kernel": "brgconv_f32",
                "n_not_finite": 0,
                "max_abs": 1e-3,
                "mean_abs": 1e-4,
                "max_relative": 1e-3,
                "mean_relative": 1e-4,
                "l2_relative": 2e-4,
            }
        )
    return made


@pytest.fixture(scope="module")
def manifest() -> dict[str, object]:
    config = compose(["protocol.homography.thresholds_px=[1,3,5]"], "parity")
    made = describe(config, DataSet("test", (), 1, 1, "1 of 1 sequences", "0" * 64), 1)
    precision = {
        "requested": "weights f16, hint f32",
        "resolved": "f32",
        "executed": {"f32": 1.0},
        "label": "FP16 weights",
    }
    made["methods"] = {
        name: {
            "label": name,
            "config": {"weights": "f16" if name == OTHER else "f32", "inference_precision": "f32"},
            "info": {"backend": "openvino", "precision": precision},
        }
        for name in ("superpoint_tf", "superpoint_ov_fp32", OTHER)
    }
    made["host"]["isa"] = ["avx2", "fma"]
    return made


@pytest.fixture(scope="module")
def made(comparison: Comparison) -> Frames:
    return frames(comparison, THRESHOLDS)


class Addresses(HTMLParser):
    """Collects every address a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if key in ("src", "href") and value is not None]


def test_the_report_is_whole_and_self_contained(
    tmp_path: Path, comparison: Comparison, manifest: dict[str, object], made: Frames
) -> None:
    stale = tmp_path / "plots" / "layers_gone.png"
    stale.parent.mkdir()
    stale.write_bytes(b"")
    page = write_report(tmp_path, manifest, comparison, made, THRESHOLDS)
    text = page.read_text()
    parser = Addresses()
    parser.feed(text)
    assert parser.found and all(address.startswith(("#", "data:")) for address in parser.found)
    for wanted in ("Where the error enters", "encoder conv 2", "Output tensors", "First estimates", "noise floor"):
        assert wanted in text
    assert "no &lt;BF16&gt; arithmetic" in text and "<BF16>" not in text
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert not stale.exists()
    plots = {"layers", f"layers_{OTHER}"} | {
        f"{kind}_{name}" for kind in ("cosines", "keypoints", "scores") for name in ("superpoint_ov_fp32", OTHER)
    }
    assert names == {f"{name}.{kind}" for name in plots for kind in ("png", "svg")}
    for name in ("summary", "tensors", "layers", "images", "pairs"):
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) >= 1
    markdown = (tmp_path / "parity.md").read_text()
    assert "| superpoint\\_ov\\_fp16" in markdown or "| superpoint_ov_fp16" in markdown


@pytest.mark.slow
def test_the_numbers_in_json_are_those_of_the_comparison(
    tmp_path: Path, comparison: Comparison, manifest: dict[str, object], made: Frames
) -> None:
    write_report(tmp_path, manifest, comparison, made, THRESHOLDS)
    content = json.loads((tmp_path / "parity.json").read_text())
    rows = {row["method"]: row for row in content["summary"]}
    assert rows["superpoint_ov_fp32"]["lost_0px"] == 0.0 and rows[OTHER]["lost_0px"] == pytest.approx(0.1)
    assert rows[OTHER]["lost_1px"] == 0.0 and rows[OTHER]["moved_1px"] == pytest.approx(0.1)
    assert rows["superpoint_ov_fp32"]["corner_shift_px"] == rows["superpoint_ov_fp32"]["noise_floor_px"]
    assert content["refused"] == comparison.refused and content["reference"] == "superpoint_tf"


def test_a_processor_without_half_precision_is_told_in_words(
    comparison: Comparison, manifest: dict[str, object], made: Frames
) -> None:
    said = dict(words(made, comparison, manifest))
    assert said["This processor"] == [
        "This processor has no native FP16, BF16 or INT8 arithmetic: reduced precision gives smaller files, not speed."
    ]
    assert any("expanded and computed in f32" in text for text in said[f"{OTHER} (FP16 weights)"])
    assert said["Not compared"] == ["superpoint_ov_bf16: no <BF16> arithmetic"]


@pytest.mark.slow
def test_a_report_links_back_to_its_run(
    tmp_path: Path, comparison: Comparison, manifest: dict[str, object], made: Frames
) -> None:
    page = write_report(tmp_path, manifest, comparison, made, THRESHOLDS, [("report of the run", "../report.html")])
    assert 'href="../report.html"' in page.read_text()


@pytest.mark.slow
def test_a_detector_without_pairs_or_layers_is_reported(
    tmp_path: Path, comparison: Comparison, manifest: dict[str, object]
) -> None:
    bare = replace(comparison, pairs=[], layers=[], cosines={name: [np.empty(0)] for name in comparison.cosines})
    rows = [{**row, "cosine_min": np.nan, "cosine_median": np.nan} for row in comparison.images]
    bare = replace(bare, images=rows)
    text = write_report(tmp_path, manifest, bare, frames(bare, THRESHOLDS), THRESHOLDS).read_text()
    assert "Where the error enters" not in text and "Descriptors and scores" not in text
    assert "lost" in text
