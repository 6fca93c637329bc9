"""The code on README and docs: every block runs, or is marked with the reason why not; references are up to date."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.helpers.pages import REASONS, ROOT, Block, blocks_of, faults, pages, run_page

PAGES = pages()
RUN = [page for page in PAGES if any(block.is_run for block in blocks_of(page))]


def name(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_name_their_language_and_their_reason(page):
    assert not [fault for block in blocks_of(page) for fault in faults(block)]


def test_blocks_are_found_with_their_marks(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.helpers.pages.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# T\n```sh\nculnig run\n```\n\n<!-- not run: takes long -->\n```sh\nculnig run\n```\n\nText.\n"
        '```yaml\n# a.yaml\nx: 1\n```\n```csv title="b.csv"\n1\n```\n1. One\n    ```python\n    x = 1\n    ```\n```\nculnig run\n```\n'
    )
    found = blocks_of(page)
    assert [block.is_run for block in found] == [True, False, False, False, True, False]
    assert [block.file for block in found] == ["", "", "a.yaml", "b.csv", "", ""] and found[4].body == "x = 1\n"
    assert [len(faults(block)) for block in found] == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(("mark", "body"), [("not run: no time", "x"), ("", "culnig run")])
def test_a_reason_that_is_none_and_hidden_commands_are_faults(mark, body):
    assert faults(Block("p.md", 1, "text" if not mark else "sh", body, mark, "")) and "no time" not in REASONS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```sh\nculnig data list nothing\n```\n", "page.md:1: culnig data list nothing: exit code 2"),
        ("```sh\nls nothing\n```\n", "page.md:1: ls nothing: exit code 2"),
        ("<!-- fails -->\n```sh\nculnig --version\n```\n\n```text\nculnig\n```\n", "page.md:2: exit code 0"),
        ("<!-- fails -->\n```sh\nculnig report x\n```\n\n```text\nno y\n```\n", "no y\n\nis not in"),
        ("<!-- fails -->\n```sh\nculnig report x\n```\n", "no text block"),
    ],
)
def test_a_block_that_does_not_do_as_it_says_is_noticed(text, says, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.helpers.pages.ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [])
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(AssertionError, match=re.escape(says)):
        run_page(tmp_path / "page.md")


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=name)
def test_the_blocks_of_a_page_run(page, tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "400", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tests.helpers.pages", str(page)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_the_command_line_reference_is_up_to_date():
    from tools.cli_reference import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page(), "say: python -m tools.cli_reference"


def test_the_python_reference_has_every_public_name():
    import culnig

    text = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    shown = {line.rsplit(".", 1)[-1] for line in re.findall(r"^::: (culnig[\w.]+)$", text, flags=re.MULTILINE)}
    assert not set(culnig.__all__) - shown - {"__version__"}


def test_every_page_of_the_docs_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    in_navigation = set(re.findall(r"[\w/-]+\.md", text.partition("\nnav:")[2]))
    assert in_navigation == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "says"), [("[x](nowhere.md)", "nowhere.md"), ("[y](method.md#nope)", "an anchor '#nope'")]
)
def test_a_broken_link_ends_the_build_of_the_site(line, says, tmp_path):
    pytest.importorskip("mkdocs", reason="the site needs the extra `docs`")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").replace("paths: [src]", f"paths: [{ROOT / 'src'}]")
    (tmp_path / "mkdocs.yml").write_text(settings, encoding="utf-8")
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{line}\n")
    recipe = re.search(
        r"^docs:.*\n\t.*\$\(BIN\)/(mkdocs build[^#\n]*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE
    )
    command = [sys.executable, "-m", *recipe[1].split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and says in done.stderr, done.stderr
