"""The study `frontier`: orders cut at the same sizes, areas under them, and one search for each guarded method."""

from __future__ import annotations

import pandas as pd
import pytest

from culnig import NeuronSet
from culnig.errors import UsageError
from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.configs import write_guarded_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("frontier")
    study = {
        "studies": ["frontier"],
        "scoring": "culnig,relp:product,random",
        "guards": {"text": str(folder / "texts.txt")},
        "frontier": {"sizes": [1, 2, 4], "guarded": ["greedy", "ratio"]},
    }
    return write_guarded_config(folder, reference_dir, study, step=2, steps=4)


@pytest.fixture(scope="module")
def finished(config):
    return run(load_config(config), config.parent / "run")


def test_sets_of_a_method_are_prefixes(finished):
    folder = finished.path / "neurons"
    for label in ("guarded-greedy", "relp-product", "random"):
        small, large = (NeuronSet.load(folder / f"frontier.{label}.{size}.json") for size in (2, 4))
        assert list(large)[:2] == list(small) and len(large) == 4


def test_every_method_has_an_area_and_ours_a_lead(finished):
    areas = pd.DataFrame(finished.results["frontier"]["frontier-areas"])
    assert set(areas["cost"]) <= {"perplexity", "ability"}
    part = areas[areas["cost"] == "perplexity"].set_index("method")
    assert {"paper's rule", "culture-general", "relp:product", "random", "guarded, greedy", "guarded, ratio"} == set(
        part.index
    )
    lead = part["ours minus it"].drop("guarded, greedy")
    assert lead.to_numpy() == pytest.approx(
        (part.loc["guarded, greedy", "area"] - part["area"]).drop("guarded, greedy").to_numpy()
    )
    assert (part["area"] >= 0).all()
    assert "The frontier" in (finished.path / "report.html").read_text()


def test_the_points_are_those_of_the_saved_rows(finished):
    points = pd.DataFrame(finished.results["frontier"]["frontier-points"])
    row = points.iloc[-1]
    untouched, suppressed = (finished.result("culture", name) for name in ("none", row["set"]))
    assert row["culture"] == pytest.approx(untouched.accuracy - suppressed.accuracy)
    assert row["perplexity"] == pytest.approx(
        finished.text(row["set"]).perplexity / finished.text("none").perplexity - 1
    )


def test_the_set_of_the_study_guarded_is_the_order_and_one_shot_orders_mix_modules(config, tmp_path):
    """Several modules: an order is over all of them, not one after the other."""
    chosen = [
        "studies=[guarded,frontier]",
        "frontier.guarded=[greedy]",
        "guarded.modules=[mlp.gate_proj,self_attn.q_proj]",
    ]
    done = run(load_config(config, [*chosen, "frontier.sizes=[6,40]"]), tmp_path / "run")
    found = NeuronSet.load(done.path / "measured" / "frontier" / "greedy.json")
    assert list(found) == list(NeuronSet.load(done.path / "measured" / "guarded" / "neurons.json"))
    order = NeuronSet.load(done.path / "neurons" / "frontier.relp-product.40.json")
    assert list(order.scores.values()) == sorted(order.scores.values(), reverse=True)
    modules = [neuron.module for neuron in order]
    assert set(modules) == {"mlp.gate_proj", "self_attn.q_proj"}
    assert modules != sorted(modules) and modules != sorted(modules, reverse=True)


def test_halves_are_searched_again_and_compared_with_the_papers_rule(config, tmp_path):
    options = ["frontier.resamples=2", "frontier.resampled=2", "frontier.guarded=[greedy]", "frontier.at=[0.001]"]
    settings = load_config(config, options)
    first = settings.tests_of("culture")[0]
    second = first.model_copy(update={"items": settings.identify.neur.items})  # each culture test has its own rows
    settings = settings.model_copy(update={"test": [*settings.test, second]})
    done = run(settings, tmp_path / "run")
    folder = done.path / "measured" / "frontier"
    orders = [NeuronSet.load(folder / f"half-{number}.json") for number in (1, 2)]
    assert [len(order) for order in orders] == [2, 2]
    assert not list(folder.glob("*.progress"))
    table = pd.DataFrame(done.results["frontier"]["frontier-resamples"])
    assert set(table["half"]) == {"half-1", "half-2", "all"}
    assert table["test"].unique().tolist() == [first.label, second.label]
    lead = table[(table["quantity"] == "lead in area") & (table["test"] == second.label)].set_index("half")
    assert lead.loc["all", "value"] == pytest.approx(lead.loc[["half-1", "half-2"], "value"].mean())
    overlap = pd.DataFrame(done.results["frontier"]["frontier-overlaps"])
    assert overlap["jaccard"].tolist() == [pytest.approx(orders[0].jaccard(orders[1]))]
    assert "half of the questions" in (done.path / "report.html").read_text()


def test_wrong_costs_are_one_line(config):
    with pytest.raises(UsageError, match=r"frontier\.most\.school"):
        run(load_config(config, ["frontier.most.school=0.1"]), config.parent / "other")
