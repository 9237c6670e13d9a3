"""Identity of a protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from omegaconf import OmegaConf

from bench.schema import ProtocolConfig

_PROSE = ("name", "title", "source", "unstated")


def _canonical(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return float(value)  # 3 and 3.0 are the same constant
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    return [_canonical(item) for item in value]


def protocol_hash(protocol: ProtocolConfig) -> str:
    """Hash of every constant of a protocol, stored with results and compared before results are.

    The first 16 hexadecimal digits of the SHA-256 of the resolved configuration as JSON with sorted keys and numbers as
    floats, without the prose (name, title, source, unstated). `version` is part of it: it is raised when the meaning of
    a constant changes in the code while its value stays.

    Parameters
    ----------
    protocol : ProtocolConfig
        Resolved: no interpolations.

    Returns
    -------
    str
        Two protocols have the same hash exactly if all their constants are equal, whatever they are called.
    """
    constants = {key: value for key, value in asdict(protocol).items() if key not in _PROSE}
    text = json.dumps(_canonical(constants), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def protocol_from(values: Mapping[str, Any]) -> ProtocolConfig:
    """Build a protocol from the nested mapping a manifest holds; values are validated as in a configuration.

    Raises
    ------
    ConfigError
        If a value is impossible.
    omegaconf.errors.ConfigKeyError
        If a key is unknown: the manifest was written by another version.
    """
    merged = OmegaConf.merge(OmegaConf.structured(ProtocolConfig), OmegaConf.create(dict(values)))
    protocol = OmegaConf.to_object(merged)
    assert isinstance(protocol, ProtocolConfig)
    return protocol
