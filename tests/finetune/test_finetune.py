"""Fine-tuning: what may move moves, what must not keeps its bits, and an interrupted run ends like an unbroken one."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
import yaml

import culnig
from culnig import Neuron, NeuronSet
from culnig.data import write_items
from culnig.errors import CulnigError, UsageError
from culnig.finetune import manifest, tune
from culnig.finetune.examples import IGNORED, answer_positions, collate, examples
from culnig.finetune.settings import load_finetune_config
from culnig.prompts import PromptPolicy
from tests.helpers import tiny_models
from tests.helpers.cli import invoke
from tests.helpers.tuning import CHOSEN, by_row, changed, config, rows_of, weights


@pytest.fixture(scope="module")
def task(tmp_path_factory, word_items):
    path = tmp_path_factory.mktemp("task") / "task.jsonl"
    write_items(word_items, path)
    return str(path)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Family -> a saved tiny model, and the set beside it."""
    folders = {}
    for family in ("llama", "phi3", "gpt2", "mixtral"):
        folder = tmp_path_factory.mktemp(family)
        tiny_models.build(family).save_pretrained(folder)
        tiny_models.tokenizer().save_pretrained(folder)
        CHOSEN.save(folder / "set.json")
        folders[family] = folder
    return folders


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2"])
@pytest.mark.parametrize(("dtype", "mixed"), [("float32", "no"), ("float32", "bf16"), ("bfloat16", "no")])
def test_protected_rows_keep_their_bits(family, dtype, mixed, bases, task, tmp_path):
    base = bases[family]
    made = config(base, task, {"protect": str(base / "set.json")}, dtype, mixed_precision=mixed)
    moved = changed(base, tune(made, tmp_path / "out"), getattr(torch, dtype))
    kept = rows_of(base, family)
    for name, mask in moved.items():
        rows = by_row(name, mask, family)
        for row in range(len(rows)):
            if row in kept.get(name, ()):
                assert not rows[row], (name, row)
        if "wte" not in name and "embed" not in name and "bias" not in name:  # words that do not occur get decay alone
            assert rows.float().mean() > 0.5, name
    assert manifest(tmp_path / "out")["update"]["protected"] == len(CHOSEN)


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2"])
def test_only_changes_nothing_else(family, bases, task, tmp_path):
    base = bases[family]
    moved = changed(base, tune(config(base, task, {"only": str(base / "set.json")}), tmp_path / "out"))
    chosen = rows_of(base, family)
    for name, mask in moved.items():
        rows = {int(row) for row in by_row(name, mask, family).nonzero().flatten()}
        assert rows <= chosen.get(name, set()), name
        if "bias" not in name:  # GPT-2's key biases have no gradient
            assert rows == chosen.get(name, set()), name


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lora_merges_and_protects(family, dtype, bases, task, tmp_path):
    base = bases[family]
    update = {"what": "lora", "modules": r".*(gate|up|q|qkv)_proj", "protect": str(base / "set.json")}
    out = tune(config(base, task, update, dtype), tmp_path / "out")
    kept = rows_of(base, family)
    for name, mask in changed(base, out, getattr(torch, dtype)).items():
        rows = by_row(name, mask, family)
        if not any(part in name for part in ("gate", "up", "q_proj", "qkv")):
            assert not rows.any(), name
            continue
        assert not any(rows[row] for row in kept.get(name, ())), name
        assert rows.float().mean() > 0.5, name


def test_modules_alone_move(bases, task, tmp_path):
    base = bases["llama"]
    update = {"what": "modules", "modules": {"pick": "top", "share": 0.2, "neurons": str(base / "set.json")}}
    out = tune(config(base, task, update), tmp_path / "out")
    chosen = manifest(out)["update"]["modules"]["target_modules"]
    assert "model.layers.1.mlp.gate_proj" in chosen
    moved = {name for name, mask in changed(base, out).items() if mask.any()}
    assert moved == {f"{path}.weight" for path in chosen}


def test_stacked_experts(bases, task, tmp_path):
    base = bases["mixtral"]
    path = tmp_path / "experts.json"
    NeuronSet([Neuron("mlp.gate_proj", 1, 50), Neuron("mlp.up_proj", 1, 2)]).save(path)
    moved = changed(base, tune(config(base, task, {"only": str(path)}), tmp_path / "only"))
    where = {name: mask.any(-1).nonzero().tolist() for name, mask in moved.items() if mask.any()}
    # 48 gate rows and 48 up rows an expert: gate neuron 50 is row 2 of expert 1, up neuron 2 is row 50 of expert 0.
    assert where == {"model.layers.1.mlp.experts.gate_up_proj": [[0, 50], [1, 2]]}
    with pytest.raises(UsageError, match="stacked experts"):
        tune(config(base, task, {"what": "lora", "modules": r".*gate_up_proj"}), tmp_path / "lora")


