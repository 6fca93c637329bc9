"""Run the command line inside the tests' process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from typer.testing import CliRunner

from culnig.cli import main
from culnig.cli._app import app


def invoke(*args):
    """Run the command line in this process; an exception that it does not handle is raised here."""
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def use(capsys, monkeypatch, *args) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["culnig", *map(str, args)])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def jsonl(path: Path, *rows) -> Path:
    """Write rows as JSON Lines; strings are written unchanged."""
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    )
    return path
