"""Our items as lm-eval tasks, and lm-eval's samples as our results: equal item by item."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml

import culnig
from culnig import Neuron, NeuronSet
from culnig.errors import UsageError
from culnig.integrations.lm_eval import check_arguments
from culnig.integrations.lm_eval_tasks import write_tasks
from culnig.neurons import GATE
from culnig.prompts import PromptPolicy
from tests.helpers.cli import invoke, use
from tests.helpers.configs import write_items

CF, MCF = PromptPolicy(formulation="cf", calibration="pmi"), PromptPolicy(formulation="mcf", chat_template="off")
CHOSEN = {Neuron(GATE, layer, index): 1.0 for layer in (1, 2) for index in range(80)}


def jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_task_holds_the_prompts_and_the_options(tmp_path):
    items = culnig.load_items("everyday:test", limit_per_country=1, draws=1)[:3]
    assert write_tasks(items, CF, tmp_path, name="e") == {"e_cf": 3, "e_cf_prior": 3}
    task, rows, priors = (
        yaml.safe_load((tmp_path / "e_cf.yaml").read_text()),
        jsonl(tmp_path / "e_cf.jsonl"),
        jsonl(tmp_path / "e_cf_prior.jsonl"),
    )
    assert task["output_type"] == "multiple_choice" and task["target_delimiter"] == " "
    assert rows[0]["query"] == f"Question: {items[0].question}\nAnswer:" and priors[0]["query"] == "Question:\nAnswer:"
    assert [row["choices"] for row in rows] == [list(item.options) for item in items]
    assert write_tasks(items, MCF, tmp_path, name="e") == {"e_mcf": 3}
    assert jsonl(tmp_path / "e_mcf.jsonl")[0]["choices"] == ["A", "B", "C", "D"]


def test_short_answers_are_refused(tmp_path, capsys, monkeypatch):
    code, _, err = use(capsys, monkeypatch, "tasks", "--items", "everyday:test", "--out", tmp_path / "t")
    assert code == 2 and "give cf or mcf" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "x", "--use_cache", "y"], "untouched model's answers"),
        (["--tasks=x", "--model_args=pretrained=y"], "culnig's own options"),
        (["--tasks", "x", "--wandb_args", "y"], "is not taken"),
        (["--limit", "5"], "which tasks"),
    ],
)
def test_arguments_that_would_mislead_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        check_arguments(arguments)
    check_arguments(["--tasks", "x", "--limit", "0.5", "--num_fewshot=0"])


def test_a_missing_lm_eval_is_one_line(tmp_path, reference_dir, tiny, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    path = tmp_path / "g.json"
    NeuronSet(CHOSEN, model_name=tiny.name).save(path)
    args = ["lm-eval", "-m", reference_dir, "--neurons", path, "--out", tmp_path / "o", "--json", "--", "--tasks", "x"]
    code, _, err = use(capsys, monkeypatch, *args)
    assert code == 2 and "pip install 'culnig[lm-eval]'" in err and err.count("\n") == 1


def compared(tmp_path, model, items, neurons, formulation):
    """Run lm-eval by our command on our task; return the folder and the comparison's rows by metric."""
    pytest.importorskip("lm_eval")
    common = ["--items", items, "--formulation", formulation, "--chat-template", "off"]
    written = json.loads(invoke("tasks", *common, "--name", "ours", "--out", tmp_path / "tasks", "--json").stdout)
    args = ["--include_path", tmp_path / "tasks", "--tasks", ",".join(written["tasks"]), "--batch_size", "4"]
    out = tmp_path / "effect"
    invoke("lm-eval", "-m", model, "--neurons", neurons, "--out", out, "--json", "--", *args)
    return out, pd.read_parquet(out / "comparison.parquet").set_index("metric")


