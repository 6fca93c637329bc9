"""The words that a user reads: README and docs are short, plain, and true of the code."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LONGEST_SENTENCE = 25
MOST_FIGURES = 8
PREFIXES = {"torchrun", "accelerate", "python", "-m"}
"""What may stand in front of `culnig` in a command line."""


def without_code_blocks(text: str) -> str:
    """The text without fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


def code_blocks(text: str, *languages: str) -> list[str]:
    """The contents of the fenced blocks of some languages; "" is a block that names none."""
    blocks = re.findall(r"^ *```(\w*)[^\n`]*\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)
    return [body for language, body in blocks if language in languages]


def sentences(text: str) -> list[str]:
    """The sentences of a page, without code blocks, tables, headings, pictures and formulas."""
    blocks: list[list[str]] = [[]]
    for line in without_code_blocks(text).splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith(("|", "#", "![", "<")) or line.startswith("    "):
            blocks.append([])
            continue
        if re.match(r"([-*]|\d+\.) ", stripped):  # an entry of a list is a paragraph of its own
            blocks.append([])
            stripped = re.sub(r"^([-*]|\d+\.) ", "", stripped)
        blocks[-1].append(stripped)
    found = []
    for block in blocks:
        plain = re.sub(r"`[^`]*`", "CODE", " ".join(block))  # a piece of code counts as one word
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
        found += re.split(r"(?<=[.!?])[*\")]*\s+(?=[\"(*]*[A-Z0-9\"])", re.sub(r"\*\*|\*", "", plain))
    return [sentence for sentence in found if sentence.strip()]


def words(sentence: str) -> list[str]:
    """The words of a sentence: what holds a letter or a digit between blanks."""
    return [word for word in sentence.split() if re.search(r"\w", word)]


def command_lines(text: str) -> list[list[str]]:
    """Every `culnig ...` of a page, in a code block or inline, as words."""
    lines = [line for block in code_blocks(text, "", "sh") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]*)`", without_code_blocks(text))
    found = []
    for line in lines:
        try:
            parts = shlex.split(line, comments=True)
        except ValueError:  # an apostrophe: not a command
            continue
        at = next((i for i, part in enumerate(parts) if part == "culnig"), None)
        if at is None or (at and parts[0] not in PREFIXES):
            continue
        found.append(parts[at + 1 :])
    return [parts for parts in found if parts]


def unknown_in(parts: list[str]) -> str | None:
    """The first verb or option of a command line that does not exist."""
    from culnig.cli._app import app

    command = typer.main.get_command(app)
    rest = parts[: parts.index("--")] if "--" in parts else list(parts)  # what follows is another tool's
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        for verb in rest[0].split("|"):
            if verb not in command.commands:
                return verb
        command = command.commands[rest.pop(0).split("|")[0]]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help", "-h"}
    return next((word for word in rest if word.startswith("--") and word.split("=")[0] not in known), None)


def figures(text: str) -> list[str]:
    """Numbers of the prose that are measurements: not versions, names of models or identifiers."""
    prose = " ".join(re.sub(r"(arXiv |Python |Apache-|ICLR |Gemma )[\d.]+", "", part) for part in sentences(text))
    return re.findall(r"(?<![\w.-])\d[\d,]*(?:\.\d+)?(?![\w-])", prose)


def test_sentences_are_found_and_counted():
    text = "# A title here\nOne two. Three `a b c` four\nfive.\n\n- **Six.** Seven (0.5 to 1.2).\n\n| a. B |\n\n```\nx. Y\n```\n"
    assert [len(words(sentence)) for sentence in sentences(text)] == [2, 4, 1, 4]


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 90


def test_readme_has_few_figures():
    found = figures(README.read_text(encoding="utf-8"))
    assert len(found) <= MOST_FIGURES, found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page):
    long = [
        f"{len(words(sentence))}: {sentence}"
        for sentence in sentences(page.read_text(encoding="utf-8"))
        if len(words(sentence)) > LONGEST_SENTENCE
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = without_code_blocks(page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}; headings are {sorted(anchors)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_exist(page):
    wrong = [
        f"culnig {' '.join(parts)}: {unknown}"
        for parts in command_lines(page.read_text(encoding="utf-8"))
        if (unknown := unknown_in(parts))
    ]
    assert not wrong, "\n".join(wrong)


def test_an_unknown_verb_or_option_is_noticed():
    assert unknown_in(["scores", "--model", "M"]) == "scores"
    assert unknown_in(["score", "--modell", "M"]) == "--modell"
    assert unknown_in(["data", "list"]) is None
    assert command_lines("`culnig run` and `torchrun -m culnig run x`, not `culnig.run`") == [["run"], ["run", "x"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_of_the_repository_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:src|docs|tests|bench|examples)/[\w./-]*\w/?)`", without_code_blocks(text)):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


