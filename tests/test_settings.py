"""`--set`: what it changes, and one clear line where it makes no sense."""

from __future__ import annotations

import pytest
import yaml
from pydantic import Field

from culnig.errors import UsageError
from culnig.settings import Settings, read_settings


class Test(Settings):
    __test__ = False
    items: str
    role: str = "culture"


class Model(Settings):
    name: str = "a"


class Config(Settings):
    seed: int = 0
    model: Model = Model()
    test: list[Test] = Field([])
    empty: list[int] = Field([])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"seed": 1, "test": [{"items": "a"}, {"items": "b"}], "empty": []}))
    return path


def read(path, *overrides):
    return read_settings(Config, path, overrides)


def test_settings_are_set(path):
    config = read(path, "test.1.role=general", "model.name=b", "seed=7", "empty=[1, 2]")
    assert [test.role for test in config.test] == ["culture", "general"]
    assert (config.model.name, config.seed, config.empty) == ("b", 7, [1, 2])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("test.foo.role=x", "'foo' is not an index of that list (0 to 1)"),
        ("test.9.role=x", "'9' is not an index"),
        ("test.-1.role=x", "'-1' is not an index"),
        ("test.².role=x", "'²' is not an index"),  # isdigit() holds, int() fails
        ("test.٠.role=x", "'٠' is not an index"),  # int() would read an Arabic digit
        ("test.foo=x", "'foo' is not an index"),
        ("test.2=x", "'2' is not an index"),
        ("empty.0=1", "that list, which is empty"),
        ("empty.0.a=1", "that list, which is empty"),
        ("model..name=1", "name.of.setting=value"),
        (".seed=1", "name.of.setting=value"),
        ("seed.=1", "name.of.setting=value"),
        ("=1", "name.of.setting=value"),
        ("seed", "name.of.setting=value"),
        ("seed.a=1", "'seed' holds a value, not settings"),
        ("test.0.items.x=1", "'items' holds a value, not settings"),
        ("seed=[", "not YAML"),
        ("test=1", "test: Input should be a valid list"),
        ("other=1", "other: Extra inputs are not permitted; no such setting"),
    ],
)
def test_senseless_overrides_are_refused(path, override, says):
    with pytest.raises(UsageError) as caught:
        read(path, override)
    assert says in str(caught.value) and "\n" not in str(caught.value)
