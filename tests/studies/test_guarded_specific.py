"""The study `guarded_specific`: a search for each country, in which all other countries are protected."""

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
    folder = tmp_path_factory.mktemp("guarded-specific")
    study = {
        "studies": ["guarded_specific"],
        "guarded_specific": {
            "harm": {"perplexity": 5.0, "others": 1.0},
            "max_neurons": 4,
            "step": 2,
            "items": 12,
            "texts": 4,
            "own_texts": str(folder / "texts.txt"),
        },
    }
    return write_guarded_config(folder, reference_dir, study)


@pytest.fixture(scope="module")
def finished(config):
    return run(load_config(config), config.parent / "run")


def test_every_target_country_has_a_set_that_protected_the_others(finished):
    sizes = finished.results["guarded_specific"]["sizes"]
    assert len(sizes) > 1
    for country, size in sizes.items():
        chosen = NeuronSet.load(finished.path / "neurons" / f"guarded-specific-{country}.json")
        assert len(chosen) == size
        assert set(chosen.provenance["data"]) == {"culture", "others"}


def test_the_drops_are_those_of_the_saved_rows(finished):
    table = pd.DataFrame(finished.results["guarded_specific"]["sets"]).set_index("country")
    country = next(name for name, row in table.iterrows() if row["neurons"])
    untouched = finished.result("culture", "none").rows.set_index(["id", "variant", "wording"])["log_odds"]
    rows = finished.result("culture", f"guarded-specific-{country}").rows.set_index(["id", "variant", "wording"])
    drops = (untouched.loc[rows.index] - rows["log_odds"]).groupby(rows["country"]).mean()
    assert table.loc[country, "own drop, nats"] == pytest.approx(drops[country])
    assert table.loc[country, "mean drop elsewhere, nats"] == pytest.approx(drops.drop(country).mean())


def test_wrong_settings_are_one_line(config):
    with pytest.raises(UsageError, match=r"guarded_specific\.harm: nothing called school"):
        run(load_config(config, ["guarded_specific.harm.school=0.01"]), config.parent / "other")
    with pytest.raises(UsageError, match=r"guarded_specific\.countries: identify\.neur has no items of Atlantis"):
        run(load_config(config, ["guarded_specific.countries=[Atlantis]"]), config.parent / "atlantis")
    test = load_config(config).test[1].items
    with pytest.raises(UsageError, match=r"guarded_specific\.protect\.skills is a test set"):
        run(load_config(config, [f"guarded_specific.protect={{skills: {{items: {test}}}}}"]), config.parent / "tested")
    with pytest.raises(UsageError, match=r"guarded_specific\.operation: mean"):
        run(load_config(config, ["guarded_specific.operation=mean"]), config.parent / "mean")
