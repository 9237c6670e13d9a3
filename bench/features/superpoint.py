"""The SuperPoint extractor, whatever runtime computes the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import ConfigError, FeatureError, ModelError
from bench.core.types import Context, EvaluatedImage, Features, MethodInfo, Size, StageTimes
from bench.features.adaptation import adapt
from bench.features.base import Stopwatch
from bench.features.convert import model_files
from bench.features.decode import Decoding, decode, probabilities
from bench.features.select import to_float32
from bench.models.fingerprint import Fingerprint
from bench.models.graphfile import GraphFingerprint
from bench.models.shape import check_size
from bench.models.store import model_of
from bench.runtimes.base import Network, Outputs, load
from bench.schema import MethodConfig, SuperPointConfig
from bench.schema.options import Graph


def create(name: str, config: MethodConfig, context: Context) -> SuperPointExtractor:
    """Load the model that `config` names on the runtime ``config.backend``.

    Raises
    ------
    ModelError
        If the model is missing or refused, or the runtime cannot run it as asked.
    """
    if not isinstance(config, SuperPointConfig):
        raise ConfigError(f"methods.{name}: this backend takes the keys of SuperPointConfig")
    model, fingerprint = model_of(config.model, context)
    network = load(config, model_files(config, model, fingerprint, context), fingerprint, context)
    return SuperPointExtractor(name, config, context, fingerprint, network)


class SuperPointExtractor:
    """Network, decoding and, if asked for, Homographic Adaptation, as a method of the benchmark."""

    def __init__(
        self, name: str, config: SuperPointConfig, context: Context, fingerprint: Fingerprint, network: Network
    ) -> None:
        import cv2

        cv2.setNumThreads(context.threads)
        self.name = name
        self._config = config
        self._fingerprint = fingerprint
        self._network = network
        self._decoding = Decoding.of(config)
        self._descriptors: str | None = None
        if config.descriptors and fingerprint.descriptors:
            dense = config.graph == Graph.full or "descriptors_raw" not in fingerprint.output_tensors
            self._descriptors = (
                "descriptors" if dense and "descriptors" in fingerprint.output_tensors else "descriptors_raw"
            )
        self._first_inference_ms: float | None = None

    def warm_up(self, size: Size) -> None:
        """Compile for `size` and run once.

        Raises
        ------
        ModelError
            If a side is not divisible by 8.
        """
        check_size(size)
        self._network.prepare(size)
        start = time.perf_counter()
        self._network.infer(np.zeros((1, size.height, size.width, 1), np.float32))
        if self._first_inference_ms is None:
            self._first_inference_ms = 1e3 * (time.perf_counter() - start)

    def extract(self, image: EvaluatedImage) -> tuple[Features, StageTimes]:
        """Features of an image and the time of each stage.

        Raises
        ------
        ModelError
            If a side is not divisible by 8.
        FeatureError
            If the network's output is not finite.
        """
        check_size(image.size)
        self._network.prepare(image.size)
        watch = Stopwatch()
        with watch("preprocess_ms"):
            grey = to_float32(image.grey, self._fingerprint.input_scale)[None, :, :, None]
        with watch("infer_ms"):
            outputs = self._network.infer(grey)
        adaptation = self._config.homographic_adaptation
        with watch("decode_ms"):
            prob = _prob(outputs)
            descriptors = None if self._descriptors is None else outputs[self._descriptors][0]
        if adaptation.num > 1:
            # The next run of the network overwrites the outputs.
            descriptors = None if descriptors is None else descriptors.copy()
            batch = adaptation.batch if self._fingerprint.batch is None else 1
            with watch("infer_ms"):
                prob = adapt(grey[0, :, :, 0], prob.copy(), self._detect, adaptation, batch)
        with watch("decode_ms"):
            try:
                features = decode(prob, descriptors, self._decoding, image.size)
            except FeatureError as error:
                raise FeatureError(f"image {image.key}: {error}") from error
        return features, watch.times()

    def tensors(self, image: EvaluatedImage) -> tuple[Features, dict[str, NDArray[np.float32]]]:
        """Features of an image and the network's outputs they come from, by signature key, for the drift report.

        Raises
        ------
        ModelError, FeatureError
            As :meth:`extract`.
        """
        check_size(image.size)
        self._network.prepare(image.size)
        grey = to_float32(image.grey, self._fingerprint.input_scale)[None, :, :, None]
        outputs = {name: array.copy() for name, array in self._network.infer(grey).items()}
        if self._config.homographic_adaptation.num > 1:
            return self.extract(image)[0], outputs
        descriptors = None if self._descriptors is None else outputs[self._descriptors][0]
        return decode(_prob(outputs), descriptors, self._decoding, image.size), outputs

    def throughput(self, images: Sequence[EvaluatedImage], seconds: float) -> dict[str, float]:
        """Images per second of the network alone; OpenVINO only, see `OpenVINONetwork.throughput`.

        Raises
        ------
        ModelError
            If the runtime has no asynchronous queue.
        """
        inputs = [to_float32(image.grey, self._fingerprint.input_scale)[None, :, :, None] for image in images]
        found: dict[str, float] = self._speed("throughput")(inputs, seconds)
        return found

    def infer_batch(self, images: Sequence[EvaluatedImage]) -> float:
        """Run images of one size in one call of the network and return the wall time in milliseconds.

        Raises
        ------
        ModelError
            If the graph bakes another batch size.
        """
        size = images[0].size
        check_size(size)
        stacked = np.stack([to_float32(image.grey, self._fingerprint.input_scale)[:, :, None] for image in images])
        if self._fingerprint.batch is not None and len(images) != self._fingerprint.batch:
            raise ModelError(
                f"{self.name}: the graph is baked for batch {self._fingerprint.batch}, {len(images)} were asked for; "
                "use batches=[1]"
            )
        self._network.prepare(size, len(images))
        start = time.perf_counter()
        self._network.infer(stacked)
        return 1e3 * (time.perf_counter() - start)

    def compile_costs(self, size: Size) -> dict[str, float]:
        """Cold and cached compilation in milliseconds; OpenVINO only, see `OpenVINONetwork.compile_costs`."""
        found: dict[str, float] = self._speed("compile_costs")(size)
        return found

    def _speed(self, name: str) -> Callable[..., dict[str, float]]:
        found: Callable[..., dict[str, float]] | None = getattr(self._network, name, None)
        if found is None:
            raise ModelError(f"{name} is measured under OpenVINO only; {self.name} runs {self._config.backend}")
        return found

    def info(self) -> MethodInfo:
        """Describe what runs."""
        facts = self._network.info()
        costs = {key: float(str(value)) for key, value in facts["costs"].items()}
        if self._first_inference_ms is not None:
            costs["first_inference_ms"] = self._first_inference_ms
        return MethodInfo(
            name=self.name,
            backend=self._config.backend,
            has_descriptors=self._descriptors is not None,
            precision=facts["precision"],
            fingerprint=self._fingerprint.as_dict()
            | {"graph": "file" if isinstance(self._fingerprint, GraphFingerprint) else self._config.graph},
            versions={key: str(value) for key, value in facts["versions"].items()},
            threads=facts["threads"],
            costs=costs,
            device=facts.get("device", {}),
        )

    def _detect(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability maps (N, H, W) of (N, H, W) images; copied, because the next run overwrites them."""
        size = Size(*images.shape[1:])
        self._network.prepare(size, len(images))
        outputs = self._network.infer(images[..., None])
        return np.stack([_prob(outputs, index) for index in range(len(images))])


def _prob(outputs: Outputs, index: int = 0) -> NDArray[np.float32]:
    """Probability map (H, W) of an image of the batch; a semi-dense model gives logits instead."""
    return outputs["prob"][index] if "prob" in outputs else probabilities(outputs["logits"][index])
