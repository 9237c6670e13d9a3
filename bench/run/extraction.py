"""First half of a run: every image through every method, interleaved, one worker at a time.

Images are taken in blocks. Within a block the methods run in seeded random order, so that a slow minute of the machine
does not fall on one method alone. The outputs of the first pass are stored and evaluated; its times are the times of
those very outputs. Later passes only add times.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.core.errors import DataError, FeatureError, WorkerError
from bench.core.progress import progress
from bench.core.types import Correspondences, DataSet, EvaluatedImage, Features, ImageRef, Pair, Size, StageTimes
from bench.data.prepare import prepare_image
from bench.run.incidents import Incidents
from bench.run.store import Extraction, RunStore
from bench.run.worker import Worker
from bench.schema import ImageConfig, LatencyConfig
from bench.schema.options import TargetSize
from bench.timing.calibration import CalibrationKernel
from bench.timing.neighbours import Neighbours

log = logging.getLogger(__name__)
MAX_CRASHES = 3
"""Images in a row on which a worker may die before its method is given up."""


@dataclass(frozen=True, slots=True)
class Item:
    """An image to extract from, and the reference image its size follows (``target_size: reference``)."""

    image: ImageRef
    reference: ImageRef | None

    @property
    def key(self) -> str:
        return self.image.key


def items_of(dataset: DataSet, config: ImageConfig) -> list[Item]:
    """List each image of the data set once, in the order of the pairs.

    Raises
    ------
    DataError
        If an image would need two sizes because two pairs give it different references.
    """
    found: dict[str, Item] = {}
    for pair in dataset.pairs:
        follows = pair.reference if config.target_size == TargetSize.reference else None
        for item in (Item(pair.reference, None), Item(pair.target, follows)):
            known = found.setdefault(item.key, item)
            if known != item:
                raise DataError(
                    f"image {item.key} belongs to several references, so protocol.image.target_size=reference gives it "
                    "several sizes; use a protocol with target_size=own"
                )
    return list(found.values())


def prepare_item(item: Item, config: ImageConfig) -> EvaluatedImage:
    """Read and resize an item's image."""
    reference = prepare_image(item.reference, config) if item.reference is not None else None
    return prepare_image(item.image, config, reference)


@dataclass
class _Runner:
    """A worker, what it is warm for, and how often it died."""

    worker: Worker
    warm_extractions: int
    incidents: Incidents
    pairwise: bool = False
    warm: set[Size] = field(default_factory=set)
    crashes: int = 0
    """Images in a row on which it died."""
    failure: str | None = None

    def extract(self, images: Sequence[EvaluatedImage]) -> tuple[Features | Correspondences, StageTimes]:
        run = self.worker.correspond if self.pairwise else self.worker.extract
        if images[0].size not in self.warm:
            self.worker.warm_up(images[0].size)
            for _ in range(self.warm_extractions):
                run(*images)
            self.warm.add(images[0].size)
        return run(*images)

    def attempt(
        self, images: Sequence[EvaluatedImage], evaluated: bool
    ) -> tuple[Features | Correspondences, StageTimes] | str:
        """Extract from an image or a pair; a dead worker is restarted once. Returns the reason where nothing came.

        Parameters
        ----------
        images : sequence of EvaluatedImage
            One, or the two of a pair.
        evaluated : bool
            Whether pairs depend on the result; otherwise it only adds a time.
        """
        if self.failure is not None:
            if evaluated:
                self.incidents.lost(self.worker.name)
            return self.failure
        deaths: list[str] = []
        for retry in (False, True):
            try:
                result = self.extract(images)
            except FeatureError as error:
                return str(error)
            except WorkerError as error:
                log.warning("%s", error)
                deaths.append(str(error).splitlines()[0])
                self.warm.clear()
                self.worker.close()
                try:
                    self.worker.start()
                except WorkerError as restart_error:
                    self.failure = str(restart_error)
                    return self._lost(self.failure, images[-1], evaluated)
                if retry:
                    self.crashes += 1
                    if self.crashes >= MAX_CRASHES:
                        self.failure = f"given up after {self.crashes} images in a row: {deaths[-1]}"
                    return self._lost(deaths[-1], images[-1], evaluated)
            else:
                self.crashes = 0
                for death in deaths:
                    self.incidents.note(f"{death}; it was restarted on {images[-1].key} and nothing was lost")
                return result
        raise AssertionError("unreachable")

    def _lost(self, reason: str, image: EvaluatedImage, evaluated: bool) -> str:
        if evaluated:
            self.incidents.lost(self.worker.name)
        else:
            what = f"a repeated timing of {image.key} is missing, no pair is lost"
            self.incidents.note(f"{reason.splitlines()[0]}; {what}")
        return reason


