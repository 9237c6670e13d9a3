"""`bench export run_dir=results/<run>`: write the features of a run in the layouts other tools read.

The files can be read back with ``method=imported`` (npz) or ``method=imported_hdf5``, with the same ``frame``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import MISSING

from bench.core.errors import StoreError
from bench.core.files import staged_file, write_atomic
from bench.core.names import safe_name
from bench.features.exchange import Descriptors, npz_bytes, write_hdf5
from bench.features.imported import map_to_source
from bench.run.recorded import recorded_dataset
from bench.run.store import RunStore, finished_manifest
from bench.schema import one_of
from bench.schema.options import FeatureFormat, Frame
from bench.schema.values import FinishedRun, Folder, MethodNames

log = logging.getLogger(__name__)

Write = Callable[[str, NDArray[Any], NDArray[np.float32], Descriptors | None], None]


@dataclass
class ExportConfig:
    """`bench export`: features of a run as npz files or one HDF5 file a method."""

    run_dir: FinishedRun = MISSING
    """Directory of a finished run that kept its features."""
    only: MethodNames | None = None
    """Methods to export; null: all of the run."""
    format: FeatureFormat = FeatureFormat.npz
    """npz (``<output>/<sequence>/<image>.<method>``, D2-Net's convention) | hdf5 (``<output>/<method>.h5``, hloc's)."""
    frame: Frame = Frame.source
    """source (keypoints in pixels of the image file, float64) | evaluated (as the run saw them, float32)."""
    output: Folder | None = None
    """Folder of the files; null: ``<run_dir>/export``."""


def main(config: ExportConfig) -> int:
    """Export and say how many images of how many methods; returns the exit status 0.

    Raises
    ------
    ConfigError
        If a method is not part of the run.
    StoreError
        If the run is not finished, has no features, or the output cannot be written.
    """
    from bench.run.extraction import items_of, prepare_item

    directory = Path(config.run_dir)
    manifest = finished_manifest(directory)
    methods = list(manifest.methods) if config.only is None else config.only
    for method in methods:
        one_of("only", method, list(manifest.methods))
    image_config = manifest.protocol_config().image
    dataset = recorded_dataset(directory, manifest)
    store, output = RunStore(directory), Path(config.output) if config.output else directory / "export"
    items = items_of(dataset, image_config)
    transforms = {}
    if config.frame == Frame.source:
        transforms = {item.key: prepare_item(item, image_config).T_source_to_evaluated for item in items}
    for method in methods:
        safe_name(method, "the method")  # a manifest may be a stranger's
        if manifest.methods[method].info.get("pairwise"):
            log.warning("%s gives correspondences of pairs and has no features of images to export", method)
            continue
        written = 0
        with _writer(config.format, output, method) as write:
            for item in items:
                if not store.has_extraction(method, item.key):
                    raise StoreError(f"{directory} has no features of {method}; repeat the run with keep_features=true")
                features = store.read_extraction(method, item.key).features
                if features is None:
                    log.warning("%s: the extraction from %s failed; nothing is written for it", method, item.key)
                    continue
                xy: NDArray[Any] = features.keypoints
                if config.frame == Frame.source:
                    xy = map_to_source(features, transforms[item.key])
                name = str(PurePosixPath(item.key).parent / item.image.path.name)
                write(name, xy, features.scores, features.descriptors)
                written += 1
        print(f"{method}: {written} of {len(items)} images, keypoints in the {config.frame} frame, in {output}")
    return 0


@contextlib.contextmanager
def _writer(kind: str, output: Path, method: str) -> Iterator[Write]:
    """A function that writes one image; an HDF5 file appears whole or not at all."""

    def write_npz(name: str, xy: NDArray[Any], scores: NDArray[np.float32], descriptors: Descriptors | None) -> None:
        write_atomic(output / f"{name}.{method}", npz_bytes(xy, scores, descriptors))

    if kind == "npz":
        yield write_npz
        return
    import h5py

    # The temporary file is locked already, by the one who renames it.
    with staged_file(output / f"{method}.h5") as temporary, h5py.File(temporary, "w", locking=False) as file:
        yield lambda *arguments: write_hdf5(file, *arguments)