@pytest.mark.parametrize("update", [{}, {"protect": "set.json"}, {"what": "lora", "modules": ".*q_proj"}], ids=str)
def test_interrupted_training_ends_the_same(update, bases, task, tmp_path, monkeypatch):
    from culnig.finetune import trainer as _trainer

    base = bases["llama"]
    update = {key: str(base / "set.json") if key == "protect" else value for key, value in update.items()}
    made = config(base, task, update, checkpoint_minutes=0, epochs=3, schedule="cosine")
    whole = tune(made, tmp_path / "whole")
    end = _trainer.Clock.on_step_end

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt
        return end(self, args, state, control, **kwargs)

    monkeypatch.setattr(_trainer.Clock, "on_step_end", stop)
    with pytest.raises(KeyboardInterrupt):
        tune(made, tmp_path / "broken")
    monkeypatch.setattr(_trainer.Clock, "on_step_end", end)
    folder = tmp_path / "broken" / "checkpoints"
    assert [p.name for p in folder.iterdir()] == ["checkpoint-4"]
    half = folder / "checkpoint-5"  # one that a kill left half-written is passed over
    half.mkdir()
    (half / "trainer_state.json").write_text("{")
    broken = tune(made, tmp_path / "broken")
    a, b = weights(whole / "model"), weights(broken / "model")
    assert all(torch.equal(a[name], b[name]) for name in a)
    tables = [pd.read_parquet(p / "loss.parquet") for p in (whole, broken)]
    assert len(tables[0]) == 9 and tables[0].equals(tables[1]) and not folder.exists()


def test_seeds(bases, task, tmp_path):
    made = config(bases["llama"], task)
    a, b = (weights(tune(made, tmp_path / name) / "model") for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)
    c = weights(tune(made.model_copy(update={"seed": 1}), tmp_path / "c") / "model")
    assert not all(torch.equal(a[name], c[name]) for name in a)


