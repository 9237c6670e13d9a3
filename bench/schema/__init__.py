"""Typed configuration: the only place where config keys are defined.

Values live in ``conf/``; these dataclasses give every key its type, and ``__post_init__`` says which values are
possible. ``register`` puts them into Hydra's ConfigStore, so that an unknown key or a wrong type fails while composing.
Interpolations such as ``${protocol.keypoints.max}`` tie a method's budget to the protocol and can be overridden.
"""

from __future__ import annotations

import functools

from bench.schema.checks import check, inputs, one_of
from bench.schema.data import (
    DATASET_CONFIGS,
    DATASETS,
    CustomDatasetConfig,
    DatasetConfig,
    FolderConfig,
    HPatchesConfig,
    OxfordConfig,
    PhotosConfig,
    RotationScaleConfig,
)
from bench.schema.methods import (
    EXTRACTORS,
    METHOD_CONFIGS,
    CustomConfig,
    DetectorConfig,
    HomographicAdaptationConfig,
    ImportedConfig,
    MethodConfig,
    ModelConfig,
    OpenCVConfig,
    ProtocolNms,
    ProtocolSift,
    SelectedModel,
    SuperPointConfig,
)
from bench.schema.protocol import (
    ESTIMATORS,
    MATCHERS,
    METRICS,
    EstimatorConfig,
    HomographyMetricConfig,
    ImageConfig,
    KeypointsConfig,
    MatcherConfig,
    NmsConfig,
    ProtocolConfig,
    SiftConfig,
)
from bench.schema.recommend import GridConfig, LimitsConfig, RecommendConfig, TimingConfig
from bench.schema.run import EngineConfig, EstimatorSweepConfig, LatencyConfig, RunConfig, TimeoutsConfig

__all__ = [
    "DATASETS",
    "DATASET_CONFIGS",
    "ESTIMATORS",
    "EXTRACTORS",
    "MATCHERS",
    "METHOD_CONFIGS",
    "METRICS",
    "CustomConfig",
    "CustomDatasetConfig",
    "DatasetConfig",
    "DetectorConfig",
    "EngineConfig",
    "EstimatorConfig",
    "EstimatorSweepConfig",
    "FolderConfig",
    "GridConfig",
    "HPatchesConfig",
    "HomographicAdaptationConfig",
    "HomographyMetricConfig",
    "ImageConfig",
    "ImportedConfig",
    "KeypointsConfig",
    "LatencyConfig",
    "LimitsConfig",
    "MatcherConfig",
    "MethodConfig",
    "ModelConfig",
    "NmsConfig",
    "OpenCVConfig",
    "OxfordConfig",
    "PhotosConfig",
    "ProtocolConfig",
    "ProtocolNms",
    "ProtocolSift",
    "RecommendConfig",
    "RotationScaleConfig",
    "RunConfig",
    "SelectedModel",
    "SiftConfig",
    "SuperPointConfig",
    "TimeoutsConfig",
    "TimingConfig",
    "check",
    "inputs",
    "one_of",
    "register",
]


@functools.cache
def register() -> None:
    """Put every schema into Hydra's ConfigStore, once in a process."""
    from hydra.core.config_store import ConfigStore  # loads all of Hydra

    store = ConfigStore.instance()
    store.store(group="protocol", name="schema", node=ProtocolConfig)
    for name, dataset in {**DATASET_CONFIGS, "custom": CustomDatasetConfig}.items():
        store.store(group="dataset", name=f"schema_{name}", node=dataset)
    store.store(group="model", name="schema", node=ModelConfig)
    for name, method in METHOD_CONFIGS.items():
        store.store(group="method", name=f"schema_{name}", node=method)
    store.store(group="latency", name="schema", node=LatencyConfig)
    store.store(group="grid", name="schema", node=GridConfig)
    store.store(group="engine", name="schema", node=EngineConfig)
