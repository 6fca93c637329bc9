"""The study `guarded`: searched on development data, tested beside the culture-general set."""

from __future__ import annotations

import pytest
import yaml

from culnig import NeuronSet
from culnig.errors import UsageError
from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.configs import write_config, write_items

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("guarded")
    path = write_config(folder, reference_dir)
    texts = folder / "texts.txt"
    texts.write_text("\n\n".join(f"w{i} w{i + 1} w{i + 3} w{i + 7}" for i in range(12)))
    settings = yaml.safe_load(path.read_text())
    settings["studies"] = ["culture_general", "guarded"]
    settings["guarded"] = {
        "harm": {"perplexity": 5.0, "skills": 1.0},
        "protect": {"skills": {"items": write_items(folder / "skills.jsonl", "skills")}},
        "own_texts": str(texts),
        "step": 3,
        "max_neurons": 6,
        "items": 8,
        "texts": 6,
    }
    path.write_text(yaml.safe_dump(settings))
    return path


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
