"""The further studies, on the tiny model."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.configs import write_config, write_items

pytestmark = pytest.mark.slow  # whole runs with several studies

STUDIES = ["culture_general", "layers", "related", "modules", "instance", "dose", "thresholds", "overlap"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("studies")
    path = write_config(folder, reference_dir)
    config = yaml.safe_load(path.read_text())
    second = write_items(folder / "second.jsonl", "second")
    config["test"].append({"role": "culture", "items": second})
    found = {}
    for name in ("a b", "c"):
        found[name] = {
            "neur": {"items": write_items(folder / f"{name[0]}.jsonl", name)},
            "ctrl": {"items": write_items(folder / f"{name[0]}-ctrl.jsonl", name, control=True)},
        }
    config |= {"overlap": {"benchmarks": found}, "guards": {"conditions": "main"}, "modules": {"random_controls": 2}}
    path.write_text(yaml.safe_dump(config | {"studies": ["culture_general"]}))
    out = folder / "run"
    run(load_config(path), out)
    stamp = (out / "scores" / "neur.safetensors").stat().st_mtime_ns
    done = run(load_config(path, [f"studies={STUDIES}"]), out)
    assert stamp == (out / "scores" / "neur.safetensors").stat().st_mtime_ns, "scores are used again"
    return done


def table(run_directory, name):
    return pd.read_parquet(run_directory.path / "tables" / f"{name}.parquet")


def test_every_test_set_is_reported(finished):
    accuracy = table(finished, "accuracy")
    culture = accuracy[accuracy["role"] == "culture"]
    assert culture["test"].nunique() == 2 and (culture.groupby("test").size() == 4).all()
    assert len(finished.results["culture_general"]["tests"]) == 4
    # what other studies suppress is evaluated on the first test set alone
    assert not list((finished.path / "evals" / "second").glob("only-*"))


def test_layers_add_up(finished):
    sites, size = table(finished, "layers-sites"), len(finished.neurons("culture-general"))
    assert sites["neurons"].sum() == size == table(finished, "layers-modules")["neurons"].sum()
    assert sites["share"].sum() == pytest.approx(1) and (sites["density"] == sites["neurons"] / sites["width"]).all()


def test_parts_make_the_whole(finished):
    mlp, attention = finished.neurons("only-mlp"), finished.neurons("only-attention")
    assert (mlp | attention) == finished.neurons("culture-general") and not len(mlp & attention)
    assert finished.neurons("only-mlp-random-1").counts() == mlp.counts()
    assert set(table(finished, "modules")["against"]) == {"untouched", "random"}


def test_doses(finished):
    doses = table(finished, "dose")
    assert sorted(doses["factor"].unique()) == [0, 0.5, 1, 1.5, 2, 3]
    zero = doses[(doses["factor"] == 0) & (doses["role"] == "culture") & (doses["metric"] == "correct")]["value"].item()
    assert zero == pytest.approx(finished.results["culture_general"]["drop"]["culture"]["a"])


def test_settings_and_sizes(finished):
    own = table(finished, "thresholds-changes").set_index("setting")
    assert (own.loc["t=0.01", "size"] == len(finished.neurons("culture-general"))).all()
    assert len(table(finished, "thresholds-culture-general")) == 12


def test_overlap_against_chance(finished):
    (pair,) = finished.results["overlap"]["pairs"]
    sets = finished.neurons("overlap-a-b"), finished.neurons("overlap-c")
    assert pair["jaccard"] == pytest.approx(sets[0].jaccard(sets[1])) and 0 < pair["jaccard by chance"] < 0.1


def test_the_page_shows_every_study(finished):
    page = (finished.path / "report.html").read_text()
    for name in STUDIES:
        assert name in finished.results
    assert page.count('class="plot"') >= 10
    json.loads((finished.path / "results.json").read_text())


def test_items_sum_to_the_scores(finished):
    """The mean over prompts of what is kept item by item is S(neur) of the score file."""
    instance, neur = table(finished, "instance"), finished.scores("neur")
    for row in instance.head(20).itertuples():
        assert row.mean == pytest.approx(neur.mean(row.module)[row.layer, row.neuron], rel=1e-4, abs=1e-9)
    assert instance["positive"].between(0, 1).all() and len(instance) == len(finished.neurons("culture-general"))


def test_related_ranks(finished):
    ranks = table(finished, "related-ranks")
    assert ranks["own"].between(1, 4).all() and ranks["others"].between(1, 4).all()
    assert {"geographic", "linguistic", "values"} == set(table(finished, "related-distances")["distance"])


def test_nothing_is_evaluated_twice(finished):
    """A dose or a threshold that is the run's own is the general study's condition."""
    own = f"t={finished.config.culture_general.t_mlp:g}"
    assert not {"dose-0", f"sweep-{own}"} & {path.stem for path in (finished.path / "evals").rglob("*.parquet")}
    dose, swept = table(finished, "dose-changes"), table(finished, "thresholds-changes")
    at_zero, at_own = dose[dose["factor"] == 0], swept[swept["setting"] == own]
    assert len(at_own) and list(at_own["difference"]) == list(at_zero["difference"])
