"""The studies that tune: a whole run on the tiny model, its numbers, resuming, and scores taken from another run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from culnig.errors import UsageError
from culnig.evaluation import EvalResult
from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.cli import invoke
from tests.helpers.configs import write_config, write_items

pytestmark = pytest.mark.slow  # whole runs with several studies

ARMS = ["all", "top", "bottom", "protect"]


@pytest.fixture(scope="module")
def config_path(tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("config")
    path = write_config(folder, reference_dir)
    settings = yaml.safe_load(path.read_text())
    task = write_items(folder / "task.jsonl", "task", count=32)
    training = {"learning_rate": 0.003, "batch": 8, "accumulation": 1}
    settings |= {
        "studies": ["finetune", "restore"],
        "finetune": {"task": {"items": task}, "arms": ARMS, "share": 0.2, "training": training},
        "restore": {"task": {"items": settings["identify"]["neur"]["items"]}, "training": training},
        "random_controls": 1,
    }
    settings["test"] = [*settings["test"][:2], {"role": "task", "items": task}]
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def finished(config_path, tmp_path_factory):
    return run(load_config(config_path), tmp_path_factory.mktemp("runs") / "tiny")


def test_every_arm_is_measured(finished):
    table = pd.read_csv(finished.path / "tables" / "finetune-arms.csv").set_index("arm")
    assert list(table.index) == ["none", *ARMS]
    assert table.loc["top", "trainable"] == pytest.approx(0.2 * 541_184, rel=0.01)
    assert table.loc["bottom", "trainable"] == pytest.approx(0.2 * 541_184, rel=0.01)
    assert table.loc["protect", "trainable"] < table.loc["all", "trainable"]
    for arm in ARMS:
        accuracy = EvalResult.load(finished.path / "evals" / "test" / f"{arm}-0.parquet").accuracy
        assert table.loc[arm, "culture"] == pytest.approx(accuracy)
        assert table.loc[arm, "culture change"] == pytest.approx(accuracy - table.loc["none", "culture"])
        assert table.loc[arm, "culture low"] <= table.loc[arm, "culture change"] <= table.loc[arm, "culture high"]
    assert table.loc["all", "task change"] > 0.2  # its own training items: it has learnt them
    moved = pd.read_csv(finished.path / "tables" / "finetune-moved.csv").set_index(["arm", "what"])
    rows = "relative change of rows"
    assert moved.loc[("protect", rows), "set"] == 0 < moved.loc[("protect", rows), "random"]
    assert moved.loc[("bottom", rows), "set"] == 0 < moved.loc[("top", rows), "set"]
    only = pd.read_csv(finished.path / "tables" / "restore-moved.csv").set_index(["arm", "what"])
    assert only.loc[("only-culture", rows), "set"] > 0 == only.loc[("only-culture", rows), "random"]
    assert not list(finished.path.glob("tuned/*/model"))


def test_recommendation_is_one_sentence_and_in_the_report(finished):
    numbers = json.loads((finished.path / "results.json").read_text())
    claim = numbers["finetune"]["claim"]
    assert claim.startswith("Tun") or claim.startswith("No arm learnt")
    page = (finished.path / "report.html").read_text()
    assert claim[:40] in page and "Fine-tuning without losing culture" in page and page.count('class="plot"') >= 3
    assert "Adding culture with few neurons" in page


def test_recommendation_follows_the_numbers(finished):
    from culnig.studies.finetune import _recommendation

    table = pd.read_parquet(finished.path / "tables" / "finetune-arms.parquet")
    for column in ("task", "task low", "culture change"):
        table.loc[table["arm"].isin(ARMS), column] = 0.5
    table.loc[table["arm"] == "bottom", "culture change"] = 0.6
    table.loc[table["arm"] == "protect", ["task", "culture change"]] = [0.4, 0.9]  # kept most, but has not learnt
    assert _recommendation(finished, table, ARMS)[1] == "bottom"
    table["task low"] = -0.1
    assert _recommendation(finished, table, ARMS) == (
        "No arm learnt the task; more updates or a higher learning rate are needed before culture can be weighed.",
        None,
    )


def test_rows_chosen_on_other_items_and_random_rows_of_the_same_gradient(finished, config_path, tmp_path):
    from safetensors.numpy import load_file

    from culnig.data import read_items
    from culnig.studies.restore import GRADIENT, _question, others

    task = finished.config.restore.task
    settings = [
        "studies=[restore]",
        f"compute.scores_from={finished.path}",
        "restore.train_on=others",
        "restore.random_rows=[sites, gradient]",
        "restore.gradient_bins=3",
        "restore.gradient_batches=2",
        "identify.neur.limit_per_country=2",
    ]
    with pytest.raises(UsageError, match="scored neur with other"):
        run(load_config(config_path, settings), tmp_path / "scored-elsewhere")
    settings.remove(f"compute.scores_from={finished.path}")
    made = run(load_config(config_path, settings), tmp_path / "apart")
    chosen_on = {_question(item) for item in made.config.identify.neur.load(made.config.seed)}
    trained_on = {_question(item) for item in read_items(made.measured_path("restore") / "task.jsonl")}
    every = {_question(item) for item in task.load(made.config.seed)}
    assert trained_on and chosen_on and not trained_on & chosen_on and trained_on | chosen_on == every
    norms = load_file(made.measured_path("restore") / "gradients.safetensors")
    sets = {name: made.neurons(name) for name in ("culture-general", "rows-0", "gradient-rows-0")}
    places = {name: sorted((n.module, n.layer) for n in found) for name, found in sets.items()}
    assert places["culture-general"] == places["rows-0"] == places["gradient-rows-0"]
    assert not set(sets["culture-general"]) & set(sets["gradient-rows-0"])
    for module, layer in set(places["culture-general"]):  # as many rows of each third of the layer's norms
        row = norms[module][layer]
        third = np.argsort(np.argsort(row, kind="stable"), kind="stable") * 3 // len(row)
        held = [sorted(third[n.index] for n in sets[name] if (n.module, n.layer) == (module, layer)) for name in sets]
        assert held[0] == held[2]
    table = pd.read_parquet(made.path / "tables" / "restore-gradients.parquet").set_index("arm")
    assert list(table.index) == ["only-culture", "only-random", GRADIENT] and table.loc["only-culture", "ratio"] == 1
    arms = pd.read_parquet(made.path / "tables" / "restore-arms.parquet")
    assert list(arms["arm"]) == ["none", "only-culture", "only-random", GRADIENT]
    claim = json.loads((made.path / "results.json").read_text())["restore"]["claim"]
    assert "other than those the rows were chosen on" in claim and "with gradients of the same size" in claim
    with pytest.raises(UsageError, match="leaves no item to train on"):
        others(task.load(0), task.load(0))


def test_a_second_run_tunes_nothing_and_a_lost_result_is_made_again(finished, config_path):
    before = (finished.path / "results.json").read_text()
    stamps = {p: p.stat().st_mtime_ns for p in finished.path.glob("tuned/*/*")}
    run(load_config(config_path), finished.path)
    assert stamps == {p: p.stat().st_mtime_ns for p in stamps}
    lost = finished.path / "evals" / "test" / "top-0.parquet"
    rows = EvalResult.load(lost).rows
    lost.unlink()
    run(load_config(config_path), finished.path)
    assert EvalResult.load(lost).rows.equals(rows) and (finished.path / "results.json").read_text() == before


def test_scores_from_another_run(finished, config_path, tmp_path):
    settings = ["studies=[restore]", f"compute.scores_from={finished.path}"]
    taken = run(load_config(config_path, settings), tmp_path / "taken")
    for part in ("neur", "ctrl", "crc"):
        assert taken.scores_path(part).read_bytes() == finished.scores_path(part).read_bytes()
    with pytest.raises(
        UsageError, match="scored neur with other scoring and version of the scoring methods; leave"
    ):  # the seed draws the same items here
        run(load_config(config_path, [*settings, "seed=3", "scoring=culnig:sum"]), tmp_path / "other")


def test_seeds_are_averaged_row_by_row(finished, tmp_path):
    """A second seed, its results made from the first's: intervals are of the mean of both."""
    from culnig.run.directory import RunDirectory
    from culnig.studies._tuned import change_table, over_seeds

    two = RunDirectory(tmp_path / "two", finished.config.model_copy(update={"seeds": 2}))
    shutil.copytree(finished.path / "evals", two.path / "evals")
    first = EvalResult.load(two.path / "evals" / "test" / "top-0.parquet")
    wrong = first.rows.assign(correct=~first.rows["correct"].astype(bool))
    EvalResult(wrong, first.meta).save(two.path / "evals" / "test" / "top-1.parquet")
    assert set(over_seeds(two, "culture", "top").rows["correct"]) == {0.5}
    row = change_table(two, [("top", "none")], ["culture"]).iloc[0]
    assert row["a"] == 0.5 and row["difference"] == pytest.approx(0.5 - row["b"])


