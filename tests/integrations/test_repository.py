"""A neuron set as a repository: pushed to a folder, pulled in another process, refused when damaged or of another model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import culnig
from culnig import Neuron, NeuronSet
from culnig.integrations import pull
from culnig.neurons import GATE
from culnig.selection import select_random
from tests.helpers import tiny_models
from tests.helpers.cli import invoke, use
from tests.helpers.configs import write_config, write_items

CHOSEN = {Neuron(GATE, layer, index): 1.0 for layer in (1, 2) for index in range(60)}


@pytest.fixture
def made(tmp_path, tiny, reference_dir):
    """A set of the tiny model, results without and with it, and a repository made of them."""
    path, items = tmp_path / "g.json", write_items(tmp_path / "words.jsonl", "test")
    NeuronSet(CHOSEN, model_name=tiny.name, provenance={"model_hash": tiny.fingerprint, "kind": "test"}).save(path)
    select_random(NeuronSet.load(path), tiny.shapes).save(tmp_path / "r0.json")
    common = ["eval", "--model", reference_dir, "--items", items, "--formulation", "cf", "--json"]
    before, after = tmp_path / "before.parquet", tmp_path / "after.parquet"
    invoke(*common, "--out", before)
    figures = json.loads(invoke(*common, "--neurons", path, "--out", after).stdout)
    done = invoke(
        "push", path, tmp_path / "shared", "-r", before, "-r", after, "--control", tmp_path / "r0.json", "--json"
    )
    return tmp_path, items, figures, json.loads(done.stdout)


@pytest.mark.slow
def test_push_then_pull_elsewhere_gives_the_same_figures(made, reference_dir):
    folder, items, figures, facts = made
    assert (facts["figures"], facts["controls"]) == (3, ["r0"])
    program = f"import culnig.cli, sys; sys.argv = ['culnig', 'pull', {str(folder / 'shared')!r}, '--out', 'mine']"
    subprocess.run([sys.executable, "-c", f"{program}; culnig.cli.main()"], cwd=folder, check=True, capture_output=True)
    args = ["--model", reference_dir, "--items", items, "--formulation", "cf", "--json"]
    again = invoke("eval", *args, "--neurons", folder / "mine" / "neurons.json", "--out", folder / "again.parquet")
    changing = {"out"}
    assert {k: v for k, v in json.loads(again.stdout).items() if k not in changing} == {
        k: v for k, v in figures.items() if k not in changing
    }
    old, new = (culnig.EvalResult.load(folder / name) for name in ("after.parquet", "again.parquet"))
    assert old.rows.equals(new.rows)
    assert NeuronSet.load(folder / "mine" / "controls" / "r0.json").provenance["kind"] == "random, matched"


def test_the_card_names_model_figures_and_controls(made, tiny):
    folder, _, figures, _ = made
    text = (folder / "shared" / "README.md").read_text()
    assert tiny.fingerprint in text and "controls/r0.json" in text and f"{100 * figures['accuracy']:.1f} %" in text
    assert "suppress - untouched" in text and text.startswith("---\nlibrary_name: culnig\n")


@pytest.mark.parametrize("name", ["neurons.json", "controls/r0.json"])
def test_a_changed_or_missing_file_is_refused(made, name, capsys, monkeypatch):
    folder, *_ = made
    path = folder / "shared" / name
    path.write_text(path.read_text().replace('"neuron_idx": 1', '"neuron_idx": 2'))
    code, _, err = use(capsys, monkeypatch, "pull", folder / "shared", "--out", folder / "mine")
    assert code == 1 and "damaged or changed" in err and err.count("\n") == 1 and not (folder / "mine").exists()
    path.unlink()
    code, _, err = use(capsys, monkeypatch, "pull", folder / "shared", "--out", folder / "mine")
    assert code == 1 and f"{name} is missing" in err


def test_another_model_is_refused(made, tmp_path, capsys, monkeypatch):
    folder, *_ = made
    model, tokenizer = tiny_models.build("llama"), tiny_models.tokenizer()
    model.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    code, _, err = use(
        capsys, monkeypatch, "pull", folder / "shared", "--out", folder / "mine", "-m", tmp_path / "other"
    )
    assert code == 2 and "belongs to another model" in err and not (folder / "mine").exists()
    args = ["push", folder / "g.json", folder / "again", "-m", tmp_path / "other"]
    code, _, err = use(capsys, monkeypatch, *args)
    assert code == 2 and "made on another model" in err


def test_a_set_without_a_hash_needs_its_model(tmp_path, tiny, reference_dir, capsys, monkeypatch):
    path = tmp_path / "g.json"
    NeuronSet(CHOSEN, model_name="published").save(path)
    code, _, err = use(capsys, monkeypatch, "push", path, tmp_path / "shared")
    assert code == 2 and "--model" in err and not (tmp_path / "shared").exists()
    assert invoke("push", path, tmp_path / "shared", "--model", reference_dir).exit_code == 0
    pulled = pull(str(tmp_path / "shared"), tmp_path / "mine", lm=tiny)
    assert pulled.model["model_hash"] == tiny.fingerprint and pulled.neurons == NeuronSet.load(path)


@pytest.mark.parametrize("address", ["hf:nowhere", "hf:a/b/c"])
def test_an_address_that_is_none_is_refused(address, tmp_path, capsys, monkeypatch):
    code, _, err = use(capsys, monkeypatch, "pull", address, "--out", tmp_path / "x")
    assert code == 2 and "hf:owner/name" in err


def test_the_hub_out_of_reach_is_one_line(tmp_path, capsys, monkeypatch):
    code, _, err = use(capsys, monkeypatch, "pull", "hf:owner/name", "--out", tmp_path / "x")
    assert code == 1 and err.startswith("culnig: cannot fetch hf:owner/name") and err.count("\n") == 1


def test_what_is_no_repository_is_refused(tmp_path, capsys, monkeypatch):
    for make, message in (
        (lambda: None, "holds no neuron set"),
        (lambda: (tmp_path / "culnig.json").write_text("{}"), "no neuron set"),
    ):
        make()
        code, _, err = use(capsys, monkeypatch, "pull", tmp_path, "--out", tmp_path / "x")
        assert code == 2 and message in err


@pytest.mark.slow
def test_a_set_of_a_run_takes_along_what_the_run_measured(tmp_path, reference_dir):
    config = write_config(tmp_path, reference_dir)
    invoke("run", config, "--out", tmp_path / "run", "--set", "studies=[culture_general]", "--json")
    facts = json.loads(
        invoke("push", tmp_path / "run" / "neurons" / "culture-general.json", tmp_path / "shared", "--json").stdout
    )
    assert facts["controls"] == ["random-0", "random-1"] and facts["guards"] > 0
    pulled = pull(str(tmp_path / "shared"), tmp_path / "mine")
    assert pulled.config == (tmp_path / "run" / "config.yaml").read_text()
    (row,) = [r for r in pulled.figures if r["test"].startswith("test") and r["condition"] == "suppress - untouched"]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert row["value"] == pytest.approx(results["culture_general"]["drop"]["culture"]["difference"])
    assert {r["condition"] for r in pulled.figures} >= {"untouched", "suppress", "suppress - 2 random sets"}
    assert "t_attn" in (tmp_path / "mine" / "README.md").read_text()
