"""Compose, validate and explain configurations."""

from __future__ import annotations

import dataclasses
import difflib
import glob
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from bench import schema
from bench.commands import schema_of
from bench.core import presets
from bench.core.doors import importable
from bench.core.errors import BenchError, ConfigError
from bench.core.names import folders_matching
from bench.core.resources import cache_folder, resource
from bench.schema import DatasetConfig, MethodConfig, check, inputs
from bench.schema.checks import Text, fields_of, has_controls, wrong_word

_METHOD_OVERRIDE = re.compile(r"\+{0,2}(?:method@)?methods\.([^.=]+)")
"""An override that adds a method, chooses it or sets one of its keys."""


def register(config_name: str) -> None:
    """Put the schemas a primary config needs into Hydra's ConfigStore, and our resolvers into OmegaConf."""
    from hydra.core.config_store import ConfigStore

    schema.register()
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema_of(config_name))
    OmegaConf.register_new_resolver("bench.cache", _cache, replace=True)


def _cache() -> str:
    return str(cache_folder())


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

    if isinstance(overrides, str):
        raise ConfigError(f"overrides={overrides!r} is not possible; allowed: a list such as ['dataset=photos_small']")
    register(config_name)
    overrides = rewritten(overrides)
    check_overrides(overrides, config_name)
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


_REMOVABLE = re.compile(r"(methods|metrics|compare)\.[^.]+|.*\.params\..+|hydra\..*")


