"""Registries: a plugin is taken whole or not at all, and what is missing is said."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from culnig import registry
from culnig.errors import UsageError
from culnig.registry import Registry, announced

SHAPES = """from registry_house import SHAPES, COLOURS
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A package with two registries and a built-in shape, and a function that installs a plugin beside it."""
    (tmp_path / "registry_house").mkdir()
    (tmp_path / "registry_house" / "__init__.py").write_text(
        "from culnig.registry import Registry\n"
        "SHAPES = Registry('shape', 'registry_house', 'house.shapes')\n"
        "COLOURS = Registry('colour', 'json', 'house.colours')\n"
    )
    (tmp_path / "registry_house" / "square.py").write_text(SHAPES + "SHAPES.register('square')('a square')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_REGISTRIES", [], raising=False)

    def install(name, body, group="house.shapes"):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(SHAPES + body)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    yield install
    for name in [name for name in sys.modules if name.startswith("registry_house")]:
        del sys.modules[name]


def shapes() -> Registry[str]:
    import registry_house

    return registry_house.SHAPES


def test_a_plugin_is_found(house):
    house("round-shapes", "SHAPES.register('circle', 'disc')('a circle')\n")
    assert shapes().names() == ["circle", "disc", "square"] and shapes().left_out() == ""


def test_a_plugin_that_fails_is_left_out_whole(house, caplog):
    """What it registered before it failed is gone; built-in and other plugins' members are there; one warning."""
    house("a-broken", "SHAPES.register('half')('half')\nCOLOURS.register('red')('red')\nimport no_such_module\n")
    house("round-shapes", "SHAPES.register('circle')('a circle')\n")
    with caplog.at_level(logging.WARNING, "culnig"):
        assert shapes().get("square") == "a square" and shapes().get("circle") == "a circle"
        for _ in range(2):
            with pytest.raises(UsageError) as caught:
                shapes().get("half")
    message = str(caught.value)
    assert "there are: circle, square; the plugin a-broken (entry point a-broken = a_broken) was left out" in message
    assert "ModuleNotFoundError: No module named 'no_such_module'" in message and "\n" not in message
    assert len(caplog.records) == 1 and "a-broken" in caplog.text and "no_such_module" in caplog.text
    import registry_house

    assert registry_house.COLOURS._members == {}


def test_a_built_in_name_is_not_overwritten(house, caplog):
    house("vandal", "SHAPES.register('circle')('a circle')\nSHAPES.register('square', 'box')('a fake')\n")
    assert shapes().get("square") == "a square" and shapes().names() == ["square"]
    assert "vandal" in caplog.text and "shape 'square' is registered twice; choose another name" in caplog.text


def test_two_plugins_with_one_name(house, caplog):
    """The first is kept; the message names both."""
    house("one", "SHAPES.register('circle')('of one')\n")
    house("two", "SHAPES.register('oval')('of two')\nSHAPES.register('circle')('of two')\n")
    found = dict(shapes().items())
    assert found in (
        {"circle": "of one", "square": "a square"},
        {"circle": "of two", "oval": "of two", "square": "a square"},
    )
    assert len(caplog.records) == 1 and "one (entry point" in caplog.text and "two (entry point" in caplog.text
    assert "registered twice, first by " in caplog.text


def test_a_built_in_module_that_fails_does_not_leave_half_a_registry(house, tmp_path):
    (tmp_path / "registry_house" / "a_first.py").write_text("import no_such_module\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            shapes().names()


def test_names_are_registered_together_or_not_at_all():
    things: Registry[str] = Registry("thing", "json", "no.such.group")
    things.register("b")("first")
    with pytest.raises(UsageError, match="'b' is registered twice"):
        things.register("a", "b")("second")
    assert things.names() == ["b"]


def test_the_command_line_works_beside_a_broken_plugin(house, tmp_path):
    """One warning line on stderr; commands go on."""
    house("broken-benchmark", "raise RuntimeError('of no use')\n", group="culnig.benchmarks")
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from culnig.cli import main; main()"
    command = [sys.executable, "-c", start, "data", "list", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"everyday:neur"' in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("culnig: the plugin broken-benchmark (entry point")
    assert line.endswith("RuntimeError: of no use")


def test_every_file_registers_the_name_it_announces():
    """`--help` lists file names without importing the files: each is a name of the registry."""
    from culnig.attribution.method import METHODS
    from culnig.studies import STUDIES

    houses = [
        (METHODS, "attribution.methods", "methods"),
        (STUDIES, "studies", "studies"),
    ]
    for members, package, group in houses:
        assert set(announced(f"culnig.{package}", f"culnig.{group}")) <= set(members.names())