@pytest.mark.parametrize("formulation", ["mcf", "cf"])
def test_loss_is_on_the_answer_alone(formulation, tiny, word_items):
    policy = PromptPolicy(formulation=formulation)
    rows = examples(tiny, word_items, policy)
    batch = collate(rows[:5])
    at, columns, tokens = answer_positions(batch["labels"])
    with torch.no_grad():
        logits = tiny.model(batch["input_ids"]).logits
    mine = torch.nn.functional.cross_entropy(logits[at, columns], tokens)
    with torch.no_grad():
        theirs = tiny.model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    torch.testing.assert_close(mine, theirs)
    result = culnig.evaluate(tiny, word_items, policy=policy)
    for row, (_, of) in zip(rows, result.rows.iterrows(), strict=True):
        answer = [token for token in row["labels"] if token != IGNORED]
        with torch.no_grad():
            scores = tiny.model(torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
        total = sum(scores[len(row["input_ids"]) - len(answer) - 1 + i, token] for i, token in enumerate(answer))
        assert float(total) == pytest.approx(of["option_logprobs"][of["gold"]], abs=1e-4)


def test_it_learns_and_the_command_tells(bases, task, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(config(bases["llama"], task, epochs=6, weight_decay=0.0).model_dump(mode="json")))
    out = tmp_path / "out"
    call = ["finetune", path, "--set", f"validate_on.items={task}", "--out", out]
    facts = json.loads(invoke(*call, "--json").stdout)
    assert facts["last_loss"] < 0.7 * facts["first_loss"] and facts["updates"] == 18
    table = pd.read_csv(out / "loss.csv")
    assert table["eval_loss"].notna().sum() == 6 and table["loss"].notna().all()
    assert {p.name for p in out.iterdir()} == {
        "model",
        "config.yaml",
        "manifest.json",
        "loss.parquet",
        "loss.csv",
        "loss.html",
    }
    lm = culnig.load_model(out / "model")
    assert lm.formulation == "mcf" and "finished already" in invoke(*call).output
    with pytest.raises(UsageError, match="other settings \\(seed, validate_on\\)"):
        tune(load_finetune_config(path, ["seed=3"]), out)


def test_nothing_to_train_and_wrong_settings(bases, task, tmp_path):
    base = bases["llama"]
    everything = tmp_path / "all.json"
    NeuronSet([Neuron("self_attn.q_proj", 0, i) for i in range(32)]).save(everything)
    empty = tmp_path / "empty.json"
    NeuronSet([]).save(empty)
    q = "model.layers.0.self_attn.q_proj"
    for update, said in (
        ({"only": str(empty)}, "nothing would be trained: no parameter"),
        ({"what": "modules", "modules": [q], "protect": str(everything)}, "nothing would be trained: no parameter"),
        ({"what": "lora", "modules": [q], "protect": str(everything)}, "nothing would be trained: no parameter"),
        ({"what": "modules", "modules": "decoder.*"}, "match no projection; they are called model.layers.0"),
        ({"what": "modules", "modules": ["model.layers.0.q"]}, "has no projection 'model.layers.0.q'"),
        ({"what": "modules", "modules": "("}, "is not a regular expression"),
    ):
        with pytest.raises(UsageError, match=said):
            tune(config(base, task, update), tmp_path / f"out-{len(list(tmp_path.iterdir()))}")
    with pytest.raises(UsageError, match="does not take these settings"):
        tune(config(base, task, optimizer="sgdd"), tmp_path / "optimizer")
    with pytest.raises(UsageError, match="training: foo is not supported"):
        tune(config(base, task, report_to=["foo"]), tmp_path / "optimizer")  # the folder can be used again
    with pytest.raises(UsageError, match="learning_rate is set by culnig itself"):
        tune(config(base, task, arguments={"learning_rate": 1}), tmp_path / "arguments")
    with pytest.raises(CulnigError, match=r"the loss is (nan|inf) after update"):
        tune(config(base, task, learning_rate=1e30, clip=0, epochs=9), tmp_path / "nan")
    path = tmp_path / "c.yaml"
    for text, said in (
        ("what: modules", "needs modules"),
        ("only: a.json, protect: b.json", "leave what, modules and protect out"),
        ("modules: x", "everything"),
    ):
        path.write_text(f"task: {{items: {task}}}\nupdate: {{{text}}}\n")
        with pytest.raises(UsageError, match=said):
            load_finetune_config(path)


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2", "mixtral"])
def test_compare_finds_the_rows_that_moved(family, bases, task, tmp_path):
    """Against differences taken by hand, after a tuning that moved the set alone."""
    base = bases[family]
    path = base / "set.json"
    if family == "mixtral":
        path = tmp_path / "set.json"
        NeuronSet([Neuron("mlp.gate_proj", 1, 50), Neuron("self_attn.q_proj", 2, 2)]).save(path)
    out = tune(config(base, task, {"only": str(path)}), tmp_path / "out")
    table = tmp_path / "t.csv"
    call = ["compare", base, out / "model", "--neurons", path, "--formulation", "cf", "--out", table]
    facts = json.loads(invoke(*call, "--items", task, "--json").stdout)
    totals = {row["what"]: row for row in facts["summary"]}
    assert totals["share of rows that moved"]["set"] == 1 and totals["relative change of rows"]["random"] == 0
    assert all(row["rank"] > 0.9 and row["score_change"] != 0 for row in facts["neurons"])
    rows = pd.read_csv(table).set_index(["module", "layer", "neuron"])
    if family == "llama":
        a, b = ({n: p.detach() for n, p in weights(f).items()} for f in (base, out / "model"))
        name = "model.layers.1.mlp.gate_proj.weight"
        for index in (0, 5, 47):
            moved = (b[name][index] - a[name][index]).norm() / a[name][index].norm()
            assert rows.loc[("mlp.gate_proj", 1, index), "change"] == pytest.approx(float(moved), rel=1e-5)
    assert "random sets of the same modules" in invoke(*call).output


def test_compare_refuses(bases, task, tmp_path):
    path, other = bases["llama"] / "set.json", bases["mixtral"]
    for more, said in (
        (["--base-scores", path], "both --base-scores and --tuned-scores"),
        (["--out", tmp_path / "x.txt"], "must end in .parquet or .csv"),
        ([], "have different shapes"),
    ):
        with pytest.raises(UsageError, match=said):
            invoke("compare", bases["llama"], other, "--neurons", path, *more)
