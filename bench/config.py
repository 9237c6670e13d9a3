"""Compose, validate and explain configurations."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.core.errors import BenchError, ConfigError
from bench.core.resources import resource

_METHOD_OVERRIDE = re.compile(r"\+{0,2}(?:method@)?methods\.([^.=]+)")
"""An override that adds a method, chooses it or sets one of its keys."""


def register(config_name: str) -> None:
    """Put the schemas a primary config needs into Hydra's ConfigStore, and our resolvers into OmegaConf."""
    from hydra.core.config_store import ConfigStore

    from bench import schema

    schema.register()
    command = importlib.import_module(f"bench.commands.{config_name}")
    if hasattr(command, "register"):
        command.register(ConfigStore.instance())
    OmegaConf.register_new_resolver("bench.cache", _cache, replace=True)


def _cache() -> str:
    import pooch

    return str(pooch.os_cache("superpoint-bench"))


def compose(overrides: Sequence[str] = (), config_name: str = "run") -> Any:
    """Compose a configuration as the command line does.

    Parameters
    ----------
    overrides : sequence of str
        As typed after ``bench``.
    config_name : str
        Primary config in ``conf/``.

    Returns
    -------
    The validated dataclass, such as RunConfig.

    Raises
    ------
    ConfigError
        With the key, the value and what is allowed.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register(config_name)
    try:
        with initialize_config_dir(str(resource("conf")), version_base="1.3"):
            return validated(hydra_compose(config_name, overrides=list(overrides)), overrides)
    except BenchError:
        raise
    except Exception as error:
        text = explain(error, config_name)
        if text is None:
            raise
        raise ConfigError(text) from error


def validated(config: DictConfig, overrides: Sequence[str] = ()) -> Any:
    """Turn a composed config into its dataclass; every ``__post_init__`` runs.

    Parameters
    ----------
    config : DictConfig
    overrides : sequence of str
        What the user typed; the methods it names are not optional.

    Raises
    ------
    ConfigError
        With the key, the value and what is allowed.
    """
    try:
        OmegaConf.resolve(config)
        named = {found[1] for found in map(_METHOD_OVERRIDE.match, overrides) if found}
        for name, method in (config.get("methods") or {}).items():
            if isinstance(method, DictConfig) and "optional" in method and method.optional is None:
                method.optional = name not in named
            try:
                OmegaConf.to_object(method)
            except ConfigError as error:
                raise ConfigError(f"methods.{name}: {error}") from None
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        key = error.full_key or "?"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error


def explain(error: BaseException, config_name: str) -> str | None:
    """One clear message for an error of Hydra or OmegaConf; None if it is neither."""
    from hydra.errors import HydraException, MissingConfigException

    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    for item in chain:
        if isinstance(item, BenchError):
            return str(item)
    if not any(isinstance(item, HydraException | OmegaConfBaseException) for item in chain):
        return None
    first = next(item for item in chain if isinstance(item, HydraException | OmegaConfBaseException))
    if isinstance(first, MissingConfigException):
        return str(first).replace("\n", " ").replace("\t", " ").strip()
    unknown = re.search(r"Could not override '([^']+)'", str(first))
    reasons = [str(item).splitlines()[0] for item in chain if isinstance(item, OmegaConfBaseException) and str(item)]
    if unknown:
        return _unknown_key(unknown[1], config_name, reasons)
    text = str(first).splitlines()[0]
    return ": ".join(dict.fromkeys([text, *reasons[-1:]]))


def _unknown_key(key: str, config_name: str, reasons: Sequence[str]) -> str:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(resource("conf")), version_base="1.3"):
        node: Any = hydra_compose(config_name)
    parents: list[str] = []
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node:
            break
        parents.append(part)
        node = node[part]
    if not isinstance(node, DictConfig):
        return f"{key}: {reasons[-1] if reasons else 'cannot be set'}"
    allowed = sorted(map(str, node))
    wrong = key.split(".")[len(parents)] if len(parents) < len(key.split(".")) else key
    close = difflib.get_close_matches(wrong, allowed, n=1)
    hint = f"; did you mean {'.'.join([*parents, close[0]])}?" if close else ""
    where = f" under {'.'.join(parents)}" if parents else ""
    return f"unknown key {key}{hint} Allowed{where}: {', '.join(allowed)}"
