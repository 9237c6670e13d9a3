"""Cards of a finished run: those that the evaluation left, and those of a run that was evaluated without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.types import DataSet, Pair
from bench.data.prepare import prepare_pair
from bench.geometry.solve import estimate_repeatedly
from bench.report.cards import Budget, Cards, Packer, merge
from bench.run.evaluation import Entry, cards_budget, entries, solve_stored
from bench.run.extraction import Item, items_of, prepare_item
from bench.run.manifest import Manifest
from bench.run.recorded import recorded_dataset
from bench.run.store import RunStore
from bench.schema import ProtocolConfig


def cards_of_run(directory: Path, manifest: Manifest, dataset: DataSet | None = None) -> tuple[Cards | None, str]:
    """Cards of a finished run.

    Sequences without any are solved again from the stored features and their cards are written beside the others;
    without stored features they have images and true outlines only.

    Parameters
    ----------
    dataset : DataSet, optional
        The run's; loaded where it is needed and not given. Nothing is downloaded.

    Returns
    -------
    cards : Cards or None
        None where there are none and none can be made.
    missing : str
        Why some or all are missing.

    Raises
    ------
    StoreError
        If a file of the run is damaged or cannot be written.
    """
    store = RunStore(directory)
    parts = store.read_cards()
    missing = ""
    covered = {name for part in parts for name in part.pairs}
    if not covered.issuperset(manifest.dataset.pairs):
        try:
            _add(dataset or recorded_dataset(directory, manifest, download=False), manifest, store, covered)
        except BenchError as error:
            missing = str(error).splitlines()[0]
        parts = store.read_cards()
    return (merge(parts) if parts else None), missing


def _add(dataset: DataSet, manifest: Manifest, store: RunStore, covered: set[str]) -> None:
    """Write the cards of the sequences that have none."""
    protocol, methods = manifest.protocol_config(), entries(manifest)
    items = {item.key: item for item in items_of(dataset, protocol.image)}
    of_cards = cards_budget(dataset, protocol.image, len(methods))
    for number, sequence in enumerate(dict.fromkeys(pair.sequence for pair in dataset.pairs)):
        pairs = [pair for pair in dataset.pairs if pair.sequence == sequence]
        if not covered.issuperset(pair.name for pair in pairs):
            made = _sequence(pairs, items, methods, protocol, store, manifest.seeds.get("run", 0), of_cards)
            store.write_cards(f"{number:05d}", made)


def _sequence(
    pairs: Sequence[Pair],
    items: dict[str, Item],
    methods: dict[str, Entry],
    protocol: ProtocolConfig,
    store: RunStore,
    seed: int,
    of_cards: Budget,
) -> Cards:
    packer = Packer(tuple(methods), of_cards, seed)
    stored = store.has_measurements()
    once = replace(protocol.estimator, repeats=1)
    keys = sorted({image.key for pair in pairs for image in (pair.reference, pair.target)})
    images = {key: prepare_item(items[key], protocol.image) for key in keys}
    for pair in pairs:
        image_ref, image_target = images[pair.reference.key], images[pair.target.key]
        prepared = prepare_pair(pair, image_ref, image_target, protocol.image)
        packer.begin(pair.name, image_ref, image_target, prepared.H_ref_to_target)
        for method, entry in methods.items():
            if not stored:
                packer.add(method, None, None)
                continue
            solved, _ = solve_stored(prepared, method, entry, protocol, store)
            found = estimate_repeatedly(solved, once, seed)
            packer.add(method, solved, None if found is None else found.homographies[0])
    return packer.finish()