def test_seeds_are_added_to_a_finished_run(finished, config_path, tmp_path):
    settings = ["studies=[finetune,restore]", "finetune.arms=[top]", f"compute.scores_from={finished.path}"]
    run(load_config(config_path, settings), tmp_path / "out")
    stamp = (tmp_path / "out" / "evals" / "test" / "top-0.parquet").stat().st_mtime_ns
    more = run(load_config(config_path, [*settings, "seeds=2"]), tmp_path / "out")
    assert len(pd.read_parquet(more.path / "tables" / "finetune-seeds.parquet")) == 2
    assert len(pd.read_parquet(more.path / "tables" / "restore-seeds.parquet")) == 4
    assert stamp == (more.path / "evals" / "test" / "top-0.parquet").stat().st_mtime_ns
    with pytest.raises(UsageError, match=r"other settings \(fewer seeds\)"):
        run(load_config(config_path, settings), more.path)


def test_checkpoints_are_kept_if_wanted(finished, config_path, tmp_path):
    from transformers import AutoModelForCausalLM

    settings = ["studies=[finetune]", "keep_tuned=true", "finetune.arms=[top]"]
    kept = run(load_config(config_path, [*settings, f"compute.scores_from={finished.path}"]), tmp_path / "kept")
    model = AutoModelForCausalLM.from_pretrained(kept.path / "tuned" / "top-0" / "model")
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_seeds_are_for_studies_that_tune(config_path, tmp_path):
    with pytest.raises(UsageError, match="--seeds is for configs that tune models"):
        invoke("run", "quickstart", "--seeds", 3, "--out", tmp_path / "x")
