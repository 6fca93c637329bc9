"""Register objects by name: benchmarks, model families, methods, studies.

A registry finds its members when it is first asked: first the modules of its own package, then the entry points of
installed packages.  To add a member, add one file with one decorator in it.

A plugin is loaded completely or not at all: if its entry point fails, all its registrations are removed from every
registry.  One warning names the plugin, and so does the error for a name that is then missing.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from culnig.errors import UsageError

T = TypeVar("T")
_REGISTRIES: list[Registry[Any]] = []
"""All registries; a plugin that fails may have registered in several of them."""


class Registry(Generic[T]):
    """Names -> objects; the modules of `package` and the entry points of `group` register them."""

    def __init__(self, kind: str, package: str, group: str) -> None:
        self.kind = kind
        self._package = package
        self._group = group
        self._members: dict[str, T] = {}
        self._discovered = False
        self._plugins: dict[str, str] = {}  # name -> the plugin that registered it
        self._failures: dict[str, str] = {}  # plugin -> why it was left out
        _REGISTRIES.append(self)

    def register(self, *names: str) -> Callable[[T], T]:
        """Return a decorator, as in `@BENCHMARKS.register("everyday")`; a name that is taken is an error."""

        def add(member: T) -> T:
            for name in names:
                if self._members.get(name, member) is not member:
                    first = f", first by {self._plugins[name]}" if name in self._plugins else ""
                    raise UsageError(f"{self.kind} '{name}' is registered twice{first}; choose another name")
            self._members |= dict.fromkeys(names, member)
            return member

        return add

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True  # a module may ask for other members while it is imported
        try:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{self._package}.{module.name}")
            for point in entry_points(group=self._group):
                self._load(point)
        except BaseException:
            self._discovered = False  # the next request tries again, instead of finding a partly filled registry
            raise

    def _load(self, point: EntryPoint) -> None:
        """Load a plugin; if it fails, warn once and record the reason."""
        plugin = f"{point.dist.name if point.dist else point.value} (entry point {point.name} = {point.value})"
        try:
            with _all_or_nothing(plugin):
                point.load()
        except Exception as error:  # a plugin can raise any exception
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if plugin not in self._failures:
                logging.getLogger("culnig").warning("culnig: the plugin %s fails and was left out: %s", plugin, reason)
            self._failures[plugin] = reason

    def names(self) -> list[str]:
        self._discover()
        return sorted(self._members)

    def items(self) -> Iterator[tuple[str, T]]:
        self._discover()
        return iter(sorted(self._members.items()))

    def find(self, name: str) -> T | None:
        """Return the member of that name, or None."""
        if name not in self._members:
            self._discover()
        return self._members.get(name)

    def get(self, name: str) -> T:
        """Return the member of that name.

        Raises:
            UsageError: there is no such member; the message lists the names that exist and the plugins that failed.
        """
        member = self.find(name)
        if member is None:
            raise UsageError(f"unknown {self.kind} '{name}'; there are: {', '.join(self.names())}{self.left_out()}")
        return member

    def left_out(self) -> str:
        """Return the plugins that failed, as an addition to a message about a missing name; "" if none did."""
        self._discover()
        return "".join(f"; the plugin {name} was left out: {why}" for name, why in self._failures.items())


@contextmanager
def _all_or_nothing(plugin: str) -> Iterator[None]:
    """Record what the body registers, in any registry, as the plugin's; undo the registrations if the body fails."""
    before = [(registry, dict(registry._members)) for registry in _REGISTRIES]
    try:
        yield
    except BaseException:
        for registry, members in before:
            registry._members = members
        raise
    for registry, members in before:
        registry._plugins |= dict.fromkeys(registry._members.keys() - members.keys(), plugin)


def announced(package: str, group: str) -> list[str]:
    """Return the names that a package's files and installed packages announce, without importing them; for `--help`.

    By convention, a member is registered under the name of its file or of its entry point.

    Args:
        package: a package of culnig ("culnig.studies").
        group: its group of entry points.
    """
    folder = Path(__file__).parent.joinpath(*package.split(".")[1:])
    files = [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")]
    return sorted({*files, *(point.name for point in entry_points(group=group))})
