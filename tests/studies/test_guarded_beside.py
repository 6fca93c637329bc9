"""The study `guarded_beside`: a set that was found before stands beside the run's own, on its own model alone."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from culnig import Neuron, NeuronSet
from culnig.errors import DataError, UsageError
from culnig.neurons import GATE, check_belongs
from culnig.run.config import load_config
from culnig.run.directory import RunDirectory
from culnig.run.pipeline import run
from culnig.studies.guarded_beside import GuardedBesideStudy, shipped_sets
from tests.helpers.configs import write_config, write_guarded_config, write_items

STUDIES = {"studies": ["culture_general", "guarded_beside"]}


def test_shipped_sets_say_how_they_were_made():
    (only,) = shipped_sets()
    made = only.provenance
    assert only.model_name == "smollm2-135m" and len(only) == 140 == made["path"][-1]["neurons"]
    assert made["command"] == "culnig run frontier" and made["kind"] == "guarded"
    config = load_config("frontier")
    assert config.guarded.max_neurons == len(only) and config.model.name == only.model_name


@pytest.mark.slow
@pytest.mark.model
def test_the_shipped_set_is_of_the_embedded_model(smol):
    (only,) = shipped_sets()
    assert only.provenance["model_hash"] == smol.fingerprint
    check_belongs(only, smol.shapes, smol.name)


@pytest.fixture(scope="module")
def config(tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("beside")
    path = write_config(folder, reference_dir)
    settings = yaml.safe_load(path.read_text()) | STUDIES
    settings["test"].append({"role": "facts", "items": write_items(folder / "facts.jsonl", "facts")})
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def plain(config):
    """A run whose model has no shipped set."""
    return run(load_config(config), config.parent / "plain")


@pytest.fixture(scope="module")
def beside(config, plain):
    """The same with a file of a few neurons."""
    meta = plain.scores("neur").meta
    neurons = NeuronSet(
        {Neuron(GATE, 1, index): 1.0 for index in range(20)},
        model_name=meta["model"],
        provenance={"model_hash": meta["model_hash"], "command": "culnig select guarded"},
    )
    neurons.save(config.parent / "ready.json")
    return load_config(config, [f"guarded_beside.neurons={config.parent / 'ready.json'}"]), config.parent / "with"


@pytest.mark.slow
def test_a_model_without_a_set_gets_a_sentence(plain):
    assert plain.results["guarded_beside"].get("rows") is None
    assert not list((plain.path / "evals").glob("*/guarded-ready.parquet"))
    page = (plain.path / "report.html").read_text()
    assert "There is no guarded set for" in page and "studies=[culture_general, guarded_beside, guarded]" in page


@pytest.mark.slow
def test_both_sets_stand_in_one_table(beside):
    config, out = beside
    done = run(config, out)
    table = pd.read_parquet(out / "tables" / "guarded-beside.parquet")
    assert list(dict.fromkeys(table["measure"])) == ["Culture", "Facts", "Ability", "Perplexity, plain text"]
    assert len(table) == 12 and (table["low"] <= table["high"]).all()
    changes = table.set_index(["measure", "set", "against"])
    test = config.test_of("culture")
    right = {name: done.result_on(test, name).rows["correct"].mean() for name in ("none", "guarded-ready")}
    mine = changes.loc[("Culture", "guarded-ready", "untouched")]
    assert mine["change"] == pytest.approx(100 * (right["guarded-ready"] - right["none"])) and mine["neurons"] == 20
    general = changes.loc[("Culture", "culture-general", "untouched")]
    paired = changes.loc[("Culture", "guarded-ready", "culture-general")]
    assert paired["change"] == pytest.approx(mine["change"] - general["change"])
    text = changes.loc[("Perplexity, plain text", "guarded-ready", "untouched")]
    assert text["change"] == pytest.approx(
        100 * (done.text("guarded-ready").perplexity / done.text("none").perplexity - 1)
    )
    page = (out / "report.html").read_text()
    assert "found before by culnig select guarded" in page and "side by side" in page


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(beside):
    config, out = beside
    run(config, out)
    test = config.test_of("culture").items
    (result,) = out.glob("evals/*test*/guarded-ready.parquet")
    kept = [p for p in out.glob("evals/*/*.parquet") if p != result]
    before = {p: p.stat().st_mtime_ns for p in kept}, (out / "results.json").read_text()
    result.unlink()
    run(config, out)
    assert test and result.is_file()
    assert ({p: p.stat().st_mtime_ns for p in kept}, (out / "results.json").read_text()) == before


@pytest.mark.slow
def test_a_report_so_far_does_without_texts_that_are_not_read_yet(beside):
    """A kill between two texts left a report so far with half of them, which the study could not compare."""
    config, out = beside
    run(config, out).text_path("guarded-ready").unlink()
    section = GuardedBesideStudy().analyse(RunDirectory.open(out))
    assert "Perplexity, plain text" not in set(section.tables["guarded-beside"]["measure"])
    assert run(config, out).text("guarded-ready") is not None


@pytest.mark.slow
def test_a_set_of_another_model_is_refused(config, beside, tmp_path):
    wrong = NeuronSet.load(config.parent / "ready.json")
    wrong.provenance["model_hash"] = "0" * 16
    wrong.save(tmp_path / "wrong.json")
    with pytest.raises(UsageError, match="was made on another model"):
        run(load_config(config, [f"guarded_beside.neurons={tmp_path / 'wrong.json'}"]), tmp_path / "run")
    (tmp_path / "odd.json").write_text("{}")
    with pytest.raises(DataError, match="not a neuron set"):
        run(load_config(config, [f"guarded_beside.neurons={tmp_path / 'odd.json'}"]), tmp_path / "odd")


@pytest.mark.slow
def test_the_set_of_the_runs_own_search_takes_its_place(tmp_path, reference_dir):
    """As the report says: the study `guarded`, added to the same folder."""
    harm = {"perplexity": 5.0, "skills": 1.0}
    path = write_guarded_config(tmp_path, reference_dir, STUDIES, harm=harm, step=3, max_neurons=6)
    out = tmp_path / "run"
    run(load_config(path), out)
    done = run(load_config(out / "config.yaml", ["studies=[culture_general, guarded_beside, guarded]"]), out)
    assert done.results["guarded_beside"]["set"] == "guarded" and len(done.neurons("guarded"))
    rows = {row["set"] for row in done.results["guarded_beside"]["rows"]}
    assert rows == {"culture-general", "guarded"} and "own search" in (out / "report.html").read_text()
