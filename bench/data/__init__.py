"""Where image pairs come from."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import ConfigError, DataError
from bench.core.names import safe_key, safe_name
from bench.core.opencv import import_cv2
from bench.core.types import DataSet
from bench.schema import DATASETS, DatasetConfig


def load(config: DatasetConfig, data_root: Path) -> DataSet:
    """Load a data set: find or make its files, check every image and homography, count what is there.

    Of a shard the whole is loaded, too: its digest says later that the shards of a merged run are all of it.

    Parameters
    ----------
    config : DatasetConfig
        The dataclass of its ``kind`` (:mod:`bench.schema`).
    data_root : Path
        Folder of downloads; images that are made lie in the cache of this machine.

    Raises
    ------
    ConfigError
        If ``kind`` is no built-in name, entry point or module with ``load``, or gives no data set; or if it has fewer
        sequences than ``shard`` asks for.
    DataError
        If a file is missing, damaged or refused, a sequence, image or pair has a name that cannot name a file, or no
        image pair is complete.
    """
    import_cv2()  # every data set needs OpenCV: where it cannot be loaded, say so in one line
    dataset = DATASETS.load("dataset.kind", config.kind)(config, data_root)
    if not isinstance(dataset, DataSet):
        raise ConfigError(f"dataset.kind={config.kind!r}: load gave {type(dataset).__name__}, expected a DataSet")
    for pair in dataset.pairs:
        safe_name(pair.sequence, "the sequence", DataError)
        for key in (pair.name, pair.reference.key, pair.target.key):
            safe_key(key, "the image or pair", DataError)
    if config.shard is None:
        return dataset
    from bench.data.shards import take  # OpenCV, which help does without

    return take(dataset, config.shard)
