"""Images per second with OpenVINO's asynchronous queue, beside the latency of one image at a time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.core.errors import BenchError
from bench.features.base import MeasuresThroughput
from bench.schema import ImageConfig

if TYPE_CHECKING:
    from bench.run.extraction import Item
    from bench.run.worker import Worker

log = logging.getLogger(__name__)
IMAGES = 8


def measure(
    workers: Mapping[str, Worker], items: Sequence[Item], config: ImageConfig, seconds: float
) -> dict[str, dict[str, float]]:
    """Measure every OpenVINO method, one after the other, with the throughput hint.

    Its cold and cached compilation are measured, too; they then stand among the method's costs.

    Parameters
    ----------
    workers : mapping
        Loaded methods.
    items : sequence of Item
        The most frequent image size among the first of them is used.
    seconds : float
        Duration per method.

    Returns
    -------
    dict
        Per method ``images_per_s``, ``streams`` and ``requests``, and how it was measured: ``seconds``, ``height``,
        ``width``; methods of other backends are left out.
    """
    from bench.run.extraction import prepare_item

    images = [prepare_item(item, config) for item in items[:IMAGES]]
    sizes = [image.size for image in images]
    common = max(sorted(set(sizes)), key=sizes.count)
    images = [image for image in images if image.size == common]
    found = {}
    for name, worker in workers.items():
        try:
            if worker.info().backend == "openvino":
                worker.call(MeasuresThroughput.compile_costs, common)
                rate = worker.call(MeasuresThroughput.throughput, images, seconds)
                found[name] = rate | {"seconds": seconds, "height": common.height, "width": common.width}
        except BenchError as error:
            log.warning("throughput of %s: %s", name, error)
    return found
