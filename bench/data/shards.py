"""Part of a data set: whole sequences, shared out so that every shard has about the same number of pixels."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench.core.errors import ConfigError
from bench.core.types import DataSet, Pair, Whole
from bench.data.images import pixel_count
from bench.schema.values import shard_of


def costs(dataset: DataSet) -> dict[str, int]:
    """Pixels of each sequence: of its images once for the extraction, and of both images of each pair for the rest.

    Sizes are read from the headers of the image files, as they are before a protocol resizes them.

    Raises
    ------
    DataError
        If a file is gone or no image.
    """
    sizes: dict[Path, int] = {}
    images: dict[str, set[Path]] = {}
    found: dict[str, int] = {}
    for pair in dataset.pairs:
        for image in (pair.reference, pair.target):
            if image.path not in sizes:
                sizes[image.path] = pixel_count(image.path)
            images.setdefault(pair.sequence, set()).add(image.path)
            found[pair.sequence] = found.get(pair.sequence, 0) + sizes[image.path]
    return {name: found[name] + sum(sizes[path] for path in images[name]) for name in found}


def assign(costs: Mapping[str, int], count: int) -> dict[str, int]:
    """Share sequences out: the most expensive first, each to the shard that has least (LPT, Graham 1969).

    Among equally expensive sequences the first by name comes first, among equally full shards that with fewer
    sequences, then the lower number: the same data set gives the same shards everywhere. The fullest shard has at most
    4/3 of what the best division would give it.

    Parameters
    ----------
    costs : mapping
        Of each sequence.
    count : int
        Number of shards.

    Returns
    -------
    dict
        Sequence -> number of its shard, from 1.
    """
    shards = [(0, 0, number) for number in range(1, count + 1)]
    found = {}
    for name in sorted(costs, key=lambda name: (-costs[name], name)):
        total, sequences, number = heapq.heappop(shards)
        found[name] = number
        heapq.heappush(shards, (total + costs[name], sequences + 1, number))
    return found


def take(dataset: DataSet, shard: str) -> DataSet:
    """One shard of a data set, its pairs in their order; it knows the whole.

    Parameters
    ----------
    dataset : DataSet
        The whole.
    shard : str
        ``k/n``: number k of n, from 1.

    Raises
    ------
    ConfigError
        If the data set has fewer sequences than there are shards.
    DataError
        If an image file is gone.
    """
    number, count = shard_of(shard)
    sequences = list(dict.fromkeys(pair.sequence for pair in dataset.pairs))
    if count > len(sequences):
        raise ConfigError(
            f"dataset.shard={shard} is not possible: {dataset.name} has {len(sequences)} sequences and a shard takes "
            f"whole ones; allowed: up to {len(sequences)} shards"
        )
    shards = assign(costs(dataset), count)
    pairs = tuple(pair for pair in dataset.pairs if shards[pair.sequence] == number)
    n_sequences = sum(shards[name] == number for name in sequences)
    note = f"shard {shard}: {n_sequences} of {len(sequences)} sequences, {len(pairs)} of {len(dataset.pairs)} pairs"
    return replace(
        dataset,
        pairs=pairs,
        sequences_expected=n_sequences,
        pairs_expected=len(pairs),
        note=note,
        digest=shard_digest(dataset.digest, pairs),
        whole=Whole(
            shard, dataset.digest, dataset.note, dataset.sequences_expected, dataset.pairs_expected, dataset.pairs
        ),
    )


def shard_digest(whole: str, pairs: tuple[Pair, ...]) -> str:
    """Digest of some pairs of a data set: of the digest of the whole and the names of the pairs."""
    names = [pair.name for pair in pairs]
    return hashlib.sha256(json.dumps([whole, names]).encode()).hexdigest()
