"""`culnig init`: four answers become a config that runs."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from culnig.cli._app import app
from culnig.run.checks import check_config
from culnig.run.config import load_config
from culnig.studies import RunSettings
from tests.helpers.cli import invoke, use


def test_four_questions(tmp_path):
    path = tmp_path / "mine.yaml"
    done = CliRunner().invoke(app, ["init", str(path)], input="gemma3-270m\n\nwhere\nfull\n", catch_exceptions=False)
    assert done.exit_code == 0 and done.output.count("?") == 4
    config = load_config(path)
    assert (config.model.name, config.name, config.random_controls) == ("gemma3-270m", "mine", 10)
    assert config.identify.neur.items == "everyday:neur" and config.identify.neur.limit_per_country is None
    assert config.studies == ["culture_general", "culture_specific", "layers", "modules"]


@pytest.mark.parametrize("goal", ["find", "countries", "where"])
def test_flags_ask_nothing_and_the_config_is_sound(tmp_path, goal):
    path = tmp_path / "a.yaml"
    facts = json.loads(invoke("init", path, "--goal", goal, "--size", "quick", "--json").stdout)
    assert facts["model"] == "smollm2-135m"
    check_config(load_config(path))


def test_every_setting_stands_in_it_with_its_default(tmp_path):
    path = tmp_path / "a.yaml"
    invoke("init", path, "--yes")
    lines = path.read_text(encoding="utf-8").splitlines()
    shown = dict(
        line[2:].split(": ", 1) for line in lines if line.startswith("# ") and line[2:].split(":")[0].isidentifier()
    )
    for name, field in RunSettings.model_fields.items():
        if name in shown:
            uncommented = yaml.safe_load(f"{name}: {shown[name]}")
            default = field.get_default(call_default_factory=True)
            assert RunSettings.model_validate({"test": [{"role": "task", "items": "x"}], **uncommented}).model_dump()[
                name
            ] == (default.model_dump() if hasattr(default, "model_dump") else default)
        else:
            assert f"\n{name}:" in "\n" + "\n".join(lines), name


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--questions", "ability"], "has no split"),
        (["--questions", "nowhere"], "unknown benchmark"),
        (["--goal", "fame"], "unknown goal"),
        (["--size", "huge"], "unknown size"),
        (["--model", "no/such/model"], "no/such/model"),
    ],
)
def test_wrong_answers_are_one_line(tmp_path, args, message, capsys, monkeypatch):
    code, _, err = use(capsys, monkeypatch, "init", tmp_path / "a.yaml", "--yes", *args)
    assert code == 2 and message in err and not (tmp_path / "a.yaml").exists()


def test_nothing_is_replaced_and_no_answer_is_told(tmp_path, capsys, monkeypatch):
    path = tmp_path / "a.yaml"
    path.write_text("mine")
    code, _, err = use(capsys, monkeypatch, "init", path, "--yes")
    assert code == 2 and "exists already" in err and path.read_text() == "mine"
    monkeypatch.setattr("sys.stdin", (tmp_path / "a.yaml").open())
    code, _, err = use(capsys, monkeypatch, "init", tmp_path / "b.yaml", "--model", "smollm2-135m")
    assert code == 2
