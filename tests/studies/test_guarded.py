"""The study `guarded`: searched on development data, tested beside the culture-general set."""

from __future__ import annotations

import pytest

from culnig import NeuronSet
from culnig.errors import UsageError
from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.configs import write_guarded_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory, reference_dir):
    study = {"studies": ["culture_general", "guarded"]}
    harm = {"perplexity": 5.0, "skills": 1.0}
    return write_guarded_config(
        tmp_path_factory.mktemp("guarded"), reference_dir, study, harm=harm, step=3, max_neurons=6
    )


@pytest.fixture(scope="module")
def finished(config):
    return run(load_config(config), config.parent / "run")


def test_both_sets_stand_side_by_side(finished):
    rows = finished.results["guarded"]["sides"]
    assert {row["set"] for row in rows} == {"culture-general", "guarded"}
    assert {row["against"] for row in rows if row["set"] == "guarded"} == {"untouched", "random", "culture-general"}
    chosen = NeuronSet.load(finished.path / "neurons" / "guarded.json")
    assert len(chosen) == finished.results["guarded"]["neurons"] > 0
    random = NeuronSet.load(finished.path / "neurons" / "random-guarded-0.json")
    assert random.counts() == chosen.counts() and random.jaccard(chosen) == 0
    assert "A set under a budget of harm" in (finished.path / "report.html").read_text()


def test_the_search_is_not_repeated(config, finished):
    before = (finished.path / "measured" / "guarded" / "neurons.json").read_bytes()
    again = run(load_config(config), finished.path)
    assert (again.path / "measured" / "guarded" / "neurons.json").read_bytes() == before


def test_test_sets_are_not_for_protecting(config):
    settings = load_config(config)
    test = settings.test[1].items
    with pytest.raises(UsageError, match=r"guarded\.protect\.skills is a test set"):
        run(load_config(config, [f"guarded.protect.skills.items={test}"]), config.parent / "other")
    with pytest.raises(UsageError, match="nothing called school"):
        run(load_config(config, ["guarded.harm.school=0.01"]), config.parent / "other")
