"""Where SavedModels come from: the weights of the package, the published sp_v6, or a folder or weights of the user."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.core.doors import importable
from bench.core.errors import ModelError
from bench.core.types import Context
from bench.data.download import fetch, read_lock
from bench.models.cache import cached, run_python
from bench.models.checkpoint import SUFFIXES, load_checkpoint
from bench.models.fingerprint import Fingerprint, read_fingerprint, weights_fingerprint
from bench.models.graphfile import graph_file_of, is_graph_file
from bench.models.weights import BUILTIN_MAGICPOINT, BUILTIN_SUPERPOINT, load_weights, save_weights
from bench.schema import ModelConfig
from bench.schema.options import ModelKind

_BUILTIN = {"builtin": BUILTIN_SUPERPOINT, "builtin_magicpoint": BUILTIN_MAGICPOINT}


def saved_model(config: ModelConfig, context: Context) -> Path:
    """Folder of the SavedModel that `config` names; exported or downloaded on first use.

    Parameters
    ----------
    config : ModelConfig
    context : Context

    Raises
    ------
    ModelError
        If the weights or the folder are missing, or the export fails.
    DataError
        If the download fails or its content is not what was published.
    """
    weights = weight_file(config, context.cache)
    if weights is not None:
        return _exported(weights, config.kind, context.cache)
    if config.kind == ModelKind.sp_v6:
        folder = fetch(read_lock("sp_v6"), context.data_root)
        return _only_saved_model(folder)
    if config.path is None:
        raise ModelError(
            "model.kind=path needs model.path: the folder with saved_model.pb, the weights.npz of `bench train`, or a "
            f"PyTorch SuperPoint ({', '.join(SUFFIXES)})"
        )
    path = Path(config.path).expanduser()
    if is_graph_file(path):
        raise ModelError(f"model.path={config.path}: is run by OpenVINO as it is; this needs a SavedModel or weights")
    if not (path / "saved_model.pb").is_file():
        raise ModelError(
            f"model.path={config.path}: no saved_model.pb there; give the folder of a SavedModel, the weights.npz of "
            f"`bench train`, the weights of a PyTorch SuperPoint ({', '.join(SUFFIXES)}), or an OpenVINO IR (.xml) or "
            "ONNX file"
        )
    return path


def model_of(config: ModelConfig, context: Context) -> tuple[Path, Fingerprint]:
    """The model that `config` names and what it is: the folder of a SavedModel, or an IR or ONNX file. Where TensorFlow
    is not installed, weights stay an ``.npz``.

    Raises
    ------
    ModelError, DataError
        As :func:`saved_model`, :func:`bench.models.fingerprint.read_fingerprint` and
        :func:`bench.models.graphfile.read_graph_file`.
    """
    if config.kind == "path" and config.path is not None and is_graph_file(config.path):
        return Path(config.path).expanduser(), graph_file_of(config)
    weights = weight_file(config, context.cache)
    if weights is not None and not importable("tensorflow"):
        return weights, weights_fingerprint(load_weights(weights), config.input_scale)
    directory = saved_model(config, context)
    return directory, read_fingerprint(directory, config.input_scale)


def is_weights(config: ModelConfig) -> bool:
    """Whether `config` names weights, and not a SavedModel, an IR or an ONNX file; nothing is read."""
    suffix = Path(config.path or "").suffix
    return config.kind in _BUILTIN or (config.kind == ModelKind.path and suffix in (".npz", *SUFFIXES))


def weight_file(config: ModelConfig, cache: Path) -> Path | None:
    """The ``.npz`` with the weights that `config` names; None where it names a SavedModel, an IR or an ONNX file.

    Raises
    ------
    ModelError
        If the weights are missing or unusable.
    """
    if config.kind in _BUILTIN:
        path = _BUILTIN[config.kind]
        if not path.is_file():
            raise ModelError(f"{path}: missing from the installation of bench; reinstall it, or choose another model=")
        return path
    if not is_weights(config):
        return None
    path = Path(config.path or "").expanduser()
    if path.suffix != ".npz":
        return _as_npz(path, cache)
    load_weights(path)  # says what is wrong before a process is started
    return path


def _as_npz(checkpoint: Path, cache: Path) -> Path:
    """The weights of a PyTorch SuperPoint as a weight file, in the cache by their content."""
    weights = load_checkpoint(checkpoint)
    digest = hashlib.sha256()
    for name, array in weights.items():
        digest.update(name.encode() + array.tobytes())
    folder = cached(
        cache / "weights" / digest.hexdigest()[:16], lambda folder: save_weights(folder / "weights.npz", weights)
    )
    return folder / "weights.npz"


def _exported(weights: Path, kind: str, cache: Path) -> Path:
    if not importable("tensorflow"):
        raise ModelError(f"{weights.name} cannot be exported: TensorFlow is not installed (pip install tensorflow)")
    digest = hashlib.sha256(weights.read_bytes())
    for source in ("export.py", "network.py"):
        digest.update(Path(__file__).with_name(source).read_bytes())

    def export(directory: Path) -> None:
        # In a process of its own: TensorFlow starts its threads once, and a worker that exported could not limit them.
        run_python("bench.models.export:export_saved_model", str(weights), str(directory))

    return cached(cache / "savedmodels" / f"{kind}-{digest.hexdigest()[:16]}", export)


def _only_saved_model(folder: Path) -> Path:
    found = sorted(path.parent for path in folder.rglob("saved_model.pb"))
    if len(found) != 1:
        raise ModelError(f"{folder}: holds {len(found)} SavedModels, expected one; delete the folder to fetch it again")
    return found[0]
