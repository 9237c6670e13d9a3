"""Check that a run directory holds everything the README promises, and that its numbers are in their ranges."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pandas as pd

run = Path(sys.argv[1])
METHODS = {"superpoint_tf", "superpoint_ov_fp32", "superpoint_ov_fp16", "sift", "orb"}

for name in (
    "summary.csv",
    "summary.md",
    "summary.tex",
    "pairs.parquet",
    "times.parquet",
    "manifest.json",
    "report.html",
):
    path = run / name
    assert path.is_file() and path.stat().st_size > 100, f"{path} is missing or empty"
assert list(run.glob("plots/*.png")) and list(run.glob("plots/*.svg")), "plots are missing"

manifest = json.loads((run / "manifest.json").read_text())
pairs = pd.read_parquet(run / "pairs.parquet")
times = pd.read_parquet(run / "times.parquet")
assert manifest["status"] == "complete"
assert set(pairs["method"]) == METHODS, sorted(set(pairs["method"]))
assert len(pairs) == manifest["rows_expected"] == manifest["rows_written"]
assert pairs.groupby("method")["pair"].nunique().eq(len(manifest["dataset"]["pairs"])).all()
assert {"preprocess", "infer", "decode", "match", "estimate"} <= set(times["stage"])
assert (times["ms"] >= 0).all()
accuracy = pairs.groupby("method")["accuracy_3px"].mean()
assert (accuracy > 0.2).all(), f"implausible accuracy at 3 px:\n{accuracy}"
page = (run / "report.html").read_text()
assert not re.search(r'<(script|link|img)[^>]+(src|href)="http', page), "the page asks for something from outside"
print(accuracy.to_string())
print(f"{run}: complete, {len(pairs)} rows")
