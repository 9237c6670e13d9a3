"""Rows of a simulated run with known structure, for tests of the summary."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.schema import EstimatorConfig, ProtocolConfig

REPEATS = 4
PROTOCOL = ProtocolConfig(
    name="simulated", estimator=EstimatorConfig(repeats=REPEATS), mma_px=[1.0, 3.0], precision_px=[1.0, 3.0]
)


def pair_rows(
    method: str, scale: float = 1.0, sequences: int = 10, seed: int = 0, detector: bool = False
) -> pd.DataFrame:
    """Five pairs per sequence, half of the sequences illumination; corner errors are `scale` times a common error."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(sequences):
        difficulty = rng.gamma(1.0, 2.0)
        for k in range(2, 7):
            errors = scale * difficulty * rng.lognormal(0, 0.4, REPEATS)
            errors[rng.random(REPEATS) < 0.1] = math.inf
            row: dict[str, object] = {
                "method": method,
                "pair": f"{'iv'[s % 2]}_{s:02d}/1-{k}",
                "sequence": f"{'iv'[s % 2]}_{s:02d}",
                "split": "iv"[s % 2],
                "outcome": "ok" if math.isfinite(errors[0]) else "estimation_failed",
                "n_keypoints_ref": 100 + k,
                "n_keypoints_target": 200 + k,
                "repeatability": rng.random(),
                "repeatability_one_to_one": rng.random(),
                "localisation_error_px": rng.random() if k != 3 else math.nan,
            }
            matching: dict[str, object] = {
                "n_matches": 50 + s,
                "match_ms": 2.0 + k / 10,
                "n_inliers": 20,
                "inlier_ratio": 20 / (50 + s),
                "corner_error_px": errors[0],
                "corner_errors_px": errors.tolist(),
                "n_failed_repeats": int(np.isinf(errors).sum()),
                "estimate_ms": 1.0,
                "dlt_corner_error_px": 2 * errors[0],
                "nn_map": rng.random(),
                "matching_score": rng.random(),
                "mma": [0.3, 0.7],
                "match_precision_1px": 0.4,
                "match_precision_3px": 0.6,
                "match_recall_1px": math.nan,
                "match_recall_3px": 0.8,
            }
            matching |= {f"accuracy_{t}px": float((errors <= t).mean()) for t in (1, 3, 5)}
            if detector:
                matching = dict.fromkeys(matching)
                row["outcome"] = "ok"
            rows.append(row | matching)
    return pd.DataFrame(rows)


def time_rows(method: str, infer_ms: float, images: int = 40, seed: int = 0) -> pd.DataFrame:
    """Stage times of `images` extractions in blocks of four, each stage with its own constant and 2 % noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(images):
        for stage, ms in (("preprocess", 1.0), ("infer", infer_ms), ("decode", 3.0)):
            cells = {"method": method, "item": f"s/{n}", "stage": stage, "repeat": 0, "block": n // 4, "order": 0}
            rows.append({**cells, "height": 480, "width": 640, "ms": ms * rng.lognormal(0, 0.02)})
    return pd.DataFrame(rows)
