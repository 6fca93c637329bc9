"""Import contracts of culnig that import-linter lacks; `lint-imports` reads them from pyproject.toml."""

from __future__ import annotations

import networkx as nx
from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output


def edges(graph: ImportGraph) -> list[tuple[str, str]]:
    """Return every (importer, imported) pair of modules, sorted."""
    return sorted((by, of) for by in graph.modules for of in graph.find_modules_directly_imported_by(by))


def private_imports(graph: ImportGraph) -> list[tuple[str, str]]:
    """Return the imports of a module `_x`, or of one below it, from outside the folder that holds `_x`."""

    def private(by: str, of: str) -> bool:
        parts = of.split(".")
        folders = (".".join(parts[:i]) for i, name in enumerate(parts) if name.startswith("_") and name != "__main__")
        return any(by != folder and not by.startswith(f"{folder}.") for folder in folders)

    return [edge for edge in edges(graph) if private(*edge)]


def circles(graph: ImportGraph) -> list[list[str]]:
    """Return the groups of modules that import one another, directly or through others."""
    groups = nx.strongly_connected_components(nx.DiGraph(edges(graph)))
    return sorted(sorted(group) for group in groups if len(group) > 1)


class PrivateModules(Contract):
    """A module `_x.py` is imported only inside its own folder."""

    type_name = "private_modules"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        found = private_imports(graph)
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for by, of in check.metadata["found"]:
            output.print_error(f"{by} imports {of}; give it a public name or move what is needed")


class NoCircles(Contract):
    """No group of modules imports one another; an import for types alone counts as well."""

    type_name = "no_circles"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        found = circles(graph)
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for group in check.metadata["found"]:
            output.print_error(f"these import one another: {', '.join(group)}")
