"""The paper's presets, and the published figures beside measured ones."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from culnig.errors import FetchError
from culnig.neurons import Site
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.studies.published import _gates, _ranks, _table, model_of, read_published
from tests.helpers.configs import write_config

PRESETS = {
    "paper-gemma-3-12b": "gemma-3-12b-it",
    "paper-gemma-3-27b": "gemma-3-27b-it",
    "paper-qwen3-14b": "Qwen3-14B",
    "paper-llama-3.1-8b": "Llama-3.1-8B-Instruct",
    "paper-phi-4": "phi-4",
    "paper-falcon3-10b": "Falcon3-10B-Instruct",
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_complete(name, data):
    config = load_config(name)
    assert config.name == name and "/" in config.model.name and len(config.test) == 9 and config.random_controls == 10
    assert (config.random_kind, config.matched_controls, config.specific_controls) == ("whole", 10, 1)
    assert config.culture_general.preset == config.culture_specific.preset == "paper"
    assert model_of(config, read_published()) == PRESETS[name]
    with pytest.raises(FetchError, match=r"blend.*hf download") as error:
        config.identify.neur.load(config.seed, config.sources)
    assert "\n" not in str(error.value)


def test_published_figures_are_whole_or_unknown():
    figures = read_published()
    assert set(figures["models"]) == set(PRESETS.values())
    for name, model in figures["models"].items():
        for condition in ("none", "culture-general", "random"):
            assert model[condition] is None or len(model[condition]) == len(figures["columns"]), (name, condition)
    gemma = figures["models"]["gemma-3-12b-it"]
    assert list(gemma["gates"].items())[:3] == [(13, 785), (12, 685), (14, 612)]
    assert sum(gemma["gates"].values()) < gemma["neurons"] and figures["models"]["phi-4"]["neurons"] is None


@pytest.mark.slow
def test_published_beside_measured(tmp_path, reference_dir):
    """A made-up run: the tiny model under a published name, our words under a benchmark's."""
    model = tmp_path / "Qwen3-14B"
    shutil.copytree(reference_dir, model)
    config = load_config(
        write_config(tmp_path, reference_dir),
        [f"model.name={model}", "studies=[culture_general, culture_specific, published]", "guards.text=null"],
    )
    done = run(config, tmp_path / "run")
    table = pd.read_parquet(done.path / "tables" / "published.parquet")
    assert len(table) == 21 and table["measured"].isna().all()  # no published benchmark among the words
    assert table.loc[(table["benchmark"] == "BLEnD") & (table["condition"] == "untouched"), "published"].item() == 65.96
    rows = _table(done, {config.test[0].items: "Words"}, read_published()["models"]["Qwen3-14B"])
    measured = 100 * done.result("culture", "culture-general").accuracy
    assert rows.set_index("condition").loc["culture-general suppressed", "measured"] == pytest.approx(measured)
    ranks = _ranks(done, {"Mexico": {"Mexico": 1.2, "Spain": 3.8}, "Peru": {"Peru": 1.0}}).set_index(["set", "country"])
    assert ranks.loc[("Peru", "Peru"), "published"] == 1 and pd.isna(ranks.loc[("Peru", "Peru"), "measured"])
    assert (done.path / "tables" / "published-ranks.parquet").is_file()
    assert ranks.loc["Mexico", "measured"].between(1, 4).all() or ranks.loc["Mexico", "measured"].isna().all()
    gates = _gates(done, {0: 5, 99: 1}).set_index("layer")["measured"]
    chosen = done.neurons("culture-general").counts()
    assert gates[0] == chosen.get(Site("mlp.gate_proj", 0), 0) and gates[99] == 0
    page = (done.path / "report.html").read_text()
    assert "Published and measured" in page and "65.960" in page
