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


LINES, PARAMETERS, FILE_LINES = 60, 8, 400
WIDE = {
    "attribution/scoring.py:score",
    "attribution/exact.py:oracle",
    "models/loading.py:load_model",
    "selection/general.py:select_general",
    "studies/fidelity/measure.py:measure_fidelity",
}
"""Public functions whose options are keywords of one call, each documented; a verb of the command line is another."""


def _functions():
    """Every function: its name with its file, whether it is a verb, its lines without docstring, its parameters."""
    package = ROOT / "src" / "culnig"
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = path.relative_to(package).as_posix()
                verb = name.startswith("cli/")  # typer makes the options of a verb from its parameters
                documented = ast.get_docstring(node) is not None and len(node.body) > 1
                start = node.body[1 if documented else 0].lineno
                lines = node.end_lineno - start + 1 + (0 if verb else node.body[0].lineno - node.lineno)
                given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                yield f"{name}:{node.name}", verb, lines, sum(one.arg not in ("self", "cls") for one in given)


def test_functions_are_short_and_take_few_parameters():
    found = list(_functions())
    assert not [f"{name} has {lines} lines" for name, _, lines, _ in found if lines > LINES]
    wide = {name for name, verb, _, parameters in found if parameters > PARAMETERS and not verb}
    assert wide == WIDE


def test_files_are_short():
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in _sources()}
    assert not {path: length for path, length in lengths.items() if length > FILE_LINES}
