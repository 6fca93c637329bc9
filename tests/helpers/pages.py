"""Code blocks of README and docs: found, marked, and run page by page.

A comment on the line above a block marks it; neither GitHub nor the site shows it:

    <!-- not run: REASON -->   with one of `REASONS`
    <!-- fails -->             it ends with a one-line error, and the `text` block that follows is in what it prints

A block whose first line is `# name.ext`, or whose fence says `title="name.ext"`, is a file of that name.  All other blocks
of `sh` and `python` are run in order, in one empty folder a page, by `python -m tests.helpers.pages PAGE`.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REASONS = {"needs a GPU", "needs a hub", "takes long", "installs"}
SHELL, PYTHON = {"sh", "bash", "console", "shell"}, {"python", "py"}
SHOWN = {"text", "yaml", "toml", "csv", "json"}
"""Languages that are not run: output, and contents of files."""
BLOCK = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^ *```$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"<!-- (.*?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block: page, line, language, contents, its mark ("" if none) and its file name ("" if it is none)."""

    page: str
    line: int
    language: str
    body: str
    mark: str
    file: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in SHELL | PYTHON and not self.file and not self.mark.startswith("not run")


def pages() -> list[Path]:
    """README, CONTRIBUTING and every page of the docs."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(path: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    found = []
    for match in BLOCK.finditer(text):
        info, indent = match["info"].strip(), len(match["indent"])
        body = "\n".join(line[indent:] for line in match["body"].splitlines()) + "\n"
        above = text[: match.start()].rsplit("\n\n", 1)[-1]
        mark = MARK.search(above)
        title = re.search(r'title="([\w.-]+)"', info)
        first = re.match(r"# ([\w-]+\.\w+)\n", body)
        file = title[1] if title else first[1] if first else ""
        line = text[: match.start()].count("\n") + 1
        found.append(Block(name, line, info.split(" ")[0], body, mark[1] if mark else "", file))
    return found


def faults(block: Block) -> list[str]:
    """What is wrong with how a block is written or marked."""
    found = []
    if block.language not in SHELL | PYTHON | SHOWN:
        found.append(f"{block.where}: the language '{block.language}' is none of {sorted(SHELL | PYTHON | SHOWN)}")
    if block.mark.startswith("not run") and block.mark.removeprefix("not run: ") not in REASONS:
        found.append(f"{block.where}: '{block.mark}' gives none of the reasons {sorted(REASONS)}")
    commands = re.search(r"^(?:\$ )?(?:culnig|pip|make|torchrun) \w", block.body, flags=re.MULTILINE)
    if block.language == "text" and commands and not block.page.endswith("reference/cli.md"):
        found.append(f"{block.where}: commands in a block of text are not run; call it sh")
    return found


def run_page(path: Path) -> None:
    """Run a page's blocks in the current folder, in this process.

    Raises:
        AssertionError: a block fails, or one that is to fail does not; the message says where.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    blocks = blocks_of(path)
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.file:
            Path(block.file).write_text(block.body, encoding="utf-8")
        elif block.is_run and block.language in PYTHON:
            exec(compile(block.body, block.where, "exec"), names)
        elif block.is_run:
            _run_commands(block, after)


def _run_commands(block: Block, after: Block | None) -> None:
    lines = re.sub(r"\\\n\s*", " ", block.body).splitlines()
    for line in (re.sub(r"^\$ ", "", line) for line in lines):
        parts = shlex.split(line, comments=True)
        if not parts:
            continue
        code, printed = _culnig(parts[1:]) if parts[0] == "culnig" and ">" not in parts else _bash(line)
        if block.mark == "fails":
            assert code in (1, 2) and "Traceback" not in printed, f"{block.where}: exit code {code}\n{printed}"
            assert after is not None and after.language == "text", f"{block.where}: no text block says what is printed"
            assert _spaced(after.body) in _spaced(printed), f"{block.where}: {after.body}\nis not in\n{printed}"
        else:
            assert code == 0, f"{block.where}: {line}: exit code {code}\n{printed}"


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _culnig(arguments: list[str]) -> tuple[int, str]:
    """A command line in this process, which saves the time to import torch: its exit code, and what it printed."""
    from culnig.cli import main

    printed, code = io.StringIO(), 0
    sys.argv = ["culnig", *arguments]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return code, printed.getvalue()


def _bash(line: str) -> tuple[int, str]:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
