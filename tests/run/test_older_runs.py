"""A run folder that version 0.1 wrote opens, reports and grows, and says which of its names are old.

`files/run-0.1` was made by that version: its scores, sets, results and config are as it left them, but for the places of model
and items in the config.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from culnig.cli._app import app
from culnig.errors import OldNameWarning
from culnig.neurons import NeuronSet
from culnig.run.config import load_config
from culnig.run.directory import RunDirectory
from culnig.run.pipeline import run

OLD = Path(__file__).parents[1] / "files" / "run-0.1"
MADE = ("scores/*.safetensors", "evals/*/*.parquet")


@pytest.fixture
def folder(tmp_path, reference_dir):
    """A copy of the old folder that knows where its model and items lie."""
    path = Path(shutil.copytree(OLD, tmp_path / "run"))
    config = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(config.replace("MODEL", str(reference_dir)).replace("ITEMS", str(path / "items")))
    return path


def made(folder):
    """Bytes of each file that took a model to make, and the neurons of each set."""
    files = {str(path.relative_to(folder)): path.read_bytes() for pattern in MADE for path in folder.glob(pattern)}
    return files | {f"neurons/{path.name}": list(NeuronSet.load(path)) for path in folder.glob("neurons/*.json")}


def test_it_opens_and_reports_the_same_numbers(folder):
    with pytest.warns(OldNameWarning, match="the study general is culture_general now"):
        done = CliRunner().invoke(app, ["report", str(folder)])
    assert done.exit_code == 0, done.output
    before, now = json.loads((OLD / "results.json").read_text()), json.loads((folder / "results.json").read_text())
    old, new = before["general"], now["culture_general"]
    for role, value in old["drop"].items():
        role_now = "ability" if role == "general" else role
        assert new["random_drops"].get(role_now) == pytest.approx(old["random_drops"].get(role), rel=1e-12)
        kept = [name for name in value if not name.startswith("p")]  # an exact test gives p of few questions now
        same = {name: value[name] for name in kept}
        assert {name: new["drop"][role_now][name] for name in kept} == pytest.approx(same, rel=1e-12)
    assert now["culture_specific"]["sizes"] == before["specific"]["sizes"]
    assert (folder / "report.html").is_file() and made(folder) == made(OLD)


def test_it_grows(folder):
    """A study is added: what was there is taken up unchanged, under the names it has."""
    with pytest.warns(OldNameWarning, match="general is culture_general now"):
        config = load_config(folder / "config.yaml", ["studies=[culture_general, culture_specific, related, dose]"])
    done = run(config, folder)
    assert {"culture_general", "related", "dose"} <= set(done.results)
    after = made(folder)
    assert {name: after[name] for name in made(OLD)} == made(OLD)
    assert {Path(name).parent.name for name in after} == {"scores", "neurons", "test", "general", "crc"}
    assert yaml.safe_load((folder / "config.yaml").read_text())["studies"][0] == "culture_general"


def test_its_sets_and_scores_are_read(folder):
    directory = RunDirectory.open(folder)
    assert list(directory.neurons("culture-general")) == list(NeuronSet.load(OLD / "neurons" / "general.json"))
    assert directory.scores("neur").methods == ["culnig"]


def test_its_set_is_suppressed_in_the_same_model(folder, reference_dir, tmp_path):
    items = str(folder / "items" / "test.jsonl")
    command = ["eval", "--model", str(reference_dir), "--items", items, "--formulation", "cf"]
    neurons = ["--neurons", str(folder / "neurons" / "general.json")]
    done = CliRunner().invoke(app, [*command, *neurons, "--out", str(tmp_path / "masked.parquet"), "--json"])
    assert done.exit_code == 0, done.output
