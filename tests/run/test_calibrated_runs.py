"""Runs with a calibration: offsets are kept, rows can be judged again, and facts are matched to culture."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from culnig.errors import UsageError
from culnig.evaluation import EvalResult
from culnig.evaluation.matched import matched_drop
from culnig.passes import calibration
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.statistics.matching import CALIPER, nearest_pairs
from tests.helpers.configs import write_config, write_items
from tests.helpers.results import made


@pytest.fixture(scope="module")
def config_path(tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("config")
    path = write_config(folder, reference_dir)
    settings = yaml.safe_load(path.read_text())
    settings["test"].append({"role": "facts", "items": write_items(folder / "facts.jsonl", "facts")})
    settings |= {"studies": ["culture_general"], "guards": {"text": None, "reading": "main"}}
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def by_kind(config_path, tmp_path_factory):
    """A run of each calibration."""
    folder = tmp_path_factory.mktemp("runs")
    asked = {k: [f"prompts.calibration={k}", f"prompts.score_calibration={k}"] for k in ("none", "pmi")}
    return {k: run(load_config(config_path, settings), folder / k) for k, settings in asked.items()}


@pytest.mark.slow
def test_rows_say_how_they_were_judged(by_kind, config_path):
    prompts = load_config(config_path).prompts
    assert (prompts.policy("cf").calibration, prompts.scoring_policy("cf").calibration) == ("pmi", "none")
    assert not by_kind["none"].offsets_path.exists() and by_kind["pmi"].offsets_path.is_file()
    for kind, directory in by_kind.items():
        result = directory.result("culture", "culture-general")
        assert result.calibration == kind and set(result.rows["calibration"]) == {kind}
        scores = directory.scores("neur").meta
        assert scores["prompts"]["calibration"] == kind
    untouched = [directory.result("culture", "none").rows for directory in by_kind.values()]
    assert [*map(list, untouched[0]["option_logprobs"])] == [*map(list, untouched[1]["option_logprobs"])]


@pytest.mark.slow
def test_offsets_are_taken_up_again(by_kind, monkeypatch):
    directory = by_kind["pmi"]
    for path in (directory.path / "evals" / "test").glob("*.parquet"):
        path.unlink()
    monkeypatch.setattr(calibration, "_measured", None)  # would fail if it were called
    again = run(directory.config, directory.path)
    assert again.result("culture", "none").has_offsets("pmi")


@pytest.mark.slow
def test_another_calibration_is_another_run(by_kind):
    directory = by_kind["none"]
    with pytest.raises(UsageError, match="other settings \\(prompts\\)"):
        run(by_kind["pmi"].config, directory.path)


@pytest.mark.slow
def test_scores_of_another_calibration_are_refused(by_kind, tmp_path):
    config = by_kind["pmi"].config
    compute = config.compute.model_copy(update={"scores_from": str(by_kind["none"].path)})
    with pytest.raises(UsageError, match="prompt"):
        run(config.model_copy(update={"compute": compute}), tmp_path / "run")


@pytest.mark.slow
def test_a_finished_run_is_judged_again_by_the_study(by_kind, config_path):
    """Added to the run without calibration, the study gives the figures of the run with pmi, on the same rows."""
    plain = load_config(
        config_path,
        ["prompts.calibration=none", "prompts.score_calibration=none", "studies=[culture_general, calibration]"],
    )
    grown = run(plain, by_kind["none"].path)
    table = pd.read_parquet(grown.path / "tables" / "calibration-accuracy.parquet").set_index(["role", "calibration"])
    for kind, directory in by_kind.items():
        result = directory.result("culture", "none")
        assert table.loc[("culture", kind), "accuracy"] == pytest.approx(result.accuracy)
        assert table.loc[("culture", kind), "margin"] == pytest.approx(result.rows["margin"].mean(), abs=1e-4)
    assert ("culture", "length") in table.index
    countries = pd.read_parquet(grown.path / "tables" / "calibration-countries.parquet")
    assert set(countries["country"]) == {"China", "Iran", "Spain", "Mexico"} and "prior alone" in countries


@pytest.mark.slow
def test_facts_stand_beside_culture(by_kind):
    directory = by_kind["pmi"]
    table = pd.read_parquet(directory.path / "tables" / "facts.parquet")
    row = table[
        (table["condition"] == "culture-general") & (table["metric"] == "correct") & (table["kind"] == "all")
    ].iloc[0]
    pairs = [
        (directory.result(role, "none"), [directory.result(role, "culture-general")]) for role in ("culture", "facts")
    ]
    assert row["difference"] == pytest.approx(matched_drop(*pairs).difference)
    assert row["pairs"] + row["unmatched"] == len(pairs[0][0])
    assert "random sets (mean)" in set(table["condition"])


def test_pairs_are_near_and_used_once():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 200), rng.normal(0.5, 1, 300)
    first, second = nearest_pairs(a, b)
    assert len(set(first)) == len(first) == len(set(second)) > 150
    assert np.abs(a[first] - b[second]).max() <= CALIPER * np.std([*a, *b])
    assert abs(a[first].mean() - b[second].mean()) < 0.05 < abs(a.mean() - b.mean())
    for one, two in (([], [1.0]), ([1.0], [])):
        assert all(len(found) == 0 for found in nearest_pairs(np.array(one), np.array(two)))


def test_a_drop_of_recall_alone_is_no_loss_of_culture():
    """Culture items begin harder than facts; both lose as their margin says, so that matched items lose alike."""
    rng = np.random.default_rng(1)

    def results(mean, lost):
        lead = rng.normal(mean, 1, 400)
        fallen = lead - lost + rng.normal(0, 0.5, 400)
        found = []
        for values in (lead, fallen):
            result = made((values > 0).astype(float))
            result.rows["gold"] = 0
            result.rows["option_logprobs"] = [[value, 0.0, -1.0] for value in values]
            found.append(result)
        return found[0], found[1:]

    alike = matched_drop(results(0.2, 0.5), results(0.8, 0.5))
    more = matched_drop(results(0.2, 1.0), results(0.8, 0.2))
    assert alike.low < 0 < alike.high
    assert more.low > 0.1 and abs(more.untouched_culture - more.untouched_facts) < 0.02


@pytest.mark.slow
def test_results_without_offsets_still_give_a_report(by_kind):
    assert isinstance(by_kind["none"].result("culture", "none"), EvalResult)
    table = pd.read_parquet(by_kind["none"].path / "tables" / "culture-general-by-country.parquet")
    assert "prior alone" not in table or table["prior alone"].isna().all()