def check_overrides(overrides: Sequence[str], config_name: str) -> None:
    """Refuse what Hydra would take silently or answer with a traceback.

    Raises
    ------
    ConfigError
        If an override is no ``key=value``, gives a group of presets something else than a name, or names a folder of
        presets that does not exist.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    conf = resource("conf")
    primary = (conf / f"{config_name}.yaml").read_text()
    folders = {path.name for path in conf.iterdir() if path.is_dir()}
    groups = {name for name in folders if f"{name}: " in primary}
    parser = OverridesParser.create()
    _refuse_misspelt_rows(overrides)
    for text in overrides:
        if has_controls(text):
            raise ConfigError(f"{text!r} holds bytes that are no UTF-8 text, or control characters; allowed: key=value")
        try:
            override = parser.parse_override(text)
        except (HydraException, ValueError) as error:
            raise ConfigError(_not_an_override(text)) from error
        key = override.key_or_group
        value = override.value()
        if not key:
            raise ConfigError(f"{text!r} has no key; allowed: key=value")
        removable = override.package is not None or _REMOVABLE.fullmatch(key)
        if override.is_delete() and not removable:
            raise ConfigError(f"{text} is not possible; only entries of mappings can be removed: ~methods.NAME")
        if key in folders - groups and override.package is None and not isinstance(value, str):
            # Hydra takes the key for a group of presets, though this command has none of them.
            raise ConfigError(f"{text} is not possible; allowed: {key}.KEY=VALUE")
        adds = override.is_add() or override.is_force_add()
        if key in groups and adds and override.package is None and key != "experiment":
            raise ConfigError(f"{text}: {key} is chosen already; set it without +, as {key}=NAME")
        if key == "method" and override.package is not None and not override.is_delete() and not isinstance(value, str):
            raise ConfigError(f"{text}: a method takes the name of a preset; {_presets(key)}")
        if override.package is None and key in groups and not override.is_delete() and not override.is_sweep_override():
            if isinstance(value, list) and key != "methods":
                raise ConfigError(f"{text}: {key} takes one preset; `bench -m {key}=A,B` runs one after the other")
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{text}: {key} takes the name of a preset; {_presets(key)}")
            if key == "experiment" and not _own_presets(overrides) and not (conf / key / f"{value}.yaml").is_file():
                # Hydra passes over an optional preset that is not there.
                raise ConfigError(f"unknown preset {key}={value}{_close(value, presets.names(key), f'{key}=')}")
        if key == "hydra.searchpath":
            for folder in value if isinstance(value, list) else [value]:
                path = Path(str(folder).removeprefix("file://"))
                if not str(folder).startswith("pkg://") and not path.is_dir():
                    raise ConfigError(f"hydra.searchpath: no folder {path}; give an existing one with presets in it")


def _not_an_override(text: str) -> str:
    if "=" not in text and not text.startswith("~"):
        if text.isidentifier() and (resource("conf") / f"{text}.yaml").is_file():
            return f"{text}: the command comes first: bench {text} [overrides]"
        return f"{text!r} is no override; allowed: key=value, +method@methods.NAME=PRESET, ~methods.NAME"
    hint = "quote a value with blanks or special characters twice: 'title=\"a, b\"'"
    return f"{text!r} cannot be read; allowed: key=value; {hint}"


def _presets(group: str) -> str:
    return f"allowed: {', '.join(presets.names(group))}"


_ONE_OF_RUNS = re.compile(r"runs=(?!\[|null$)(.+)", re.DOTALL)
"""``runs=results/*``: a list is meant."""
_LISTED = re.compile(r"methods\.(add|drop)=(.*)", re.DOTALL)
_OBJECTIVE = re.compile(r"objective=(-?\w[\w,-]*)")
_ADDED = re.compile(r"\+{0,2}method@methods\.([^.=]+)=(.+)")


def rewritten(overrides: Sequence[str]) -> list[str]:
    """Turn ``methods.add=[akaze,kaze]`` and ``methods.drop=[orb]`` into Hydra's own words, ``objective=NAME`` into a
    list; leave the others.

    Each name added is a row of the preset of that name: ``+method@methods.akaze=akaze``. Under ``-m`` both hold for
    every run.

    Raises
    ------
    ConfigError
        If the list cannot be read, or a preset is not known.
    """
    found: list[str] = []
    elsewhere = _own_presets(overrides)
    for text in overrides:
        if one := _ONE_OF_RUNS.fullmatch(text):
            found.append(f"runs=[{one[1]}]")
            continue
        if single := _OBJECTIVE.fullmatch(text):
            if "," in single[1]:
                raise ConfigError(f"{text} is not possible; allowed: objective=[{single[1]}] for several at once")
            text = f"objective=[{single[1]}]"
        listed = _LISTED.fullmatch(text)
        if listed is None:
            found.append(text)
            continue
        word, value = listed.groups()
        names = re.split(r"\s*,\s*", re.sub(r"^\[\s*|\s*\]$", "", value.strip()))
        if not all(re.fullmatch(r"\w[\w-]*", name) for name in names):
            raise ConfigError(
                f"{text} is not possible; allowed: methods.{word}=[NAME,NAME]. `bench -m methods=A,B` runs sets of "
                "methods one after the other"
            )
        if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
            raise ConfigError(f"{text}: {twice} stands twice")
        for name in names:
            if word == "add" and not elsewhere and name not in presets.names("method"):
                raise ConfigError(f"{text}: unknown method {name}{_close(name, presets.names('method'))}")
            found.append(f"+method@methods.{name}={name}" if word == "add" else f"~methods.{name}")
    return found


def _own_presets(overrides: Sequence[str]) -> bool:
    """Whether presets may come from a folder of the user."""
    return any(word.startswith("hydra.searchpath") for word in overrides) or bool(
        {"--config-dir", "-cd"} & {word.partition("=")[0] for word in sys.argv}
    )


def _close(name: str, names: Iterable[str], before: str = "") -> str:
    """End of a sentence about an unknown name: the nearest there is, and all of them."""
    every = list(names)
    close = difflib.get_close_matches(name, every, n=1)
    hint = f"; did you mean {before}{close[0]}?" if close else "."
    return f"{hint} Allowed: {', '.join(every)}"


def _refuse_misspelt_rows(overrides: Sequence[str]) -> None:
    """A row may have any name; one that is almost a preset's is refused unless it has a label.

    A name that goes on where the preset's ends (``sift_fine``), or differs in digits only, is one of its own.
    """
    names = presets.names("method")
    for row, preset in (found.groups() for found in map(_ADDED.fullmatch, overrides) if found):
        close = difflib.get_close_matches(row, [preset, *names], n=1, cutoff=0.8)
        if row in names or not close or any(word.startswith(f"methods.{row}.label=") for word in overrides):
            continue
        if close[0] in row or re.sub(r"\d", "", close[0]) == re.sub(r"\d", "", row):
            continue
        raise ConfigError(
            f"methods.{row} is almost the preset {close[0]}; did you mean methods.add=[{close[0]}]? If the row is to "
            f"have this name, say so with a label: methods.{row}.label={row}"
        )


def validated(config: DictConfig, overrides: Sequence[str] = ()) -> Any:
    """Turn a composed config into its dataclass; every ``__post_init__`` runs and every range is checked.

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
        _refuse_unknown(config, "")
        OmegaConf.resolve(config)
        named = {found[1] for found in map(_METHOD_OVERRIDE.match, overrides) if found}
        absent = []
        for name, method in (config.get("methods") or {}).items():
            Text(200, False, "a method's name").check("methods", name)
            if name in ("add", "drop"):
                raise ConfigError(f"methods.{name} is no row: methods.{name}=[NAME,NAME] changes the set of methods")
            if method is None:
                raise ConfigError(f"methods.{name}=null is not possible; remove a method with ~methods.{name}")
            if not isinstance(method, DictConfig) or not issubclass(OmegaConf.get_type(method) or dict, MethodConfig):
                raise ConfigError(
                    f"methods.{name} has no schema; add a method with +method@methods.{name}=PRESET, and give your own "
                    "preset `defaults: [schema_custom, _self_]` or another schema of conf/method"
                )
            if isinstance(method, DictConfig) and "optional" in method and method.optional is None:
                method.optional = name not in named
            try:
                OmegaConf.to_object(method)
            except ConfigError as error:
                raise ConfigError(f"methods.{name}: {error}") from None
            if method.get("only_with") is not None and name not in named and not importable(method.only_with):
                absent.append(name)
        made: Any = OmegaConf.to_object(config)
        for name in absent:
            del made.methods[name]
        if hasattr(made, "methods") and not made.methods:
            raise ConfigError(
                "methods is empty; choose a preset such as methods=default, or add one with +method@methods.X=X"
            )
    except MissingMandatoryValue as error:
        raise ConfigError(_missing(str(error.full_key or error.key), error)) from error
    except OmegaConfBaseException as error:
        key = error.full_key or "?"
        raise ConfigError(wrong_word(key, error) or f"{key}: {_filled(error)}") from error
    if hasattr(made, "dataset") and not isinstance(made.dataset, DatasetConfig):
        raise ConfigError("dataset has no schema; its YAML needs `defaults: [schema_folder, _self_]` or another schema")
    check(made)
    return made


def check_inputs(config: Any) -> None:
    """Refuse a configuration whose files and folders are not there, before any work.

    Raises
    ------
    ConfigError
        With the key and the path.
    """
    for key, value, wanted in inputs(config):
        path = Path(value)
        if wanted.kind == "new":
            nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
            if not nearest.is_dir():
                raise ConfigError(f"{key}: {nearest} is no folder; give a folder, or one that can be made")
            continue
        if wanted.kind == "folders" and not path.exists() and glob.has_magic(value):
            if next(folders_matching(value), None) is None:
                raise ConfigError(f"{key}: no folder fits {value!r}; give {wanted.what}")
            continue
        try:
            folder, file = path.is_dir(), path.is_file()
            there = {"folder": folder, "folders": folder, "file": file, "any": folder or file}[wanted.kind]
            if there:
                next(path.iterdir(), None) if path.is_dir() else path.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{key}: {path} cannot be read ({error.strerror})") from error
        if not there:
            kind = {"any": "file or folder", "folders": "folder"}.get(wanted.kind, wanted.kind)
            other = " (it is something else)" if path.exists() else ""
            raise ConfigError(f"{key}: no {kind} {path}{other}; give {wanted.what}")


def _refuse_unknown(config: DictConfig, key: str) -> None:
    """A key that was added with + and is in no schema would do nothing."""
    kind = OmegaConf.get_type(config)
    typed = isinstance(kind, type) and dataclasses.is_dataclass(kind)
    known = fields_of(kind) if isinstance(kind, type) and typed else {}
    for name in map(str, config):
        where = f"{key}.{name}" if key else name
        if typed and name not in known:
            raise ConfigError(unknown_key(where, key, known))
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            _refuse_unknown(node, where)


def unknown_key(key: str, parent: str, allowed: Iterable[Any]) -> str:
    """A sentence that names the key, the nearest one there is, and all of them."""
    names = sorted(map(str, allowed))
    wrong = key.removeprefix(f"{parent}.") if parent else key
    close = difflib.get_close_matches(wrong.split(".")[0], names, n=1)
    hint = f"; did you mean {parent + '.' if parent else ''}{close[0]}?" if close else "."
    if parent == "methods":
        known = presets.names("method")
        one = wrong if wrong in known else "NAME"
        hint += f" A method is added with methods.add=[{one}], or under another name with +method@{key}=PRESET."
    where = f" under {parent}" if parent else ""
    return f"unknown key {key}{hint} Allowed{where}: {', '.join(names) or 'nothing'}"


def _missing(key: str, error: OmegaConfBaseException) -> str:
    kind: Any = error.object_type
    hint = fields_of(kind).get(key.rpartition(".")[2]) if dataclasses.is_dataclass(kind) else None
    what = next((extra.what for extra in getattr(hint, "__metadata__", ()) if hasattr(extra, "what")), "a value")
    return f"{key} is missing; give {key}=..., {what}"


_TYPES = {
    "could not be converted to Integer": "a whole number",
    "could not be converted to Float": "a number",
    "is not a valid bool": "true or false",
    "to string": "text",
    "is not Optional": "a value, not null",
    "Incompatible value 'None'": "a value, not null",
    "is not a valid input for <enum": "a word",
    "is not a ListConfig": "a list",
    "not a dict": "a mapping {key: value}",
}


def _filled(error: BaseException) -> str:
    """First line of a message of OmegaConf with the value it leaves out."""
    text = str(error).splitlines()[0]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    value = trace.tb_frame.f_locals.get("value") if trace is not None else None
    text = text.replace("$VALUE_TYPE", type(value).__name__)
    return text.replace("$VALUE", str(value)[:100])


def _wanted(error: BaseException) -> str | None:
    return next((words for part, words in _TYPES.items() if part in str(error)), None)


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
        if type(item).__module__.startswith("yaml."):
            return f"a preset is no YAML: {' '.join(str(item).split())}"
    if not any(isinstance(item, HydraException | OmegaConfBaseException) for item in chain):
        return None
    first = next(item for item in chain if isinstance(item, HydraException | OmegaConfBaseException))
    text = " ".join(str(first).split())
    if isinstance(first, MissingConfigException):
        return _unknown_preset(text)
    reasons = [item for item in chain if isinstance(item, OmegaConfBaseException) and str(item)]
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(unknown[1], config_name, [_filled(item) for item in reasons])
    if merged := re.search(r"Error merging override (.+)", str(first)):
        override = merged[1].lstrip("+")
        key = override.partition("=")[0]
        for item in reasons:
            if said := wrong_word(max(key, item.full_key or "", key=len), item):
                return said
        inner = next((words for item in reasons if (words := _wanted(item))), None)
        if inner is not None:
            return f"{override} is not possible; allowed: {inner}"
        return f"{override}: {_filled(reasons[-1])}" if reasons else override
    if gone := re.search(r"Could not delete from config. '([^']+)' does not exist", text):
        close = difflib.get_close_matches(gone[1].removeprefix("methods."), presets.names("method"), n=1)
        hint = f"; did you mean methods.drop=[{close[0]}]?" if close and close[0] not in gone[1] else ""
        return f"~{gone[1]}: there is no {gone[1]} to remove{hint}"
    if taken := re.search(r"An item is already at '([^']+)'", text):
        return f"+{taken[1]}: this key exists; set it without +, as {taken[1]}=..."
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        key, _, value = ambiguous[1].partition("=")
        return f"{ambiguous[1]}: write {key}=[{value}] for a list, or `bench -m {ambiguous[1]}` for a run of each"
    if (key := re.search(r"full_key: (\S+)", text)) and (said := wrong_word(key[1], first)):
        return said
    return ": ".join(dict.fromkeys([text.rstrip(":"), *(_filled(item) for item in reasons[-1:])]))


def _unknown_preset(text: str) -> str:
    """A sentence for Hydra's "Could not find 'dataset/hpatch'"."""
    found = re.search(r"Could not find '([^']+)'", text)
    if found is None or "/" not in found[1]:
        return text.partition(" Config search path")[0]
    group, _, name = found[1].rpartition("/")
    listed = re.search(r"Available options in '[^']*':\s*(.*?)\s*(?:Config search path|$)", text)
    names = [option for option in (listed[1].split() if listed else []) if not option.startswith("schema")]
    return f"unknown preset {group}={name}{_close(name, names, f'{group}=')}"


def _unknown_key(key: str, config_name: str, reasons: Sequence[str]) -> str:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(resource("conf")), version_base="1.3"):
        node: Any = hydra_compose(config_name)
    parents: list[str] = []
    for part in key.partition("@")[0].split("."):
        if not isinstance(node, DictConfig) or part not in node:
            break
        parents.append(part)
        node = node[part]
    if isinstance(node, ListConfig):
        return f"{key}: a list is set as a whole, as {'.'.join(parents)}=[...]"
    if not isinstance(node, DictConfig) or len(parents) == len(key.split(".")):
        return f"{key}: {reasons[-1] if reasons else 'cannot be set'}"
    if key in ("method", "methods") or key.startswith("method@"):
        return f"{key}: a method is added with +method@methods.NAME=PRESET; {_presets('method')}"
    return unknown_key(key, ".".join(parents), node)
