"""Culture-specific sets by layer, module and resample, and further analyses of one run, on the tiny model."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from culnig.data import Item, load_languages
from culnig.errors import UsageError
from culnig.neurons import ATTENTION_POOL, GATE, MLP_POOL, Neuron
from culnig.run.checks import check_config
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.studies.culture_specific import set_names
from culnig.studies.instance import aligned
from tests.helpers.configs import WORDS, write_config

pytestmark = pytest.mark.slow  # a whole run with several studies

SETTINGS = {
    "scoring": "culnig,culnig:unweighted,culnig:skip_first",
    "blocks": 6,
    "block_groups": True,
    "random_controls": 1,
    "guards": {"text": None, "conditions": "main"},
    "modules": {"random_controls": 1, "specific": True},
    "stability": {"resamples": 4, "halves": 2, "budget": 0.05},
    "thresholds": {"t": [0.01], "r": [0.01], "specific_t": [0.05], "specific_z": [0.0]},
    "studies": [
        "culture_general",
        "culture_specific",
        "layers",
        "modules",
        "stability",
        "thresholds",
        "ablations",
        "instance",
        "language_neurons",
    ],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("analyses")
    path = write_config(folder, reference_dir)
    config = yaml.safe_load(path.read_text())
    rows = [json.loads(line) for line in (folder / "neur.jsonl").read_text().splitlines()]
    controls = [json.dumps(row | {"question": "", "control": True}) for row in rows]
    (folder / "ctrl.jsonl").write_text("\n".join(controls))
    texts = folder / "texts"
    texts.mkdir()
    rng = random.Random(0)
    for number, language in enumerate(("one", "two", "three")):  # each language has its own words
        words = WORDS[100 * number : 100 * number + 100]
        (texts / f"{language}.txt").write_text("\n\n".join(" ".join(rng.sample(words, 12)) for _ in range(6)))
    config |= SETTINGS | {"language_neurons": {"texts": str(texts), "percentile": 80}}
    path.write_text(yaml.safe_dump(config))
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
    own = table(finished, "specific-own-country").query("sets == 'own'").set_index("metric")
    assert tests.loc["whole", "effect"] == pytest.approx(own.loc["log_odds", "effect"])


def test_country_sets_are_resampled(finished):
    rows = table(finished, "stability-specific")
    assert set(rows["kind"]) == {"bootstrap", "half"} and rows["jaccard"].between(0, 1).all()
    sizes = rows.drop_duplicates("country").set_index("country")["neurons"]
    assert all(sizes[name.removeprefix("specific-")] == len(finished.neurons(name)) for name in set_names(finished))
    assert "culture-specific sets" in (finished.path / "report.html").read_text().lower()
    json.loads((finished.path / "results.json").read_text())


def test_settings_of_country_sets(finished):
    """Every setting has a row of effects, and the run's own row is the study's of culture-specific sets."""
    rows = table(finished, "thresholds-specific").set_index("setting")
    assert list(rows.index) == ["the run's own", "t=0.05", "z=0"]
    assert list(rows["t"]) == [0.01, 0.05, 0.01] and list(rows["z"]) == [0.2, 0.2, 0.0]
    own = table(finished, "specific-sets").set_index("country")
    mean = own["own drop (log-odds)"].mean(), own["mean drop elsewhere"].mean()
    assert tuple(rows.loc["the run's own", ["own drop", "others' drop"]]) == pytest.approx(mean)
    assert rows.loc["t=0.05", "mean neurons"] > rows.loc["the run's own", "mean neurons"]
    countries = table(finished, "thresholds-specific-countries")
    assert countries[countries["setting"] == "z=0"]["own"].mean() == pytest.approx(rows.loc["z=0", "own drop"])


def test_ablated_sets_have_the_full_sets_size(finished):
    whole = finished.neurons("culture-general")
    rows = table(finished, "ablations").set_index("without")
    assert list(rows.index) == ["control", "country-reading", "weighting", "first-token"]
    for part, row in rows.iterrows():
        chosen = finished.neurons(f"without-{part}")
        for pool in (MLP_POOL, ATTENTION_POOL):
            assert sum(n.module in pool for n in chosen) == sum(n.module in pool for n in whole)
        assert row["jaccard"] == pytest.approx(chosen.jaccard(whole))
    layers = table(finished, "ablations-layers").set_index("layer")
    assert layers["neurons"].sum() == len(whole)
    for part, row in rows.iterrows():
        assert layers[f"not without {part}"].sum() == len(whole) - row["shared"]
    changes = table(finished, "ablations-changes")
    assert set(changes["against"]) == {"untouched", "full rule"} and set(changes["role"]) == {"culture", "ability"}
    page = (finished.path / "report.html").read_text()
    assert "Not ablated: maximum (add culnig:sum to the run&#39;s scoring)" in page


def test_contrasted_scores_add_up_to_the_difference(finished):
    """The mean over items of the score minus its own control's is D, by which the neurons were chosen."""
    rows, scores = table(finished, "instance"), finished.neurons("culture-general").scores
    for row in rows.itertuples():
        chosen_by = scores[Neuron(row.module, row.layer, row.neuron)]
        assert rows.loc[row.Index, "contrasted mean"] == pytest.approx(chosen_by, rel=1e-3, abs=1e-8)
    numbers = finished.results["instance"]
    assert numbers["own_control"] and numbers["published_share_percent"] == 29
    assert 0 < numbers["mean_share_contrasted"] < 1


def test_controls_that_do_not_match():
    items = [Item("a", "b", "X", "q", ["x", "y"], 0), Item("b", "b", "X", "q", ["x", "y"], 0)]
    assert aligned(items, [replace(item, question="", control=True) for item in items])
    assert not aligned(items, items[::-1]) and not aligned(items, items[:1])


def test_language_neurons_are_as_many(finished):
    chosen, whole = finished.neurons("language-neurons"), finished.neurons("culture-general")
    assert len(chosen) == len(whole) and {neuron.module for neuron in chosen} == {GATE}
    languages = table(finished, "language-neurons").set_index("language")
    assert list(languages.index) == ["one", "three", "two"] and (languages["texts"] == 6).all()
    assert (languages["tokens"] >= 6 * 12).all() and languages["neurons"].sum() >= len(chosen)
    rows = table(finished, "language-neurons-overlap").set_index("set")
    assert rows.loc["culture-general", "jaccard"] == pytest.approx(whole.jaccard(chosen))
    assert set(rows.index) == {"culture-general", *set_names(finished)}
    assert set(table(finished, "language-neurons-changes")["against"]) == {"untouched", "culture-general"}


def test_texts_in_several_languages(tmp_path):
    texts = load_languages()
    assert len(texts) == 6 and {len(sentences) for sentences in texts.values()} == {8}
    (tmp_path / "one.txt").write_text("w1 w2")
    with pytest.raises(UsageError, match="two languages at least"):
        load_languages(tmp_path)


def test_missing_texts_end_the_run_before_a_model_is_loaded(tmp_path, reference_dir):
    path = write_config(tmp_path, reference_dir)
    settings = ["studies=[language_neurons]", f"language_neurons.texts={tmp_path / 'none'}"]
    with pytest.raises(UsageError, match=r"^language_neurons: .*two languages at least"):
        check_config(load_config(path, settings))


def test_blocks_by_country_need_blocks(tmp_path, reference_dir):
    path = write_config(tmp_path, reference_dir)
    with pytest.raises(UsageError, match="set blocks"):
        load_config(path, ["block_groups=true"])
