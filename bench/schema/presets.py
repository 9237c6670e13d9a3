"""Protocol presets read straight from their files, without Hydra: it works while Hydra runs a command, too."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from bench.core.errors import ConfigError
from bench.core.resources import resource
from bench.schema.protocol import ProtocolConfig

_SCHEMA = "schema"
_SELF = "_self_"


def preset_names() -> list[str]:
    """Names of the protocol presets that ship with the package, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def preset(name: str) -> ProtocolConfig:
    """Read a protocol preset that ships with the package.

    ``defaults`` are followed as Hydra follows them inside one config group: files are merged in the order of the list,
    the file itself where ``_self_`` stands (last if it is not named), ``schema`` is the structured config itself.

    Parameters
    ----------
    name : str
        A file of ``conf/protocol/``, without ``.yaml``.

    Raises
    ------
    ConfigError
        If there is no such preset, or it holds an impossible value.
    """
    if name not in preset_names():
        raise ConfigError(f"protocol={name!r} is no preset; allowed: {', '.join(preset_names())}")
    merged = OmegaConf.merge(OmegaConf.structured(ProtocolConfig), *_layers(name))
    protocol = OmegaConf.to_object(merged)
    assert isinstance(protocol, ProtocolConfig)
    return protocol


def _folder() -> Path:
    return resource("conf") / "protocol"


def _layers(name: str) -> list[DictConfig]:
    """Contents of a preset and of everything its ``defaults`` name, in the order of merging."""
    content = OmegaConf.load(_folder() / f"{name}.yaml")
    assert isinstance(content, DictConfig)
    defaults = list(content.pop("defaults", []))
    if _SELF not in defaults:
        defaults.append(_SELF)
    layers: list[DictConfig] = []
    for entry in defaults:
        if entry == _SELF:
            layers.append(content)
        elif entry != _SCHEMA:
            layers += _layers(str(entry))
    return layers
