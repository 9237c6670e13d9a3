"""Weights out of a SavedModel, and SavedModels whose weights do not say what they compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import ModelError
from bench.models.sources import weights_of
from bench.models.weights import BUILTIN_SUPERPOINT, load_weights, save_weights
from tests.models.test_variables import save


def test_a_saved_model_gives_back_the_weights_it_was_made_from(builtin: Path) -> None:
    expected = load_weights(BUILTIN_SUPERPOINT)
    found = weights_of(builtin)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_weight_file_is_read_as_it_is(tmp_path: Path) -> None:
    save_weights(tmp_path / "weights.npz", load_weights(BUILTIN_SUPERPOINT))
    assert len(weights_of(tmp_path / "weights.npz")) == 72


def test_the_published_graphs_are_the_network(shared: Path) -> None:
    assert len(weights_of(shared / "models/sp_v6_graph_int8_weights")) == 72
    assert len(weights_of(shared / "models/magic-point_02-12-2018")) == 60


def test_another_network_is_refused(tmp_path: Path) -> None:
    model = save(tmp_path / "model", kernel=np.ones((3, 3, 1, 8), np.float32))
    with pytest.raises(ModelError, match=r"output 'prob' is computed by 1 layers, the first Mean, not by .* sp_v6"):
        weights_of(model)