@dataclass(frozen=True, slots=True)
class Block:
    """A few images and what is to be extracted from them, on one host.

    Attributes
    ----------
    number : int
        Of the pass.
    place : int
        Number of the block, unique within the pass.
    part : str
        Name of its part of the times.
    work : tuple of (str, Unit)
        Methods and what each gets, in the order in which they are measured.
    items : mapping
        Image key -> item, of all images in `work`.
    """

    number: int
    place: int
    part: str
    work: tuple[tuple[str, Unit], ...]
    items: Mapping[str, Item]


@dataclass(frozen=True, slots=True)
class Extracted:
    """One step of a block is done.

    Attributes
    ----------
    method : str
    key : str
        Of the image or pair.
    extraction : Extraction or None
        None in passes that only add times.
    """

    method: str
    key: str
    extraction: Extraction | None


@dataclass(frozen=True, slots=True)
class Times:
    """Rows of the part of a block, all so far. Those before the first extraction hold the calibration time."""

    rows: list[dict[str, object]]


Event = Extracted | Times


@dataclass(frozen=True, slots=True)
class Measured:
    """What becomes of a block, as it is measured.

    Attributes
    ----------
    block : Block
    events : iterable of Event
    conditions : mapping or None
        Those it is measured under; None: those of the run itself.
    whole : bool
        All of it is measured already, so its files can be written together.
    """

    block: Block
    events: Iterable[Event]
    conditions: Mapping[str, str] | None = None
    whole: bool = False


class Station:
    """The methods of one host, which measure blocks: one method at a time.

    Parameters
    ----------
    workers : mapping
        Loaded methods.
    pairwise : collection of str
        Methods that take pairs instead of images.
    image_config : ImageConfig
    config : LatencyConfig
    incidents : Incidents
        Where deaths of workers go.
    threads : int
        Threads of a method, for what neighbours took from it.
    """

    def __init__(
        self,
        workers: Mapping[str, Worker],
        pairwise: Collection[str],
        image_config: ImageConfig,
        config: LatencyConfig,
        incidents: Incidents,
        threads: int,
    ) -> None:
        self._runners = {
            name: _Runner(worker, config.warmup, incidents, name in pairwise) for name, worker in workers.items()
        }
        self._image_config = image_config
        self._calibration, self._neighbours = CalibrationKernel(), Neighbours(threads)

    def all(self, blocks: Iterator[Block]) -> Iterator[Measured]:
        """Measure blocks, one after the other."""
        for block in blocks:
            yield Measured(block, self.measure(block))

    def measure(self, block: Block) -> Iterator[Event]:
        """Measure a block; it goes on when the next event is asked for."""
        evaluated = {key: prepare_item(item, self._image_config) for key, item in block.items.items()}
        first, place = block.number == 0, block.place
        speed = zip(("calibration", "interrupted"), self._calibration.measure(), strict=True)
        rows = [_machine_row(stage, ms, block.number, place) for stage, ms in speed]
        if first:
            # First of all, so that no extraction is ever without the calibration time of its block.
            yield Times(list(rows))
        self._neighbours.lost_ms()
        for order, (name, unit) in enumerate(block.work):
            images = [evaluated[key] for key in unit.images]
            result = self._runners[name].attempt(images, first)
            position = (place, order)
            if first:
                yield Extracted(name, unit.key, _stored(result, position, images[0].size))
                continue
            if not isinstance(result, str):
                rows += stage_rows(name, unit.key, result[1], images[0].size, block.number, *position)
            yield Extracted(name, unit.key, None)
        taken = zip(("block", "lost"), self._neighbours.lost_ms(), strict=True)
        rows += [_machine_row(stage, ms, block.number, place) for stage, ms in taken]
        yield Times(rows)


