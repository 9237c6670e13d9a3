"""Two file layouts in which tools of this field exchange local features.

- npz: one file per image, ``<image file name>.<suffix>``, with ``keypoints`` (N, 2 or more: x, y, ...), ``scores`` (N,)
  and ``descriptors`` (N, D), as D2-Net writes them (``1.ppm.d2-net``).
- hdf5: one file with a group per image, named ``<sequence>/<image file name>``, with ``keypoints`` (N, 2), ``scores``
  (N,) and ``descriptors`` (D, N), as hloc writes them.

Coordinates are xy, pixel centres at integers. Descriptors of type uint8 are binary. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import FeatureError

Descriptors = NDArray[np.float32] | NDArray[np.uint8]
MAX_BYTES = 1 << 30
"""Of one array."""


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """Features of one image as a file holds them.

    Attributes
    ----------
    keypoints : (N, 2) float64
    scores : (N,) float32
    descriptors : (N, D) float32, (N, B) uint8, or None
    where : str
        The file, and the group within it; named in errors.
    """

    keypoints: NDArray[np.float64]
    scores: NDArray[np.float32]
    descriptors: Descriptors | None
    where: str


def check_arrays(arrays: Mapping[str, NDArray[Any]], where: str, with_descriptors: bool = True) -> ImageFeatures:
    """Check shapes, types and values of ``keypoints``, ``scores`` and ``descriptors`` (N, D).

    Raises
    ------
    FeatureError
        Naming `where`, what is wrong, and what is expected.
    """
    needed = ("keypoints", "scores", "descriptors") if with_descriptors else ("keypoints", "scores")
    missing = [name for name in needed if name not in arrays]
    if missing:
        hint = "; for a detector without descriptors set descriptors=false" if missing == ["descriptors"] else ""
        found = ", ".join(sorted(arrays)) or "nothing"
        raise FeatureError(f"{where}: has no {', '.join(missing)} (found: {found}){hint}")
    keypoints, scores = arrays["keypoints"], arrays["scores"]
    n = len(keypoints) if keypoints.ndim else 0
    if keypoints.ndim != 2 or (keypoints.shape[1] < 2 and n) or keypoints.dtype.kind not in "fiu":
        raise FeatureError(
            f"{where}: keypoints must be (N, 2) numbers or (N, 2 + more), got {keypoints.shape} {keypoints.dtype}"
        )
    scores = scores.reshape(-1) if scores.ndim == 2 and 1 in scores.shape else scores
    if scores.shape != (n,) or scores.dtype.kind not in "fiu":
        raise FeatureError(
            f"{where}: scores must be ({n},) numbers for keypoints {keypoints.shape}, got {scores.shape} {scores.dtype}"
        )
    descriptors: Descriptors | None = None
    if with_descriptors:
        given = arrays["descriptors"]
        if given.ndim != 2 or len(given) != n:
            raise FeatureError(f"{where}: descriptors must be ({n}, D), one for each keypoint, got {given.shape}")
        if given.dtype == np.uint8:
            descriptors = np.ascontiguousarray(given, np.uint8)
        elif given.dtype.kind == "f":
            descriptors = _float32(given, where, "descriptors")
        else:
            raise FeatureError(f"{where}: descriptors must be floats, or uint8 if binary, got {given.dtype}")
    xy = np.asarray(keypoints[:, :2], np.float64).reshape(n, 2)
    if not np.isfinite(xy).all():
        raise FeatureError(f"{where}: keypoints contain NaN or infinity")
    return ImageFeatures(xy, _float32(scores, where, "scores"), descriptors, where)


def _float32(values: NDArray[Any], where: str, name: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(result).all():
        raise FeatureError(f"{where}: {name} contain NaN, infinity or values beyond float32")
    return result


def read_npz(path: Path, with_descriptors: bool = True) -> ImageFeatures:
    """Read the npz file of one image.

    Raises
    ------
    FeatureError
        If the file is missing, is no npz file, holds Python objects, or its arrays are refused.
    """
    where = str(path)
    if path.exists() and not path.is_file():
        raise FeatureError(
            f"{where}: is not a regular file; export features for this image, or correct path and suffix"
        )
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise FeatureError(f"{where}: holds a single array, not an npz file with keypoints, scores, descriptors")
        with content:
            wanted = [name for name in ("keypoints", "scores", "descriptors") if name in content.files]
            arrays: dict[str, NDArray[Any]] = {name: content[name] for name in wanted}
    except FileNotFoundError as error:
        raise FeatureError(
            f"{where}: no such file; export features for this image, or correct path and suffix"
        ) from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError, MemoryError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise FeatureError(
            f"{where}: not a readable npz file of plain arrays ({reason}); Python objects are never unpickled"
        ) from error
    return check_arrays(arrays, where, with_descriptors)


def npz_bytes(keypoints: NDArray[Any], scores: NDArray[np.float32], descriptors: Descriptors | None) -> bytes:
    """Content of the npz file of one image; arrays keep their type."""
    arrays: dict[str, Any] = {"keypoints": keypoints, "scores": scores}
    if descriptors is not None:
        arrays["descriptors"] = descriptors
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read_hdf5(path: Path, group: str, with_descriptors: bool = True) -> ImageFeatures:
    """Read the group of one image.

    Raises
    ------
    FeatureError
        If the file or the group is missing or damaged, its arrays are refused, or they are links, virtual or kept
        outside the file.
    """
    import h5py

    where = f"{path}:{group}"
    try:
        with h5py.File(path, "r") as file:
            _refuse_links(file, group, path)
            node = file.get(group)
            if not isinstance(node, h5py.Group):
                examples = ", ".join(list(file)[:3]) or "nothing"
                raise FeatureError(
                    f"{path}: has no group {group!r} (the file begins with: {examples}); "
                    "groups are named <sequence>/<image file name>"
                )
            arrays = {
                name: _own_data(file, f"{group}/{name}", path)
                for name in ("keypoints", "scores", "descriptors")
                if isinstance(node.get(name), h5py.Dataset)
            }
    except FileNotFoundError as error:
        raise FeatureError(f"{path}: no such file; correct path") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FeatureError(f"{where}: not readable as HDF5 ({error})") from error
    if arrays.get("descriptors") is not None and arrays["descriptors"].ndim == 2:
        arrays["descriptors"] = arrays["descriptors"].T
    return check_arrays(arrays, where, with_descriptors)


def _refuse_links(file: Any, name: str, path: Path) -> None:
    """Refuse a path inside the file that leads through a link to somewhere else."""
    import h5py

    parts = name.split("/")
    for end in range(1, len(parts) + 1):
        part = "/".join(parts[:end])
        link = file.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
            kind = "an external" if isinstance(link, h5py.ExternalLink) else "a soft"
            raise FeatureError(f"{path}: refused, {part!r} is {kind} link; a file of features must hold its own data")
        if not isinstance(file.get(part), h5py.Group):
            return


def _own_data(file: Any, name: str, path: Path) -> NDArray[Any]:
    """Read an array that lies in the file itself."""
    _refuse_links(file, name, path)
    dataset = file[name]
    kind = "kept outside the file" if dataset.external else "a virtual data set" if dataset.is_virtual else ""
    if kind:
        raise FeatureError(f"{path}: refused, {name!r} is {kind}; a file of features must hold its own data")
    if dataset.nbytes > MAX_BYTES:
        raise FeatureError(
            f"{path}: refused, {name!r} would be {dataset.nbytes} bytes; features of one image have at most {MAX_BYTES}"
        )
    return np.asarray(dataset)


def write_hdf5(
    file: Any, group: str, keypoints: NDArray[Any], scores: NDArray[np.float32], descriptors: Descriptors | None
) -> None:
    """Write the group of one image into an open ``h5py.File``; arrays keep their type."""
    node = file.create_group(group)
    node.create_dataset("keypoints", data=keypoints)
    node.create_dataset("scores", data=scores)
    if descriptors is not None:
        node.create_dataset("descriptors", data=np.ascontiguousarray(descriptors.T))
