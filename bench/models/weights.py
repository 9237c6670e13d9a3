"""Weight files: an ``.npz`` of float32 arrays under the variable names of the sp_v6 graph.

A SuperPoint file holds 72 arrays (12 blocks of kernel, bias, gamma, beta, moving mean, moving variance), a MagicPoint
file 60 (no descriptor head).  Kernels are HWIO.  Files are read with ``allow_pickle=False``.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.core.errors import ModelError
from bench.core.files import staged_file
from bench.models.network import LayerSpec, layer_specs

if TYPE_CHECKING:
    import keras

Weights = dict[str, npt.NDArray[np.float32]]

ASSETS = Path(__file__).parent / "assets"
BUILTIN_SUPERPOINT = ASSETS / "builtin.npz"
BUILTIN_MAGICPOINT = ASSETS / "builtin_magicpoint.npz"

_VARIABLES = {
    "conv/kernel": ("conv", "kernel"),
    "conv/bias": ("conv", "bias"),
    "bn/gamma": ("bn", "gamma"),
    "bn/beta": ("bn", "beta"),
    "bn/moving_mean": ("bn", "moving_mean"),
    "bn/moving_variance": ("bn", "moving_variance"),
}


def _shape(spec: LayerSpec, variable: str) -> tuple[int, ...]:
    if variable == "conv/kernel":
        return (spec.kernel_px, spec.kernel_px, spec.channels_in, spec.channels_out)
    return (spec.channels_out,)


def variable_shapes(descriptors: bool = True) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array of a weight file, in file order.

    >>> len(variable_shapes()), len(variable_shapes(descriptors=False))
    (72, 60)
    """
    return {
        f"{spec.scope}/{variable}": _shape(spec, variable)
        for spec in layer_specs(descriptors)
        for variable in _VARIABLES
    }


def has_descriptors(weights: Mapping[str, object]) -> bool:
    """True for the arrays of a SuperPoint, False for those of a MagicPoint (no array of a descriptor head)."""
    return any(name.startswith("superpoint/descriptor/") for name in weights)


def check_weights(weights: Mapping[str, npt.NDArray[Any]], source: str) -> Weights:
    """Check names, shapes and values, and return the arrays in file order.

    Parameters
    ----------
    weights : mapping of str to array
        The arrays of a SuperPoint or of a MagicPoint.
    source : str
        Where they come from, for the error message.

    Raises
    ------
    ModelError
        If an array is missing, unknown, of a wrong shape or type, not finite, or a variance is negative.
    """
    expected = variable_shapes(has_descriptors(weights))
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    if missing or unknown:
        raise ModelError(
            f"{source}: not a SuperPoint weight file: "
            f"{len(missing)} arrays missing {missing[:3]}, {len(unknown)} unknown {unknown[:3]}; "
            f"expected the {len(expected)} arrays that bench.models.weights.variable_shapes lists"
        )
    for name, shape in expected.items():
        array = weights[name]
        if array.shape != shape:
            raise ModelError(f"{source}: array {name} has shape {array.shape}, expected {shape} (kernels are HWIO)")
        if array.dtype != np.float32:
            raise ModelError(f"{source}: array {name} is {array.dtype}, expected float32; convert it with astype")
        if not np.isfinite(array).all():
            raise ModelError(f"{source}: array {name} holds NaN or infinity; the file is damaged or training diverged")
        if name.endswith("/moving_variance") and (array < 0).any():
            raise ModelError(f"{source}: array {name} holds a negative variance; the file is damaged")
    return {name: weights[name] for name in expected}


def load_weights(path: str | os.PathLike[str]) -> Weights:
    """Read and check a weight file.

    Raises
    ------
    ModelError
        If the file is absent, not an ``.npz``, holds pickled objects, or fails :func:`check_weights`.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such weight file; give an .npz with the arrays of a SuperPoint")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError, EOFError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read as .npz without pickle: {error}") from error
    return check_weights(arrays, str(path))


def save_weights(path: str | os.PathLike[str], weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check the arrays and write them; the file appears complete or not at all.

    Raises
    ------
    ModelError
        If the arrays fail :func:`check_weights`.
    """
    path = Path(path)
    checked = check_weights(weights, str(path))
    with staged_file(path) as part, part.open("wb") as file:
        np.savez(file, **checked)  # type: ignore[arg-type]


def network_weights(network: keras.Model) -> Weights:
    """Copy the weights of a network built by :func:`bench.models.network.build_network` to NumPy arrays."""
    import keras

    return {
        name: np.asarray(keras.ops.convert_to_numpy(variable), dtype=np.float32)
        for name, variable in network_variables(network).items()
    }


def set_network_weights(network: keras.Model, weights: Mapping[str, npt.NDArray[Any]], source: str = "weights") -> None:
    """Write arrays into a network; a MagicPoint network takes its part of SuperPoint arrays.

    Raises
    ------
    ModelError
        If an array that the network needs is missing, or the arrays fail :func:`check_weights`.
    """
    checked = check_weights(weights, source)
    for name, variable in network_variables(network).items():
        if name not in checked:
            raise ModelError(f"{source}: no array {name}: these are MagicPoint weights and the network has descriptors")
        variable.assign(checked[name])


def network_variables(network: keras.Model) -> dict[str, Any]:
    """Keras variables of a network under their file names, in file order."""
    with_descriptors = any(layer.name == "descriptors_raw" for layer in network.layers)
    return {
        f"{spec.scope}/{variable}": getattr(network.get_layer(f"{spec.part}_{spec.name}_{kind}"), attribute)
        for spec in layer_specs(with_descriptors)
        for variable, (kind, attribute) in _VARIABLES.items()
    }
