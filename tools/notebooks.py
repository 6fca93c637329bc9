"""Execute the notebooks of examples/ and write them back with their outputs: `python -m tools.notebooks [NAME ...]`.

Each runs in an empty folder, so that it depends on nothing but culnig and leaves nothing behind.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
TIMEOUT = 600
"""Seconds that a cell may take."""


def execute(notebook: nbformat.NotebookNode, folder: Path | str) -> nbformat.NotebookNode:
    """Run a notebook's cells in a folder, in a kernel of their own; return it with outputs and without timings.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised an error.
    """
    # The MIME bundle alone: plotly would put its whole library of JavaScript into the first figure's HTML.
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
    os.environ["PYTHONWARNINGS"] = (
        "ignore:IProgress"  # tqdm would print a path of this machine where there are no widgets
    )
    client = NotebookClient(
        notebook, timeout=TIMEOUT, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    done = client.execute()
    done.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return done


def main(names: list[str]) -> None:
    """Execute all notebooks, or those with these names, in place."""
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            done = execute(nbformat.read(path, as_version=4), folder)
        nbformat.write(done, path)
        print(f"{path.name}: {time.monotonic() - begun:.0f} s, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(sys.argv[1:])
