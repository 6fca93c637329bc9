"""The paper's presets, and the published figures beside measured ones."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from culnig.errors import FetchError
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.studies.published import _table, model_of, read_published
from tests.helpers.configs import write_config

PRESETS = {
    "paper-gemma-3-12b": "gemma-3-12b-it",
    "paper-gemma-3-27b": None,
    "paper-qwen3-14b": "Qwen3-14B",
    "paper-llama-3.1-8b": "Llama-3.1-8B-Instruct",
    "paper-phi-4": None,
    "paper-falcon3-10b": "Falcon3-10B-Instruct",
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_complete(name, data):
    config = load_config(name)
    assert config.name == name and "/" in config.model.name and len(config.test) == 8 and config.random_controls == 10
    assert config.culture_general.preset == config.culture_specific.preset == "paper"
    assert model_of(config, read_published()) == PRESETS[name]
    with pytest.raises(FetchError, match=r"blend.*hf download") as error:
        config.identify.neur.load(config.seed, config.sources)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_published_beside_measured(tmp_path, reference_dir):
    """A made-up run: the tiny model under a published name, our words under a benchmark's."""
    model = tmp_path / "Qwen3-14B"
    shutil.copytree(reference_dir, model)
    config = load_config(
        write_config(tmp_path, reference_dir),
        [f"model.name={model}", "studies=[culture_general, published]", "guards.text=null"],
    )
    done = run(config, tmp_path / "run")
    table = pd.read_parquet(done.path / "tables" / "published.parquet")
    assert len(table) == 21 and table["measured"].isna().all()  # no published benchmark among the words
    assert table.loc[(table["benchmark"] == "BLEnD") & (table["condition"] == "untouched"), "published"].item() == 65.96
    rows = _table(done, {config.test[0].items: "Words"}, read_published()["models"]["Qwen3-14B"])
    measured = 100 * done.result("culture", "culture-general").accuracy
    assert rows.set_index("condition").loc["culture-general suppressed", "measured"] == pytest.approx(measured)
    page = (done.path / "report.html").read_text()
    assert "Published and measured" in page and "65.960" in page
