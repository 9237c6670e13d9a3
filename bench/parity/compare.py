"""Run the reference and the other methods on the same images, and collect the rows of the drift report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, FeatureError, ModelError, WorkerError
from bench.core.names import safe_name
from bench.core.progress import progress
from bench.core.types import Context, DataSet, EvaluatedImage, Features, MethodInfo, Pair, Size
from bench.data.prepare import prepare_pair
from bench.features.base import HasTensors
from bench.parity import measure
from bench.parity.config import ParityConfig
from bench.parity.drift import Floats
from bench.parity.layers import LayerDrift
from bench.parity.measure import Row
from bench.run.extraction import Item, items_of, prepare_item
from bench.run.worker import Worker
from bench.schema import SuperPointConfig
from bench.schema.options import Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Illustration:
    """The image on which a method differs most from the reference, for the plots.

    Attributes
    ----------
    key : str
    grey : (H, W) uint8 or float32
    reference, other : Features
        Without descriptors.
    """

    key: str
    grey: NDArray[Any]
    reference: Features
    other: Features
    n_changed: int


@dataclass
class Comparison:
    """Rows of the drift report. Every row names its ``method``; the reference has no rows of its own.

    Attributes
    ----------
    tensors, layers, images, pairs : list of dict
        See :mod:`bench.parity.measure` and :mod:`bench.parity.layers`.
    cosines : mapping
        Method -> cosine similarities of descriptors at keypoints at the same place, all images.
    illustrations : mapping
    infos : mapping
        Method -> what its worker reported, the reference first.
    refused : mapping
        Method -> why it was not compared.
    """

    tensors: list[Row] = field(default_factory=list)
    layers: list[Row] = field(default_factory=list)
    images: list[Row] = field(default_factory=list)
    pairs: list[Row] = field(default_factory=list)
    cosines: dict[str, list[Floats]] = field(default_factory=dict)
    illustrations: dict[str, Illustration] = field(default_factory=dict)
    infos: dict[str, MethodInfo] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class LayersWorker(Worker):
    """The IR of a method and its FP32 IR in a process of their own."""

    create = "bench.parity.layers:create"


def choose(dataset: DataSet, max_sequences: int | None, max_pairs: int | None) -> DataSet:
    """Keep some sequences, evenly spread over the data set, and the first pairs of each.

    Returns
    -------
    DataSet
        The same counts of a complete copy; the note says what is used.
    """
    by_sequence: dict[str, list[Pair]] = {}
    for pair in dataset.pairs:
        by_sequence.setdefault(pair.sequence, []).append(pair)
    names = list(by_sequence)
    if max_sequences is not None and max_sequences < len(names):
        kept = np.unique(np.linspace(0, len(names) - 1, max_sequences).round().astype(int))
        names = [names[k] for k in kept]
    pairs = tuple(pair for name in names for pair in by_sequence[name][:max_pairs])
    present = "" if len(dataset.pairs) == dataset.pairs_expected else f"; present: {dataset.note}"
    note = (
        f"{len(names)} of {len(by_sequence)} sequences and {len(pairs)} of {len(dataset.pairs)} pairs compared{present}"
    )
    return replace(dataset, pairs=pairs, note=note if len(pairs) < len(dataset.pairs) else dataset.note)


def methods_of(config: ParityConfig) -> dict[str, SuperPointConfig]:
    """SuperPoint methods of a configuration, the reference first."""
    found = {name: method for name, method in config.methods.items() if isinstance(method, SuperPointConfig)}
    if config.protocol.keypoints.gt_filter:
        # The budget applies after the filter, per pair.
        found = {name: replace(method, max_keypoints=0) for name, method in found.items()}
    return {config.reference: found[config.reference]} | found


def compare(config: ParityConfig, dataset: DataSet, context: Context, logs: Path) -> Comparison:
    """Measure the drift of every method on the images and pairs of `dataset`.

    A method that cannot run here (a precision the processor lacks, INT8 without its extra) is left out with its reason.

    Parameters
    ----------
    logs : Path
        Folder for the output of the worker processes.

    Raises
    ------
    BenchError
        If the reference cannot run, or no other method can.
    """
    methods = methods_of(config)
    result = Comparison()
    features = _images(config, methods, dataset, context, logs, result)
    _pairs(config, dataset, features, result)
    _layers(config, methods, dataset, context, logs, result)
    return result


def _start(name: str, method: SuperPointConfig, config: ParityConfig, context: Context, logs: Path) -> Worker:
    if asdict(method.model) != asdict(config.methods[config.reference].model):
        raise ModelError(f"method {name} runs another model than the reference; drift compares one model with itself")
    return Worker(name, method, context, logs / f"{safe_name(name, 'the method')}.log", config.timeouts)


def _images(
    config: ParityConfig,
    methods: Mapping[str, SuperPointConfig],
    dataset: DataSet,
    context: Context,
    logs: Path,
    result: Comparison,
) -> dict[str, dict[str, Features]]:
    """Fill the rows of images and tensors; returns method -> image key -> features."""
    items = items_of(dataset, config.protocol.image)
    features: dict[str, dict[str, Features]] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        with progress("load methods", len(methods)) as step:
            for name, method in methods.items():
                try:
                    workers[name] = _start(name, method, config, context, logs)
                    stack.callback(workers[name].close)
                except (ModelError, WorkerError) as error:
                    _refuse(name, error, config, workers, result)
                step(name)
        warm: set[Size] = set()
        with progress("compare", len(items)) as step:
            for item in items:
                image = prepare_item(item, config.protocol.image)
                outputs: dict[str, Mapping[str, NDArray[Any]]] = {}
                for name in list(workers):
                    try:
                        if image.size not in warm:
                            workers[name].warm_up(image.size)
                        found, outputs[name] = workers[name].call(HasTensors.tensors, image)
                        features.setdefault(name, {})[image.key] = found
                    except (ModelError, FeatureError, WorkerError) as error:
                        _refuse(name, error, config, workers, result)
                        outputs.pop(name, None)
                warm.add(image.size)
                for name in workers:
                    if name != config.reference:
                        _image_rows(name, config.reference, image, outputs, features, result)
                step(image.key)
        for name, worker in workers.items():
            result.infos[name] = worker.info()
    for name in result.refused:
        features.pop(name, None)
    return features


def _refuse(name: str, error: BenchError, config: ParityConfig, workers: dict[str, Worker], result: Comparison) -> None:
    """Leave a method out and say why; without the reference or any other method there is nothing to report."""
    if name == config.reference:
        raise error
    reason = str(error).splitlines()[0].removeprefix(f"method {name}: ")
    log.warning("%s is not compared: %s", name, reason)
    result.refused[name] = reason
    workers.pop(name, None)
    for rows in (result.tensors, result.images):
        rows[:] = [row for row in rows if row["method"] != name]
    result.cosines.pop(name, None)
    result.illustrations.pop(name, None)
    candidates = [other for other in methods_of(config) if other != config.reference]
    if all(other in result.refused for other in candidates):
        raise ModelError(
            "no method is left to compare with the reference: "
            + "; ".join(f"{other}: {why}" for other, why in result.refused.items())
        ) from error


def _image_rows(
    name: str,
    reference: str,
    image: EvaluatedImage,
    outputs: Mapping[str, Mapping[str, NDArray[Any]]],
    features: Mapping[str, Mapping[str, Features]],
    result: Comparison,
) -> None:
    key = {"method": name, "image": image.key}
    for row in measure.tensor_rows(outputs[reference], outputs[name]):
        result.tensors.append(key | row)
    a, b = features[reference][image.key], features[name][image.key]
    found = measure.image_drift(a, b)
    result.images.append(key | found.row)
    result.cosines.setdefault(name, []).append(found.cosines)
    changed = found.row["lost_0px"] + found.row["gained_0px"]
    worst = result.illustrations.get(name)
    if worst is None or changed > worst.n_changed:
        bare = [replace(features, descriptors=None) for features in (a, b)]
        result.illustrations[name] = Illustration(image.key, image.grey, bare[0], bare[1], changed)


def _pairs(
    config: ParityConfig, dataset: DataSet, features: Mapping[str, Mapping[str, Features]], result: Comparison
) -> None:
    protocol = config.protocol
    repeats = max(config.repeats, protocol.estimator.repeats)
    items = {item.key: item for item in items_of(dataset, protocol.image)}
    images: dict[str, EvaluatedImage] = {}
    with progress("match and estimate", len(dataset.pairs)) as step:
        for pair in dataset.pairs:
            keys = (pair.reference.key, pair.target.key)
            # Images of the last pair only: the reference image of a sequence is read once, and memory stays small.
            images = {key: images.get(key) or prepare_item(items[key], protocol.image) for key in keys}
            prepared = prepare_pair(pair, images[keys[0]], images[keys[1]], protocol.image)
            solved = {
                name: measure.solve_pair(prepared, own[keys[0]], own[keys[1]], protocol, config.seed, repeats)
                for name, own in features.items()
            }
            reference = solved.pop(config.reference)
            for name, other in solved.items():
                if reference is not None and other is not None:
                    result.pairs.append({"method": name} | measure.pair_row(prepared, reference, other, protocol))
            step(pair.name)


def _layers(
    config: ParityConfig,
    methods: Mapping[str, SuperPointConfig],
    dataset: DataSet,
    context: Context,
    logs: Path,
    result: Comparison,
) -> None:
    """Compare the layers of every OpenVINO method that is not the FP32 IR itself."""
    wanted = {
        name: method
        for name, method in methods.items()
        if name in result.infos
        and method.backend == Runtime.openvino
        and (method.weights, method.inference_precision, method.device) != ("f32", "f32", "CPU")
    }
    first = {pair.sequence: Item(pair.reference, None) for pair in reversed(dataset.pairs)}
    items = list(reversed(first.values()))[: config.layer_images]
    if not wanted or not items:
        return
    with progress("compare layers", len(wanted) * len(items)) as step:
        for name, method in wanted.items():
            log_path = logs / f"{safe_name(name, 'the method')}_layers.log"
            worker = LayersWorker(name, method, context, log_path, config.timeouts)
            try:
                for item in items:
                    image = prepare_item(item, config.protocol.image)
                    for row in worker.call(LayerDrift.compare, image):
                        result.layers.append({"method": name, "image": image.key} | row)
                    step(name)
            finally:
                worker.close()
