"""One way to register things by name: benchmarks, model families, methods, studies.

A registry discovers its members lazily: first the modules of its own package, then the entry points of installed
packages.  Adding a member is adding one file with one decorator in it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from culnig.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names -> objects, filled by importing every module of `package` and every entry point of `group`."""

    def __init__(self, kind: str, package: str, group: str) -> None:
        self.kind = kind
        self._package = package
        self._group = group
        self._members: dict[str, T] = {}
        self._discovered = False

    def register(self, *names: str) -> Callable[[T], T]:
        """Decorator: `@BENCHMARKS.register("everyday")`.  A name that is taken is an error."""

        def add(member: T) -> T:
            for name in names:
                if name in self._members and self._members[name] is not member:
                    raise UsageError(f"{self.kind} '{name}' is registered twice; choose another name")
                self._members[name] = member
            return member

        return add

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self._package}.{module.name}")
        for point in entry_points(group=self._group):
            point.load()

    def names(self) -> list[str]:
        self._discover()
        return sorted(self._members)

    def items(self) -> Iterator[tuple[str, T]]:
        self._discover()
        return iter(sorted(self._members.items()))

    def find(self, name: str) -> T | None:
        """The member of that name, or None."""
        if name not in self._members:
            self._discover()
        return self._members.get(name)

    def get(self, name: str) -> T:
        """The member of that name.

        Raises:
            UsageError: there is none; the message lists the names that exist.
        """
        member = self.find(name)
        if member is None:
            raise UsageError(f"unknown {self.kind} '{name}'; there are: {', '.join(self.names())}")
        return member
