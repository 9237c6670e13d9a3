"""Real images and the SuperPoint methods of the tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.core.types import Context, DataSet, EvaluatedImage
from bench.data import load
from bench.features.base import create
from bench.features.superpoint import SuperPointExtractor
from bench.models.store import saved_model
from bench.schema import HomographicAdaptationConfig, ModelConfig, NmsConfig, PhotosConfig, SuperPointConfig

Make = Callable[..., SuperPointExtractor]


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """A real grey photograph of 240x320 (HxW) with texture and edges."""
    import cv2
    from skimage import data

    return cv2.resize(data.camera(), (320, 240), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def image(photograph: NDArray[np.uint8]) -> EvaluatedImage:
    return EvaluatedImage("camera", photograph, np.eye(3))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported and converted models of a session, shared by its processes: the cache locks its entries."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "models"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def views(cache: Path) -> DataSet:
    """Six views of a photograph of 240x320 (HxW) under known homographies, five pairs."""
    return load(PhotosConfig(viewpoint_sequences=1, illumination_sequences=0, height=240, width=320), cache / "data")


@pytest.fixture(scope="session")
def builtin(cache: Path) -> Path:
    """The SavedModel of the package's weights."""
    return saved_model(ModelConfig("builtin"), Context(threads=1, cache=cache, data_root=cache / "data"))


@pytest.fixture(scope="session", params=["builtin", "published"])
def superpoint(request: pytest.FixtureRequest) -> Path:
    """SavedModels of SuperPoint: the package's, and the graph of sp_v6 where ../shared is there."""
    if request.param == "builtin":
        return Path(request.getfixturevalue("builtin"))
    return Path(request.getfixturevalue("shared")) / "models/sp_v6_graph_int8_weights"


@pytest.fixture(scope="session")
def make(cache: Path) -> Make:
    """Create a method: ``make("openvino", directory, graph="full")``; without a directory the builtin model."""

    def method(backend: str, directory: Path | None = None, **keys: object) -> SuperPointExtractor:
        settings: dict[str, object] = {
            "max_keypoints": 300,
            "threads": 1,
            "nms": NmsConfig("box", 4, 0.1),
            "min_probability": 0.001,
            "border_px": 0,
            "homographic_adaptation": HomographicAdaptationConfig(),
            "model": ModelConfig("builtin") if directory is None else ModelConfig("path", str(directory)),
        }
        config = SuperPointConfig(backend=backend, **(settings | keys))  # type: ignore[arg-type]
        extractor = create("method", config, Context(threads=1, cache=cache, data_root=cache / "data"))
        assert isinstance(extractor, SuperPointExtractor)
        return extractor

    return method
