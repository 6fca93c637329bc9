"""The house: which module may import which, and which names stay inside their file."""

from __future__ import annotations

import ast
from pathlib import Path

import grimp
import pytest

from tests.helpers.contracts import circles, private_imports

ROOT = Path(__file__).parents[1]
HOUSE = {
    "house": "",
    "house.low": "from house.low import _hidden",
    "house.low._hidden": "",
    "house.low.deep": "",
    "house.low.deep.own": "from house.low import _hidden",
    "house.low.used": "",
    "house.high": "",
    "house.high.good": "from house.low import used",
}


@pytest.fixture
def graph_of(tmp_path, monkeypatch):
    """Make the import graph of a small package: module -> source."""

    def build(modules):
        for name, source in modules.items():
            path = tmp_path.joinpath(*name.split("."))
            is_package = any(other.startswith(f"{name}.") for other in modules)
            path = path / "__init__.py" if is_package else path.with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return grimp.build_graph("house", cache_dir=None)

    return build


def test_a_good_house_passes(graph_of):
    graph = graph_of(HOUSE)
    assert private_imports(graph) == [] and circles(graph) == []


@pytest.mark.parametrize("line", ["from house.low import _hidden", "from house.low._hidden import x"])
def test_a_private_module_is_seen_from_another_folder(graph_of, line):
    graph = graph_of(HOUSE | {"house.high.bad": f"def late():\n    {line}\n"})
    assert private_imports(graph) == [("house.high.bad", "house.low._hidden")]


def test_a_circle_is_seen_even_for_types(graph_of):
    for_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.high import good\n"
    assert circles(graph_of(HOUSE | {"house.low.used": for_types})) == [["house.high.good", "house.low.used"]]


def _sources():
    folders = (ROOT / name for name in ("src", "bench", "examples"))
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def test_private_names_stay_in_their_file():
    """A file imports no `_name` of another file; only modules of its own folder may begin with an underscore."""
    found = []
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            folder = ROOT.joinpath("src", *(node.module or "").split("."))
            for alias in node.names:
                is_module = (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir()
                if alias.name.startswith("_") and not alias.name.startswith("__") and not is_module:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {alias.name} of {node.module}")
    assert not found
