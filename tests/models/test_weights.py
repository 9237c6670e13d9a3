"""Weight files: round trip, and one clear error for every kind of damage."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.models.weights import (
    BUILTIN_MAGICPOINT,
    BUILTIN_SUPERPOINT,
    Weights,
    has_descriptors,
    load_weights,
    save_weights,
    variable_shapes,
)

KERNEL = "superpoint/vgg/conv1_2/conv/kernel"
VARIANCE = "superpoint/detector/conv2/bn/moving_variance"


def random_weights(descriptors: bool = True) -> Weights:
    rng = np.random.default_rng(0)
    return {
        name: (np.abs if name.endswith("variance") else np.asarray)(rng.normal(size=shape)).astype(np.float32)
        for name, shape in variable_shapes(descriptors).items()
    }


@pytest.mark.parametrize("descriptors", [True, False])
def test_round_trip_keeps_every_bit(tmp_path: Path, descriptors: bool) -> None:
    weights = random_weights(descriptors)
    save_weights(tmp_path / "new" / "weights.npz", weights)
    read = load_weights(tmp_path / "new" / "weights.npz")
    assert list(read) == list(variable_shapes(descriptors))
    assert all(np.array_equal(read[name], weights[name]) for name in weights)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights.npz"]


def test_builtin_weights_are_complete() -> None:
    assert len(load_weights(BUILTIN_SUPERPOINT)) == 72
    magicpoint = load_weights(BUILTIN_MAGICPOINT)
    assert len(magicpoint) == 60
    assert not has_descriptors(magicpoint)


def _drop(weights: Weights) -> None:
    del weights[KERNEL]


def _add(weights: Weights) -> None:
    weights["superpoint/vgg/conv9/conv/kernel"] = np.zeros(3, np.float32)


def _transpose(weights: Weights) -> None:
    weights["superpoint/vgg/conv3_1/conv/kernel"] = weights["superpoint/vgg/conv3_1/conv/kernel"].transpose(3, 2, 0, 1)


def _poison(weights: Weights) -> None:
    weights[KERNEL][0, 0, 0, 0] = np.nan


def _negate(weights: Weights) -> None:
    weights[VARIANCE][3] = -0.1


def _narrow(weights: Weights) -> None:
    weights[KERNEL] = weights[KERNEL].astype(np.float16)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop, "1 arrays missing.*conv1_2/conv/kernel"),
        (_add, "1 unknown.*conv9"),
        (_transpose, r"conv3_1/conv/kernel has shape \(128, 64, 3, 3\), expected \(3, 3, 64, 128\)"),
        (_poison, "conv1_2/conv/kernel holds NaN"),
        (_negate, "conv2/bn/moving_variance holds a negative variance"),
        (_narrow, "is float16, expected float32"),
    ],
)
def test_damaged_weights_are_refused(tmp_path: Path, damage: Callable[[Weights], None], message: str) -> None:
    weights = random_weights()
    damage(weights)
    np.savez(tmp_path / "damaged.npz", **weights)
    with pytest.raises(ModelError, match=message):
        load_weights(tmp_path / "damaged.npz")
    with pytest.raises(ModelError, match=message):
        save_weights(tmp_path / "new.npz", weights)
    assert not (tmp_path / "new.npz").exists()


def test_pickles_and_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", **{KERNEL: np.array([{"a": 1}], dtype=object)})
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"a": 1}))
    whole = (BUILTIN_MAGICPOINT).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").touch()
    for name in ("objects", "pickle", "half", "empty"):
        with pytest.raises(ModelError, match=f"{name}.npz: cannot be read as .npz without pickle"):
            load_weights(tmp_path / f"{name}.npz")
    with pytest.raises(ModelError, match="no such weight file"):
        load_weights(tmp_path / "absent.npz")