class Plan:
    """The blocks of a run: which there are, and which of them are still to be measured.

    Parameters
    ----------
    methods : collection of str
        In the order of the tables.
    items : sequence of Item
    config : LatencyConfig
    store : RunStore
        What it already has is left out.
    seed : int
    pairs : sequence of Pair
        Of the data set. A pair belongs to the block of its target image, or of its reference where that comes later.
    pairwise : collection of str
        Methods that take pairs instead of images.
    """

    def __init__(
        self,
        methods: Collection[str],
        items: Sequence[Item],
        config: LatencyConfig,
        store: RunStore,
        seed: int,
        pairs: Sequence[Pair] = (),
        pairwise: Collection[str] = (),
    ) -> None:
        rng = np.random.default_rng((seed, 0))
        timed = list(items)
        if config.max_images is not None and config.max_images < len(timed):
            timed = [timed[i] for i in sorted(rng.choice(len(timed), config.max_images, replace=False))]
        self._methods, self._pairwise, self._store, self._seed = list(methods), pairwise, store, seed
        self._passes = [list(items)] + [timed] * (config.repeats - 1)
        self._block = config.block
        self._by_key = {item.key: item for item in items}
        self._units = _Units(self._by_key, pairs)
        self.total = sum(len(self._units.of(name in pairwise, chunk)) for chunk in self._passes for name in methods)
        """Extractions of all passes."""

    def blocks(self, skipped: Callable[[], None]) -> Iterator[Block]:
        """Blocks with something left to measure, in order; `skipped` is called for each extraction that is there."""
        store = self._store
        last = max([-(-len(self._passes[0]) // self._block) - 1, *store.blocks_begun()])
        for number, images in enumerate(self._passes):
            for start in range(0, len(images), self._block):
                chunk = images[start : start + self._block]
                place = start // self._block
                part = store.part("times", f"{number:03d}-{place:06d}")
                names = _order(self._methods, (self._seed, number, start))
                every = [(name, unit) for name in names for unit in self._units.of(name in self._pairwise, chunk)]
                if number == 0:
                    pending = [(name, unit) for name, unit in every if not store.has_extraction(name, unit.key)]
                else:
                    pending = [] if part.is_file() else every
                for _ in range(len(every) - len(pending)):
                    skipped()
                if not pending:
                    continue
                if number == 0 and part.is_file():
                    # The rest of a block that was cut in two: it was not measured when the first piece was.
                    place = last = last + 1
                needed = {key for _, unit in pending for key in unit.images}
                found = {key: item for key, item in self._by_key.items() if key in needed}
                yield Block(number, place, f"{number:03d}-{place:06d}", tuple(pending), found)


def extract_blocks(
    plan: Plan,
    measure: Callable[[Iterator[Block]], Iterator[Measured]],
    store: RunStore,
    session_of: Callable[[Mapping[str, str] | None], int],
) -> None:
    """Measure what a plan still has and store it as it comes.

    Parameters
    ----------
    measure : callable
        Of an engine: takes the blocks as it has room for them.
    session_of : callable
        Place of the conditions of a block in the manifest.

    Raises
    ------
    ModelError
        If a method cannot run on an image of this size; nothing stored is lost.
    StoreError
        If results cannot be written.
    """
    with progress("extract", plan.total) as step:
        for measured in measure(plan.blocks(lambda: step(""))):
            session = session_of(measured.conditions)
            together: list[tuple[str, str, Extraction]] = []
            for event in measured.events:
                if isinstance(event, Times):
                    store.write_extractions(together, session)
                    together.clear()
                    store.write_part("times", measured.block.part, event.rows, session)
                    continue
                if event.extraction is not None:
                    together.append((event.method, event.key, event.extraction))
                    if not measured.whole:
                        store.write_extractions(together, session)
                        together.clear()
                step(event.method)


def extract_all(
    workers: Mapping[str, Worker],
    items: Sequence[Item],
    image_config: ImageConfig,
    config: LatencyConfig,
    store: RunStore,
    seed: int,
    threads: int,
    pairs: Sequence[Pair] = (),
    pairwise: Collection[str] = (),
) -> Incidents:
    """Run the first pass and the timing passes on this host; what the store already has is skipped.

    Parameters
    ----------
    threads : int
        Threads of a method, for what neighbours took from it.
    pairs, pairwise :
        As in :class:`Plan`.

    Returns
    -------
    Incidents
        Deaths of workers, those of earlier tries of this run included.

    Raises
    ------
    ModelError, StoreError
        As :func:`extract_blocks`.
    """
    incidents = Incidents.of(store.directory)
    station = Station(workers, pairwise, image_config, config, incidents, threads)
    plan = Plan(list(workers), items, config, store, seed, pairs, pairwise)
    extract_blocks(plan, station.all, store, lambda conditions: store.session)
    return incidents


@dataclass(frozen=True, slots=True)
class Unit:
    """What a method gets at once: an image, or for pairwise methods a pair; `images` are keys."""

    key: str
    images: tuple[str, ...]


class _Units:
    """Units of some images: themselves, or the pairs that are complete with the last of their images."""

    def __init__(self, items: Mapping[str, Item], pairs: Sequence[Pair]) -> None:
        place = {key: number for number, key in enumerate(items)}
        self._pairs: dict[str, list[Unit]] = {}
        for pair in pairs:
            keys = (pair.reference.key, pair.target.key)
            self._pairs.setdefault(max(keys, key=place.__getitem__), []).append(Unit(pair.name, keys))

    def of(self, pairwise: bool, images: Sequence[Item]) -> list[Unit]:
        if pairwise:
            return [unit for image in images for unit in self._pairs.get(image.key, ())]
        return [Unit(image.key, (image.key,)) for image in images]


def _stored(
    result: tuple[Features | Correspondences, StageTimes] | str, position: tuple[int, int], size: Size
) -> Extraction:
    if isinstance(result, str):
        return Extraction(None, None, *position, failure=result)
    found, times = result
    if isinstance(found, Correspondences):
        return Extraction(None, times, *position, correspondences=found, size=size)
    return Extraction(found, times, *position, size=size)


def stage_rows(
    method: str, key: str, times: StageTimes, size: Size, repeat: int, block: int, order: int
) -> list[dict[str, object]]:
    """Rows of times.parquet for one extraction."""
    common = {
        "method": method,
        "item": key,
        "repeat": repeat,
        "block": block,
        "order": order,
        "height": size.height,
        "width": size.width,
    }
    stages = {"preprocess": times.preprocess_ms, "infer": times.infer_ms, "decode": times.decode_ms}
    return [{**common, "stage": stage, "ms": ms} for stage, ms in stages.items() if np.isfinite(ms)]


def _order(names: list[str], seed: tuple[int, ...]) -> list[str]:
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))]


def _machine_row(stage: str, ms: float, repeat: int, block: int) -> dict[str, object]:
    """Row of times.parquet about the machine during a block: the calibration kernel and its interruptions, the block's
    duration, and how much of it neighbours took."""
    return {
        "method": "calibration",
        "item": "",
        "stage": stage,
        "repeat": repeat,
        "block": block,
        "order": -1,
        "height": 0,
        "width": 0,
        "ms": ms,
    }