def check(tmp_path, model, items, neurons, formulation, rules):
    """Compare lm-eval's samples with `culnig eval`, item by item, for the rules that it can express."""
    out, table = compared(tmp_path, model, items, neurons, formulation)
    ours = {}
    for state, change in (("untouched", []), ("suppress", ["--neurons", neurons])):
        for metric, calibration in rules.items():
            path = tmp_path / "ours.parquet"
            args = ["-m", model, "--items", items, "--formulation", formulation, "--chat-template", "off", "--json"]
            invoke("eval", *args, "--calibration", calibration, *change, "--out", path)
            mine, theirs = (
                culnig.EvalResult.load(path),
                culnig.EvalResult.load(out / state / f"ours_{formulation}-{metric}.parquet"),
            )
            assert list(mine.rows["id"]) == list(theirs.rows["id"])
            for a, b in zip(mine.rows["option_logprobs"], theirs.rows["option_logprobs"], strict=True):
                np.testing.assert_allclose(a, b, atol=2e-3)
            assert list(mine.rows["correct"]) == list(theirs.rows["correct"]), (state, metric)
            ours[state, metric] = mine
    for metric in rules:
        change = culnig.compare(ours["suppress", metric], ours["untouched", metric])
        row = table.loc[metric]
        assert (change.a, change.b, change.difference) == pytest.approx(
            (row["changed"], row["untouched"], row["difference"])
        )
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formulation", "rules"),
    [
        ("cf", {"correct": "none", "correct, length": "length", "correct, pmi": "pmi"}),
        ("mcf", {"correct": "none"}),
    ],
)
def test_equal_on_the_tiny_model(tmp_path, tiny, reference_dir, formulation, rules):
    NeuronSet(CHOSEN, model_name=tiny.name, provenance={"model_hash": tiny.fingerprint}).save(tmp_path / "g.json")
    items = write_items(tmp_path / "words.jsonl", "test", 16)
    out = check(tmp_path, reference_dir, items, tmp_path / "g.json", formulation, rules)
    native = {
        row["id"]: row
        for row in culnig.EvalResult.load(out / "suppress" / f"ours_{formulation}-correct.parquet").rows.to_dict(
            "records"
        )
    }
    exact = {"cf": ("acc", "correct"), "mcf": ("exact_match", "correct")}[formulation]
    for sample in jsonl(out / "suppress" / f"ours_{formulation}.jsonl"):
        assert bool(sample[exact[0]]) == bool(native[sample["doc"]["id"]][exact[1]])


@pytest.mark.slow
@pytest.mark.model
def test_equal_on_the_embedded_model(tmp_path, smol):
    chosen = {Neuron(GATE, layer, index): 1.0 for layer in range(2, 12) for index in range(0, 1536, 48)}
    NeuronSet(chosen, model_name=smol.name, provenance={"model_hash": smol.fingerprint}).save(tmp_path / "g.json")
    culnig.write_items(
        culnig.load_items("everyday:test", countries=["China", "USA", "Iran"], limit_per_country=2, draws=1),
        tmp_path / "six.jsonl",
    )
    check(
        tmp_path,
        "smollm2-135m",
        tmp_path / "six.jsonl",
        tmp_path / "g.json",
        "cf",
        {"correct": "none", "correct, pmi": "pmi"},
    )


@pytest.mark.slow
def test_a_task_of_others_is_compared_metric_by_metric(tmp_path, tiny, reference_dir):
    """Accuracy is a number for each sample and is compared; a correlation over all samples is not, and is named."""
    pytest.importorskip("lm_eval")
    NeuronSet(CHOSEN, model_name=tiny.name).save(tmp_path / "g.json")
    items = write_items(tmp_path / "words.jsonl", "test", 12)
    invoke("tasks", "--items", items, "--formulation", "cf", "--name", "x", "--out", tmp_path, "--json")
    rows = [{k: v for k, v in row.items() if k != "culnig_task"} for row in jsonl(tmp_path / "x_cf.jsonl")]
    (tmp_path / "theirs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = yaml.safe_load((tmp_path / "x_cf.yaml").read_text()) | {"task": "theirs"}
    task["dataset_kwargs"] = {"data_files": {"test": str(tmp_path / "theirs.jsonl")}}
    task["metric_list"] = [{"metric": "acc"}, {"metric": "mcc"}]
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(task))
    args = [
        "lm-eval",
        "-m",
        reference_dir,
        "--neurons",
        tmp_path / "g.json",
        "--out",
        tmp_path / "out",
        "--random-sets",
        "2",
    ]
    done = json.loads(invoke(*args, "--json", "--", "--tasks", tmp_path / "theirs.yaml").stdout)
    (row,) = done["comparison"]
    assert (row["metric"], row["samples"], row["draws"]) == ("acc", 12, 2) and done["not_compared"] == ["theirs: mcc"]
    samples = {state: jsonl(tmp_path / "out" / state / "theirs.jsonl") for state in ("untouched", "suppress")}
    mean = {state: np.mean([sample["acc"] for sample in each]) for state, each in samples.items()}
    assert row["difference"] == pytest.approx(mean["suppress"] - mean["untouched"])
