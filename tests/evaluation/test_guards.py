"""Perplexity, loss of format, and the verdict on a suppressed model."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

import culnig
from culnig.data import load_texts
from culnig.errors import DataError, UsageError
from culnig.evaluation import EvalResult, Guard, TextResult, compare_text, guards, perplexity, verdict
from culnig.passes import plain_text as module
from tests.helpers.cli import invoke, use
from tests.helpers.results import made
from tests.helpers.tolerances import additions_through, float32_tolerance

TEXTS = [" ".join(f"w{(7 * k + 3 * n) % 400}" for k in range(n)) for n in (5, 30, 12, 9, 21)]


def test_perplexity_is_the_models_own_loss(tiny):
    result = perplexity(tiny, TEXTS)
    close = float32_tolerance(additions_through(tiny, passes=1))
    for text, row in zip(TEXTS, result.rows.itertuples(), strict=True):
        ids = tiny.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = tiny.model(input_ids=ids, labels=ids).loss
        assert row.tokens == ids.shape[1] - 1
        # The model's own loss is a mean in float32 of as many log-probabilities, each off by the rounding of its logits.
        assert -row.logprob / row.tokens == pytest.approx(float(loss), rel=close)
        assert sum(row.token_logprobs) == pytest.approx(row.logprob)
    total = -result.rows["logprob"].sum() / result.rows["tokens"].sum()
    assert result.perplexity == pytest.approx(np.exp(total))
    one_by_one = perplexity(tiny, TEXTS, token_budget=1)
    # Paragraphs alone and together make other batches, and other batches add in other orders.
    np.testing.assert_allclose(one_by_one.rows["logprob"], result.rows["logprob"], rtol=close)


def test_bos_predicts_the_first_token(tiny):
    with pytest.raises(UsageError, match="tokenizer has none"):
        perplexity(tiny, TEXTS, bos="on")
    tiny.tokenizer.bos_token = "w0"
    try:
        off, on = (perplexity(tiny, TEXTS, bos=bos) for bos in ("off", "on"))
    finally:
        tiny.tokenizer.bos_token = None
    assert list(on.rows["tokens"] - off.rows["tokens"]) == [1] * len(TEXTS)
    with pytest.raises(UsageError, match="unknown BOS"):
        perplexity(tiny, TEXTS, bos="maybe")
    with pytest.raises(DataError, match="fewer than two tokens"):
        perplexity(tiny, ["w1"], bos="off")


def test_long_paragraphs_are_read_in_pieces_and_nothing_is_lost(tiny, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 10)
    rows = perplexity(tiny, [" ".join(["w3"] * 31)], bos="off").rows
    assert list(rows["piece"]) == [0, 1, 2, 3] and list(rows["tokens"]) == [9, 9, 8, 1]  # 10 + 10 + 9 + 2 tokens


def text_result(logprobs):
    rows = pd.DataFrame({"paragraph": range(len(logprobs)), "piece": 0, "tokens": 10, "logprob": logprobs})
    return TextResult(rows, {"data_hash": "h"})


def test_compare_text_by_hand():
    untouched = np.random.default_rng(0).normal(-30, 4, 40)
    c = compare_text(text_result(untouched - 1), text_result(untouched))
    assert c.ratio == pytest.approx(np.exp(0.1)) and c.low == pytest.approx(np.exp(0.1)) and c.tokens == 400
    noisy = compare_text(text_result(untouched - np.random.default_rng(1).normal(1, 1, 40)), text_result(untouched))
    assert 1 < noisy.low < noisy.ratio < noisy.high and noisy.p < 0.01
    with pytest.raises(UsageError, match="not of the same text"):
        compare_text(text_result(untouched), text_result(untouched[:30]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lost", [1, 40])
def test_a_model_that_gives_tokens_no_probability_is_compared(lost):
    """Infinite log-probabilities in some or all paragraphs: an infinite ratio with an interval, and no warning."""
    untouched = np.random.default_rng(0).normal(-30, 4, 40)
    broken = np.where(np.arange(40) < lost, -np.inf, untouched)
    c = compare_text(text_result(broken), text_result(untouched))
    assert c.a == c.ratio == c.high == np.inf and "infinite" in repr(text_result(broken))
    # one of 40 paragraphs is left out of a third of the resamples
    assert (c.low, c.p > 0.05) == ((1.0, True) if lost == 1 else (np.inf, False))
    state = guards(text=(text_result(broken), text_result(untouched)))[1].state
    assert state == ("open" if lost == 1 else "beyond")
    back = compare_text(text_result(untouched), text_result(broken))
    assert back.ratio == back.low == 0
    both = compare_text(text_result(broken), text_result(broken))
    assert np.isnan([both.ratio, both.low, both.high, both.p]).all()


@pytest.mark.filterwarnings("error")
def test_a_ratio_beyond_float64_is_infinite(tmp_path, capsys, monkeypatch):
    """Mean losses of hundreds of nats a token, as enhancing by a large factor gives them."""
    rng = np.random.default_rng(0)
    untouched, broken = text_result(rng.normal(-30, 4, 40)), text_result(rng.normal(-9000, 900, 40))
    c = compare_text(broken, untouched)
    assert c.a == c.ratio == c.low == c.high == np.inf and c.p < 0.01
    files = tmp_path / "broken.parquet", tmp_path / "untouched.parquet"
    for path, result in zip(files, (broken, untouched), strict=True):
        result.meta |= {"kind": "perplexity"}
        result.rows["token_logprobs"] = [[]] * len(result)
        result.save(path)
    code, out, _ = use(capsys, monkeypatch, "stats", *files)
    assert code == 0 and "perplexity infinite against" in out and "ratio infinite (95 % interval infinite to" in out
    code, out, _ = use(capsys, monkeypatch, "stats", *files, "--json")
    assert code == 0 and json.loads(out)["ratio"] == "Infinity"


def test_logits_that_are_no_numbers_give_no_probability(tiny, monkeypatch):
    """A model that overflows computes NaN; that is an infinite perplexity, not an unknown one."""
    with monkeypatch.context() as patched:
        head = tiny.model.get_output_embeddings()
        patched.setattr(head, "forward", lambda hidden: torch.full((*hidden.shape[:-1], 407), torch.nan))
        result = perplexity(tiny, TEXTS)
    assert result.perplexity == np.inf and perplexity(tiny, TEXTS).perplexity < np.inf


def test_infinite_changes_are_said_in_words():
    from culnig.studies._guards import guard_sentence

    untouched = np.random.default_rng(0).normal(-30, 4, 40)
    sentence = guard_sentence(guards(text=(text_result(untouched - np.inf), text_result(untouched))))
    assert "plain text infinite % perplexity (infinite to infinite)" in sentence and "inf " not in sentence


def test_text_round_trip(tiny, tmp_path):
    result = perplexity(tiny, TEXTS)
    result.save(tmp_path / "p.parquet")
    again = TextResult.load(tmp_path / "p.parquet")
    assert again.perplexity == result.perplexity and compare_text(again, result).ratio == 1
    made([True] * 2).save(tmp_path / "e.parquet")
    with pytest.raises(DataError, match="not a perplexity result"):
        TextResult.load(tmp_path / "e.parquet")
    with pytest.raises(DataError, match="not an evaluation result"):
        EvalResult.load(tmp_path / "p.parquet")


def test_embedded_text_and_text_files(tmp_path):
    paragraphs = load_texts()
    assert len(paragraphs) == len(set(paragraphs)) == 40 and all(30 < len(p.split()) < 80 for p in paragraphs)
    (tmp_path / "t.txt").write_text("One line\nand the next.\n\n\nAnother paragraph.\n")
    assert load_texts(tmp_path / "t.txt") == ["One line and the next.", "Another paragraph."]
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(DataError, match="no text in it"):
        load_texts(tmp_path / "empty.txt")
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        load_texts(tmp_path / "latin.txt")


def mcf(correct, outside):
    result = made(correct)
    result.rows["prediction"] = np.where(outside, -1, 0)
    result.meta = {"formulation": "mcf"}
    return result


def test_guards_by_hand():
    base = np.tile([True, True, False], 200)
    none = np.zeros(600, dtype=bool)
    lost = base & (np.arange(600) % 10 > 1)
    quarter = np.arange(600) % 4 == 0
    untouched = mcf(base, none)
    text = text_result(np.random.default_rng(0).normal(-30, 4, 40))
    fine = guards(reading=(untouched, untouched), text=(text, text), answers={"culture": (untouched, untouched)})
    assert [guard.name for guard in fine] == ["country reading", "plain text", "format: culture"]
    assert verdict(fine) == "intact" and all(guard.change == 0 for guard in fine)
    reading, _, form = guards(reading=(mcf(lost, none), untouched), answers={"x": (mcf(base, quarter), untouched)})
    assert reading.state == "beyond" and reading.change == pytest.approx(lost.mean() - base.mean())
    assert form.state == "beyond" and form.change == pytest.approx(0.25)
    unmeasured = guards(reading=(untouched, untouched))
    assert unmeasured[1].state == "not measured" and verdict(unmeasured) == "open"


def test_verdicts_are_compared_on_what_both_have():
    """A random set that changes nothing, and whose country reading was not measured, is as intact as the set itself."""
    from culnig.evaluation import measured, verdict_on
    from culnig.studies._guards import guard_sentence

    answers, text = made([True, False] * 40), text_result(np.random.default_rng(0).normal(-30, 4, 40))
    found, random = guards(reading=(answers, answers), text=(text, text)), guards(text=(text, text))
    assert verdict(random) == "open" and measured(found, random) == ["plain text"]
    assert verdict_on(["plain text"], random) == "intact"
    worse = text_result(text.rows["logprob"].to_numpy() - 3)
    versus = guards(text=(worse, [text, text, worse]))
    assert versus[1].low < versus[1].change < versus[1].high and versus[1].change > 0
    said = guard_sentence(found, [random, guards(text=(worse, text))], versus)
    assert (
        "the set's verdict is intact, and 1 of 2 random sets get the same" in said and "(2 draws): plain text +" in said
    )


def test_a_gain_is_never_damage():
    """Country reading that rises, by however much, lies within the margin."""
    low = mcf(np.tile([True, False, False, False], 100), np.zeros(400, dtype=bool))
    high = mcf(np.ones(400, dtype=bool), np.zeros(400, dtype=bool))
    assert guards(reading=(high, low))[0].state == "within"


@pytest.mark.parametrize(
    ("states", "expected"),
    [(["within", "within"], "intact"), (["within", "open"], "open"), (["beyond", "not measured"], "damaged")],
)
def test_verdict(states, expected):
    assert verdict([Guard("g", 0, 0, 0, 0, 0, 0, state, 1) for state in states]) == expected


def test_suppressing_everything_is_seen(tiny, word_items):
    """All gate neurons of a model off: its text predictions change, and in cf no format is lost by definition."""
    from culnig import Neuron, NeuronSet

    layers, width = tiny.shapes["mlp.gate_proj"]
    everything = NeuronSet([Neuron("mlp.gate_proj", layer, i) for layer in range(layers) for i in range(width)])
    before = perplexity(tiny, TEXTS), culnig.evaluate(tiny, word_items, formulation="cf")
    with culnig.suppress(tiny, everything):
        after = perplexity(tiny, TEXTS), culnig.evaluate(tiny, word_items, formulation="cf")
    found = guards(text=(after[0], before[0]), answers={"words": (after[1], before[1])})
    assert [guard.name for guard in found] == ["country reading", "plain text"] and abs(found[1].change) > 1e-3
    assert perplexity(tiny, TEXTS).rows["logprob"].equals(before[0].rows["logprob"])  # and put back


def test_perplexity_verb(tmp_path, reference_dir, capsys, monkeypatch):
    (tmp_path / "t.txt").write_text("\n\n".join(TEXTS))
    neurons = reference_dir / "neurons" / "China_neurons_blend_all.json"
    verb = ["perplexity", "--model", reference_dir, "--text", tmp_path / "t.txt", "--json", "--out"]
    first = json.loads(invoke(*verb, tmp_path / "a.parquet").stdout)
    assert first["paragraphs"] == 5 and first["perplexity"] > 1
    invoke(*verb, tmp_path / "b.parquet", "--neurons", neurons)
    compared = json.loads(invoke("stats", tmp_path / "b.parquet", tmp_path / "a.parquet", "--json").stdout)
    assert compared["b"] == pytest.approx(first["perplexity"]) and compared["ratio"] != 1
    shown = invoke("stats", tmp_path / "b.parquet", tmp_path / "a.parquet").output
    assert "ratio" in shown
    made([True] * 2).save(tmp_path / "e.parquet")
    for arguments, says in (
        ([*verb, tmp_path / "c.parquet", "--text", "nowhere.txt"], "no such file"),
        ([*verb, tmp_path / "c.parquet", "--bos", "maybe"], "unknown BOS policy"),
        (["stats", tmp_path / "a.parquet", tmp_path / "e.parquet"], "not a perplexity result"),
    ):
        code, _, err = use(capsys, monkeypatch, *arguments)
        assert code in (1, 2) and says in err and len(err.splitlines()) == 1