def tree_of_design() -> list[str]:
    """The paths that the tree in docs/design.md draws."""
    block = next(
        b for b in code_blocks((ROOT / "docs/design.md").read_text(encoding="utf-8"), "text") if "src/culnig/" in b
    )
    paths: list[str] = []
    parents: list[str] = []
    for line in block.splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        del parents[depth:]
        names = re.split(r"\s{2,}", line.strip())[0].split()
        paths += ["/".join([*parents, name.rstrip("/")]) for name in names]
        parents.append(names[0].rstrip("/"))
    return paths


def test_the_tree_of_the_design_is_the_source():
    drawn = tree_of_design()
    missing = [path for path in drawn if not (ROOT / path).exists()]
    assert not missing, missing
    package = ROOT / "src/culnig"
    rooms = {str(path.relative_to(ROOT)) for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms = {room for room in rooms if not room.endswith(("__pycache__", "py.typed"))}
    assert not rooms - set(drawn), f"not in the tree of docs/design.md: {sorted(rooms - set(drawn))}"


def test_files_named_in_the_design_exist():
    text = without_code_blocks((ROOT / "docs/design.md").read_text(encoding="utf-8"))
    named = set(re.findall(r"`([\w/]+\.py)`", text)) - {"_x.py"}
    assert named
    missing = [name for name in named if not (ROOT / "src/culnig" / name).exists()]
    assert not missing, missing


def test_the_paths_of_the_design_are_short():
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    for heading, most in (("The way of an item", 18), ("The way of a scoring batch", 5)):
        section = re.search(rf"^### {heading}$(.*?)^##", text, flags=re.DOTALL | re.MULTILINE)
        assert section, heading
        assert 0 < len(re.findall(r"^\| \d+ \| `", section[1], flags=re.MULTILINE)) <= most, heading


@pytest.mark.parametrize("page", [README, *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name)
def test_python_uses_what_there_is(page):
    """Every import, every `culnig.name` and every keyword of a call to it in a Python snippet exists."""
    import culnig

    text = page.read_text(encoding="utf-8")
    for body in code_blocks(text, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("culnig"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("culnig."):
                function = getattr(culnig, ast.unparse(node.func).removeprefix("culnig."))
                accepted = inspect.signature(function).parameters
                named = {keyword.arg for keyword in node.keywords if keyword.arg}
                free = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
                assert free or named <= set(accepted), ast.unparse(node)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_named_exist(page):
    """Every dotted module in inline code, or the attribute of one, can be found."""
    for name in re.findall(r"`(culnig(?:\.\w+)+)`", without_code_blocks(page.read_text(encoding="utf-8"))):
        group = name in ("culnig.model_families",)  # a group of entry points, not a module
        assert group or exists(name), f"{page.name}: {name}"


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    if name in {"culnig.benchmarks", "culnig.methods", "culnig.studies", "culnig.languages", "culnig.templates"}:
        return True  # groups of entry points
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            if not importlib.util.find_spec(".".join(parts[:cut])):
                continue
        except ModuleNotFoundError:
            continue
        thing = importlib.import_module(".".join(parts[:cut]))
        for attribute in parts[cut:]:
            if not hasattr(thing, attribute):
                return False
            thing = getattr(thing, attribute)
        return True
    return False


@pytest.mark.model
def test_the_python_of_the_readme_runs(smol, monkeypatch, capsys):
    """Run it as it is, with few items."""
    import culnig

    load_items = culnig.load_items
    monkeypatch.setattr(culnig, "load_model", lambda name: smol)
    monkeypatch.setattr(culnig, "load_items", lambda name: load_items(name)[:4])
    (body,) = code_blocks(README.read_text(encoding="utf-8"), "python")
    exec(compile(body, "README.md", "exec"), {})
    assert "country" in capsys.readouterr().out
