"""How a part comes in: by a built-in name, an entry point of an installed package, or an importable module.

A door knows the built-in parts as ``module:attribute`` and loads only the one asked for. Outside the package a part is
named by its entry point, by a module that has the door's attribute (``my_package.my_module``), or by
``my_package.my_module:attribute``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from bench.core.errors import ConfigError

_unchecked: ContextVar[bool] = ContextVar("unchecked", default=False)


@contextmanager
def unchecked() -> Iterator[None]:
    """Let :meth:`Door.check` pass every name: a record of a run may name parts that only the host of the run has."""
    token = _unchecked.set(True)
    try:
        yield
    finally:
        _unchecked.reset(token)


@dataclass(frozen=True, slots=True)
class Door:
    """One kind of part.

    Attributes
    ----------
    kind : str
        What it is called in messages.
    group : str
        Group of entry points.
    attribute : str
        What a module offers.
    builtin : mapping
        Name -> ``module:attribute``.
    """

    kind: str
    group: str
    attribute: str
    builtin: Mapping[str, str]

    def __iter__(self) -> Iterator[str]:
        return iter(self.builtin)

    def check(self, key: str, name: str) -> None:
        """Refuse a name that leads to no part; nothing of it is imported but the packages above a module.

        Parameters
        ----------
        key : str
            Configuration key that holds the name.
        name : str

        Raises
        ------
        ConfigError
            With what is allowed and the closest name.
        """
        if name.startswith("${") or _unchecked.get():
            return
        if name not in self.builtin and name not in self._installed() and not importable(name.partition(":")[0]):
            raise self._unknown(key, name)

    def load(self, key: str, name: str) -> Any:
        """Import a part.

        Parameters
        ----------
        key, name : str
            As for :meth:`check`.

        Returns
        -------
        The attribute the name leads to.

        Raises
        ------
        ConfigError
            If there is no such part, its module cannot be imported, or the module lacks the attribute.
        """
        target = self.builtin.get(name) or self._installed().get(name) or name
        module_name, _, attribute = target.partition(":")
        if not importable(module_name):
            raise self._unknown(key, name)
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise ConfigError(f"{key}={name!r} cannot be imported: {error}") from error
        attribute = attribute or self.attribute
        try:
            return getattr(module, attribute)
        except AttributeError:
            raise ConfigError(
                f"{key}={name!r}: module {module_name} has no {attribute!r}; a {self.kind} module offers "
                f"{self.attribute!r}, or name the attribute as {module_name}:ATTRIBUTE"
            ) from None

    def _installed(self) -> dict[str, str]:
        return {point.name: point.value for point in importlib.metadata.entry_points(group=self.group)}

    def _unknown(self, key: str, name: str) -> ConfigError:
        known = [*self.builtin, *self._installed()]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return ConfigError(
            f"{key}={name!r} is not possible; {hint}allowed: {', '.join(known)}, an entry point of group {self.group}, "
            f"or an importable module with {self.attribute!r}"
        )


def importable(module_name: str) -> bool:
    """Whether a module is installed; only the packages above it are imported."""
    try:
        return importlib.util.find_spec(module_name) is not None
    except (ImportError, ValueError):
        return False
