"""Identity of a protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ValidationError

from bench.core.doors import unchecked
from bench.core.errors import ConfigError
from bench.schema import ProtocolConfig, check
from bench.schema.checks import wrong_word
from bench.schema.options import TargetSize

_PROSE = ("name", "title", "source", "unstated")

_RETIRED = ("homography.failure",)
"""Keys the schema has lost: hashed with the value that the presets had, and skipped in older manifests."""


def _retired(protocol: ProtocolConfig) -> dict[str, dict[str, Any]]:
    """Values of the lost keys, a function of the others, so that no hash has changed with their loss.

    ``homography.failure`` was ``inf``, but ``threshold_plus_one`` in silk, which alone resizes to the reference.
    """
    resized_to_reference = protocol.image.target_size == TargetSize.reference
    return {"homography": {"failure": "threshold_plus_one" if resized_to_reference else "inf"}}


def _canonical(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return float(value)  # 3 and 3.0 are the same constant
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    return [_canonical(item) for item in value]


def _constants(config: Any, prefix: str = "") -> dict[str, Any]:
    """Hashed form of a configuration: see :func:`protocol_hash`."""
    result: dict[str, Any] = {}
    for key in fields(config):
        name, value = prefix + key.name, getattr(config, key.name)
        added = bool(key.metadata.get("added"))
        if is_dataclass(value):
            inner = _constants(value, f"{name}.")
            if inner or not added:
                result[key.name] = inner
        elif name not in _PROSE and not (added and value in (key.default, {})):
            result[key.name] = _canonical(value)
    return result


def protocol_hash(protocol: ProtocolConfig) -> str:
    """Hash of every constant of a protocol, stored with results and compared before results are.

    The first 16 hexadecimal digits of the SHA-256 of the resolved configuration as JSON with sorted keys and numbers as
    floats, without the prose (name, title, source, unstated). `version` is part of it: it is raised when the meaning of
    a constant changes in the code while its value stays.

    The set of keys may grow and shrink without changing the hash of a protocol that they do not concern: a key marked
    :data:`bench.schema.protocol.ADDED` is left out at its default, and a key that was removed stays with the value that
    its absence means.

    Parameters
    ----------
    protocol : ProtocolConfig
        Resolved: no interpolations.

    Returns
    -------
    str
        Two protocols have the same hash exactly if all their constants are equal, whatever they are called.
    """
    constants = _constants(protocol)
    for group, values in _retired(protocol).items():
        constants[group] |= values
    text = json.dumps(constants, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def protocol_from(values: Mapping[str, Any]) -> ProtocolConfig:
    """Build a protocol from the nested mapping a manifest holds; values are validated as in a configuration.

    Keys that the schema has lost are skipped, and keys it has gained since take their defaults.

    Raises
    ------
    ConfigError
        If a value is impossible.
    omegaconf.errors.ConfigKeyError
        If a key is unknown: the manifest was written by another version.
    """
    known = OmegaConf.create(dict(values))
    for name in _RETIRED:
        group, _, key = name.rpartition(".")
        if OmegaConf.select(known, name) is not None:
            OmegaConf.select(known, group).pop(key)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(ProtocolConfig), known)
    except ValidationError as error:
        key = f"protocol.{error.full_key}"
        raise ConfigError(wrong_word(key, error) or f"{key}: {str(error).splitlines()[0]}") from error
    protocol = OmegaConf.to_object(merged)
    assert isinstance(protocol, ProtocolConfig)
    with unchecked():
        check(protocol, "protocol")
    return protocol
