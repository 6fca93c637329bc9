"""The notebooks of examples/: they run from top to bottom, and what is committed of them is small and names no machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebooks need the extra `docs`")
EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
MOST = 128 * 1024
"""Bytes of a notebook with its outputs."""


def read(path):
    return nbformat.read(path, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_executed_and_small(path):
    notebook = read(path)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "say: python -m tools.notebooks"
    assert not [
        output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert path.stat().st_size < MOST
    assert any("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_name_no_machine(path):
    found = re.findall(
        r"(?:/(?:root|home|tmp|work|Users|private|var)/|[A-Z]:\\\\)[\w./-]*", path.read_text(encoding="utf-8")
    )
    assert not found


@pytest.mark.model
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, tmp_path, monkeypatch):
    from tools.notebooks import execute

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES.parent / "src"), os.environ.get("PYTHONPATH", "")]))
    done = execute(read(path), tmp_path)
    assert not [output for output in outputs(done) if output.output_type == "error"]
    text = "".join(str(output) for output in outputs(done))
    assert "vnd.plotly" in text and "points" in text
