"""Culture-specific sets by layer, module and resample, and further analyses of one run, on the tiny model."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from culnig.errors import UsageError
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.studies.culture_specific import set_names
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow  # a whole run with several studies

SETTINGS = {
    "scoring": "culnig",
    "blocks": 6,
    "block_groups": True,
    "random_controls": 1,
    "guards": {"text": None, "conditions": "main"},
    "modules": {"random_controls": 1, "specific": True},
    "stability": {"resamples": 4, "halves": 2, "budget": 0.05},
    "studies": ["culture_general", "culture_specific", "layers", "modules", "stability"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("analyses")
    path = write_config(folder, reference_dir)
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | SETTINGS))
    return run(load_config(path), folder / "run")


def table(run_directory, name):
    return pd.read_parquet(run_directory.path / "tables" / f"{name}.parquet")


def test_layers_of_country_sets_add_up(finished):
    rows = table(finished, "layers-specific").set_index("country")
    sizes = {name.removeprefix("specific-"): len(finished.neurons(name)) for name in set_names(finished)}
    assert rows["neurons"].drop("all countries").to_dict() == sizes
    assert rows.loc["all countries", "neurons"] == sum(sizes.values())
    thirds = rows[["first_third", "middle_third", "last_third"]].sum(axis=1)
    modules = rows[[column for column in rows if "proj" in column]].sum(axis=1)
    assert thirds.to_numpy() == pytest.approx(1) and modules.to_numpy() == pytest.approx(1)
    assert table(finished, "layers-specific-sites")["neurons"].sum() == sum(sizes.values())


def test_parts_of_country_sets_make_the_whole(finished):
    rows = table(finished, "modules-specific").set_index("country")
    for name in set_names(finished):
        whole, country = finished.neurons(name), name.removeprefix("specific-")
        mlp, attention = (finished.neurons(f"only-{part}-{name}") for part in ("mlp", "attention"))
        assert (mlp | attention) == whole and not len(mlp & attention)
        assert list(rows.loc[country, ["neurons in mlp", "neurons in attention"]]) == [len(mlp), len(attention)]
    drops = table(finished, "specific-drop-log-odds").set_index("set")
    country = drops.index[0]
    assert rows.loc[country, "own drop, whole"] == pytest.approx(drops.loc[country, country])
    tests = table(finished, "modules-specific-own-country").set_index("part")
    own = table(finished, "specific-own-country").set_index("metric")
    assert tests.loc["whole", "effect"] == pytest.approx(own.loc["log_odds", "effect"])


def test_country_sets_are_resampled(finished):
    rows = table(finished, "stability-specific")
    assert set(rows["kind"]) == {"bootstrap", "half"} and rows["jaccard"].between(0, 1).all()
    sizes = rows.drop_duplicates("country").set_index("country")["neurons"]
    assert all(sizes[name.removeprefix("specific-")] == len(finished.neurons(name)) for name in set_names(finished))
    assert "culture-specific sets" in (finished.path / "report.html").read_text().lower()
    json.loads((finished.path / "results.json").read_text())


def test_blocks_by_country_need_blocks(tmp_path, reference_dir):
    path = write_config(tmp_path, reference_dir)
    with pytest.raises(UsageError, match="set blocks"):
        load_config(path, ["block_groups=true"])
