"""Rows of a run drawn from a simple model, so that report tests have realistic input without running a method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.schema import ProtocolConfig
from bench.summary.table import Summary, summarise_rows

METHODS = {  # spread of the log corner error, its centre in px, failure rate, ms per image
    "superpoint_tf": (0.9, 1.2, 0.02, 590.0),
    "superpoint_ov_fp32": (0.9, 1.2, 0.02, 345.0),
    "superpoint_ov_fp16": (0.9, 1.21, 0.02, 341.0),
    "sift": (1.3, 0.9, 0.06, 81.0),
    "orb": (1.5, 4.0, 0.12, 6.2),
}
THRESHOLDS_PX = (1.0, 3.0, 5.0)


def simulated_pairs(scenes: int = 16, methods: tuple[str, ...] = tuple(METHODS), seed: int = 0) -> pd.DataFrame:
    """Return rows as in pairs.parquet."""
    rng = np.random.default_rng((seed, 1))
    rows: list[dict[str, Any]] = []
    for scene in range(scenes):
        split = "iv"[scene % 2]
        for target in range(2, 7):
            shared = rng.normal()
            for method in methods:
                width, centre, failing, _ = METHODS[method]
                own = shared if method.startswith("superpoint") else rng.normal()
                hard = 0.25 * (target - 2) * (split == "v")
                error = float(centre * np.exp(width * own + hard - 0.6))
                failed = bool(rng.random() < failing * (1 + 2 * hard))
                matches = int(rng.integers(20, 700))
                precision = np.clip(1 - np.exp(-np.arange(1, 16) / 3) * 1.1, 0, 1) * rng.uniform(0.6, 1)
                row = {
                    "method": method,
                    "pair": f"{split}_scene{scene:02d}/1-{target}",
                    "sequence": f"{split}_scene{scene:02d}",
                    "split": split,
                    "outcome": str(rng.choice(["estimation_failed", "too_few_matches"])) if failed else "ok",
                    "n_keypoints_ref": 1000,
                    "n_keypoints_target": int(rng.integers(700, 1001)),
                    "n_matches": matches,
                    "n_inliers": 0 if failed else int(matches * rng.uniform(0.3, 0.9)),
                    "corner_error_px": np.inf if failed else error,
                    "corner_errors_px": [np.inf] * 4 if failed else list(error * np.exp(rng.normal(0, 0.1, 4))),
                    "n_failed_repeats": 4 * failed,
                    "match_ms": 9.0 * float(np.exp(rng.normal(0, 0.2))),
                    "estimate_ms": 31.0 * float(np.exp(rng.normal(0, 0.2))),
                    "repeatability": float(np.clip(rng.normal(0.6, 0.1), 0, 1)),
                    "mma": precision,
                }
                row["inlier_ratio"] = row["n_inliers"] / matches
                row |= {f"accuracy_{t:g}px": float(row["corner_error_px"] <= t) for t in THRESHOLDS_PX}
                rows.append(row)
    return pd.DataFrame(rows)


def simulated_times(pairs: pd.DataFrame, repeats: int = 2, seed: int = 0) -> pd.DataFrame:
    """Return rows as in times.parquet."""
    rng = np.random.default_rng((seed, 2))
    rows = []
    for method in dict.fromkeys(pairs["method"]):
        total = METHODS[method][3]
        for block, scene in enumerate(dict.fromkeys(pairs["sequence"])):
            for image in range(1, 7):
                for repeat in range(repeats):
                    for stage, share in (("preprocess", 0.01), ("infer", 0.94), ("decode", 0.05)):
                        ms = total * share * float(np.exp(rng.normal(0, 0.05)))
                        rows.append((method, f"{scene}/{image}", stage, repeat, block, 0, 480, 640, ms))
    rows += [("calibration", "kernel", "calibration", 0, b, b, 0, 0, 5.0) for b in range(20)]
    return pd.DataFrame(rows, columns=["method", "item", "stage", "repeat", "block", "order", "height", "width", "ms"])


def simulated_summary(pairs: pd.DataFrame, times: pd.DataFrame, draws: int = 200) -> Summary:
    """Summarise simulated rows as a run does."""
    infos = {
        m: {"costs": {"peak_memory_mb": 300.0 + METHODS[m][3], "load_ms": 800.0}} for m in pairs["method"].unique()
    }
    return summarise_rows(pairs, times, infos, ProtocolConfig(name="strict"), draws)


def simulated_manifest(**changes: Any) -> dict[str, Any]:
    """Return a manifest as a finished run writes it."""
    labels = {"superpoint_tf": "f32", "superpoint_ov_fp32": "f32", "superpoint_ov_fp16": "FP16 weights, f32 compute"}
    methods = {
        name: {
            "label": name,
            "config": {"backend": "openvino", "threads": 2},
            "info": {
                "backend": "opencv" if name not in labels else "openvino",
                "precision": {
                    "requested": "f32",
                    "resolved": "f32",
                    "executed": {"Convolution": "f32"},
                    "label": labels[name],
                }
                if name in labels
                else {},
                "fingerprint": {"graph_sha256": "ab" * 32, "nms": "box"} if name in labels else {},
                "threads": {"inference": 2},
            },
        }
        for name in METHODS
    }
    return {
        "title": "",
        "command": ["dataset=hpatches", "title=a b"],
        "started": "2026-01-05T10:00:00+00:00",
        "finished": "2026-01-05T10:04:10+00:00",
        "threads": 2,
        "config": {"bootstrap_draws": 2000},
        "protocol": {
            "name": "strict",
            "version": 1,
            "hash": "0a1b2c3d4e5f6071",
            "config": {
                "name": "strict",
                "source": "docs/protocols.md",
                "unstated": [],
                "gt_leak": False,
                "estimator": {"name": "usac_magsac", "threshold_px": 2.0, "repeats": 10},
                "mma_px": [float(t) for t in range(1, 16)],
            },
        },
        "dataset": {"name": "hpatches", "note": "3 of 116 sequences, 15 of 580 pairs", "digest": "cd" * 32},
        "seeds": {"run": 0, "dataset": None},
        "host": {"cpu": "AMD EPYC 7763", "isa": ["avx2"], "usable_cores": 2, "memory_gb": 8},
        "versions": {"tensorflow": "2.21.0", "openvino": "2026.4.1", "numpy": "2.4.6"},
        "git": {"commit": "ef" * 20, "dirty": False},
        "load_before": {"load_average": [0.1, 0.2, 0.3]},
        "load_after": {"load_average": [1.9, 1.0, 0.5]},
        "noise": {"noisy": False, "reasons": [], "calibration_drift": 0.01},
        "rows_expected": 400,
        "rows_written": 400,
        "died": [],
        "methods": methods,
        **changes,
    }
