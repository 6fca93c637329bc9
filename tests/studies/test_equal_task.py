"""Fine-tuning arms: several learning rates, kinds of modules, and the comparison at equal task accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from pydantic import ValidationError

from culnig.data import write_items as save_items
from culnig.errors import UsageError
from culnig.finetune import manifest, tune
from culnig.progress import Silent
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.studies._equal_task import crossing
from culnig.studies.finetune import FinetuneSettings, FinetuneStudy, _pairs
from tests.helpers import tiny_models
from tests.helpers.configs import write_config, write_items
from tests.helpers.tuning import config, weights


def test_where_a_path_reaches_a_level():
    task = np.array([[0.4, 0.5, 0.9], [0.4, 0.8, 0.6], [0.7, 0.8, 0.9], [0.2, 0.3, 0.3]])
    culture = np.array([[0.5, 0.4, 0.2], [0.5, 0.3, 0.1], [0.5, 0.4, 0.3], [0.5, 0.4, 0.1]])
    found = crossing(task, culture, np.full(4, 0.6))
    # Between points; before a later fall; at once; and never, which ends at its best point.
    assert found.place == pytest.approx([1.25, 0.5, 0.0, 1.0]) and found.value == pytest.approx([0.35, 0.4, 0.5, 0.4])


def test_variants_and_their_pairs():
    one = FinetuneSettings(arms=["top", "bottom"])
    assert [v.label for v in one.variants] == ["top", "bottom"]  # names of earlier runs
    two = FinetuneSettings(arms=["dense-gates", "sparse-gates", "all"], learning_rates=[3e-5, 1e-4])
    assert [v.label for v in two.variants][::3] == ["dense-gates-lr3e-05", "dense-gates-lr0.0001"]
    assert _pairs(two.variants) == [(f"dense-gates-lr{r:g}", f"sparse-gates-lr{r:g}") for r in (3e-5, 1e-4)]
    assert two.part(0.5).epochs == 0.5 and two.part(1) is two.training
    assert (
        one.model_copy(update={"training": one.training.model_copy(update={"max_steps": 9})}).part(0.5).max_steps == 4
    )
    for wrong in ({"along": [0.5, 0.25]}, {"along": [1.0]}, {"learning_rates": [1e-4, 1e-4]}, {"learning_rates": [0]}):
        with pytest.raises(ValidationError, match=r"shares of the training|learning rates"):
            FinetuneSettings(**wrong)


def test_parts_of_a_training_need_a_constant_rate():
    made = load_config("paper-finetune", ["finetune.training.schedule=linear"])
    with pytest.raises(UsageError, match=r"finetune\.along compares beginnings .* use constant"):
        FinetuneStudy().check(made)
    FinetuneStudy().check(load_config("paper-finetune"))


def test_a_task_is_tested_where_it_is_taught():
    """A run that tunes on QNLI and calls another benchmark the task would compare arms at the wrong accuracy."""
    with pytest.raises(
        UsageError, match=r"trains on qnli_train, but .* is entail:test; set test\.0\.items to a test set of qnli"
    ):
        FinetuneStudy().check(load_config("paper-finetune", ["finetune.task.items=qnli_train"]))
    FinetuneStudy().check(load_config("paper-finetune", ["finetune.task.items=qnli_train", "test.0.items=qnli"]))
    FinetuneStudy().check(load_config("paper-finetune", ["finetune.task.items=my.jsonl"]))  # a file of one's own
    for name in ("qnli", "mrpc", "blend", "commonsenseqa"):
        FinetuneStudy().check(load_config(f"paper-finetune-{name}"))


def test_a_part_of_a_training_is_its_beginning(word_items, tmp_path):
    base, task = tmp_path / "base", tmp_path / "task.jsonl"
    tiny_models.build("llama").save_pretrained(base)
    tiny_models.tokenizer().save_pretrained(base)
    save_items(word_items, task)
    whole = config(base, str(task), epochs=1)
    half = whole.model_copy(update={"training": FinetuneSettings(training=whole.training).part(0.5)})
    tables = []
    for name, each in (("whole", whole), ("half", half), ("stopped", None)):
        if each is None:  # the whole training, stopped where the half one ends
            steps = whole.training.model_copy(update={"max_steps": len(tables[1])})
            each = whole.model_copy(update={"training": steps})
        tune(each, tmp_path / name)
        tables.append(pd.read_parquet(tmp_path / name / "loss.parquet"))
    assert 1 < len(tables[1]) < len(tables[0])
    assert tables[1]["loss"].tolist() == tables[0]["loss"].tolist()[: len(tables[1])]
    a, b = (weights(tmp_path / name / "model") for name in ("half", "stopped"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert manifest(tmp_path / "half")["updates"] == len(tables[1])


@pytest.mark.parametrize("update", [{}, {"what": "lora", "modules": ".*q_proj"}], ids=["all", "lora"])
def test_a_longer_training_goes_on_from_a_shorter_one(update, word_items, tmp_path):
    """Its updates are not done again, and its weights, losses and record are those of a training in one go."""
    base, task, said = tmp_path / "base", tmp_path / "task.jsonl", []
    tiny_models.build("llama").save_pretrained(base)
    tiny_models.tokenizer().save_pretrained(base)
    save_items(word_items, task)
    whole = config(base, str(task), update, epochs=2)
    shorter = whole.model_copy(update={"training": FinetuneSettings(training=whole.training).part(0.75)})
    tune(whole, tmp_path / "whole")
    tune(shorter, tmp_path / "alone")
    tune(shorter, tmp_path / "short", to_go_on=True)
    reporter = Silent()
    reporter.say = said.append
    tune(whole, tmp_path / "long", after=tmp_path / "short", reporter=reporter)
    updates = manifest(tmp_path / "short")["updates"]
    assert said == [f"going on from update {updates}"]
    for one, other in (("whole", "long"), ("alone", "short")):
        a, b = (weights(tmp_path / name / "model") for name in (one, other))
        assert all(torch.equal(a[name], b[name]) for name in a)
        losses = [pd.read_parquet(tmp_path / name / "loss.parquet") for name in (one, other)]
        assert losses[0].equals(losses[1])
    # A state that is no beginning of this training is left alone: the Trainer would add an update to it.
    tune(shorter, tmp_path / "again", after=tmp_path / "short", reporter=reporter)
    assert len(said) == 1 and manifest(tmp_path / "again")["updates"] == updates


@pytest.mark.slow
def test_a_run_compares_arms_at_equal_task_accuracy(tmp_path, reference_dir):
    path = write_config(tmp_path, reference_dir)
    settings = yaml.safe_load(path.read_text())
    task = write_items(tmp_path / "task.jsonl", "task", count=32)
    settings |= {"studies": ["finetune"], "random_controls": 1, "seeds": 2, "guards": {"text": None}}
    settings["finetune"] = {
        "task": {"items": task},
        "arms": ["dense-mlp", "sparse-mlp"],
        "share": 0.2271,
        "learning_rates": [0.001, 0.003],
        "along": [0.5],
        "training": {"batch": 8, "accumulation": 1},
    }
    settings["test"] = [*settings["test"][:2], {"role": "task", "items": task}]
    path.write_text(yaml.safe_dump(settings))
    done = run(load_config(path), tmp_path / "run")
    table = pd.read_parquet(done.path / "tables" / "finetune-equal-task.parquet").set_index("arm")
    arms = [f"{arm}-lr{rate}" for rate in ("0.001", "0.003") for arm in ("dense-mlp", "sparse-mlp")]
    assert list(table.index) == arms and table["task"].nunique() == 1
    assert table["share of training"].between(0, 1).all()
    assert (table["culture low"] <= table["culture change"]).all()
    assert (table["culture change"] <= table["culture high"]).all()
    pairs = pd.read_parquet(done.path / "tables" / "finetune-equal-task-differences.parquet")
    assert set(pairs["pair"]) == {f"{arms[0]} - {arms[1]}", f"{arms[2]} - {arms[3]}"} and set(pairs["role"]) == {
        "culture",
        "ability",
    }
    ends = pd.read_parquet(done.path / "tables" / "finetune-arms.parquet").set_index("arm")
    assert table["task"].iloc[0] <= ends.loc[arms, "task"].max() + 1e-9
    chosen = {arm: manifest(done.tuned_path(f"{arm}-0"))["update"]["modules"] for arm in arms[:2]}
    assert chosen[arms[0]]["neurons"] >= chosen[arms[1]]["neurons"]
    assert {name.split(".")[3] for arm in chosen.values() for name in arm["target_modules"]} == {"mlp"}
    assert "At equal task accuracy" in (done.path / "report.html").read_text()
