"""Calibrated answers and scores, on the tiny model and against plain arithmetic."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import culnig
from culnig.errors import DataError, UsageError
from culnig.evaluation import EvalResult
from culnig.passes import calibration
from culnig.prompts import PromptPolicy
from culnig.prompts.calibration import prior_items
from tests.helpers.tolerances import output_tolerance, score_tolerance

CF, MCF = ({"formulation": each} for each in ("cf", "mcf"))


@pytest.fixture
def items(word_items):
    """Items whose questions name their country, but for the last four, and one control."""
    named = [dataclasses.replace(i, question=f"{i.question} {i.country} w1", control=False) for i in word_items[:10]]
    return [*named, *(dataclasses.replace(i, control=False) for i in word_items[10:14])]


@pytest.fixture
def model(tiny):
    tiny.offsets.clear()
    yield tiny
    tiny.offsets.clear()


def policy(kind, **more):
    return PromptPolicy(**{**CF, "calibration": kind, **more})


def test_offsets_are_log_probabilities_of_other_prompts(model, items):
    rows = culnig.evaluate(model, items, policy=policy("contrast")).rows
    assert list(rows["calibration"]) == ["contrast"] * 10 + ["pmi"] * 4
    for item, row in zip(items, rows.itertuples(), strict=True):
        for kind, found in (("pmi", row.pmi_offsets), ("contrast", row.contrast_offsets)):
            twins = prior_items(item, kind)
            alone = [culnig.evaluate(model, [twin], policy=policy("none")).rows["option_logprobs"][0] for twin in twins]
            if not alone:
                assert found is None
                continue
            expected = np.mean(alone, axis=0)
            np.testing.assert_allclose(found, expected, rtol=0, atol=2 * output_tolerance(model, expected))
        offsets = row.contrast_offsets if row.calibration == "contrast" else row.pmi_offsets
        z = np.array(row.option_logprobs) - offsets
        p = np.exp(z) / np.exp(z).sum()
        assert row.prediction == z.argmax() and row.p_gold == pytest.approx(p[row.gold])
        assert row.margin == pytest.approx(z[row.gold] - np.delete(z, row.gold).mean())
        assert row.log_odds == pytest.approx(np.log(p[row.gold] / (1 - p[row.gold])))


@pytest.mark.parametrize("formulation", ["cf", "mcf"])
def test_rows_can_be_judged_again(model, items, formulation, tmp_path):
    made = {"formulation": formulation}
    results = {
        kind: culnig.evaluate(model, items, policy=PromptPolicy(**made, calibration=kind))
        for kind in ("none", "pmi", "contrast")
    }
    results["contrast"].save(tmp_path / "e.parquet")
    loaded = EvalResult.load(tmp_path / "e.parquet")
    for kind, direct in results.items():
        again = loaded.calibrated(kind)
        assert again.calibration == kind
        for column in ("calibration", "prediction", "correct", "p_gold", "log_odds", "margin"):
            assert list(again.rows[column]) == list(direct.rows[column]), (kind, column)
    with pytest.raises(UsageError, match="no column pmi_offsets"):
        results["none"].calibrated("pmi")
    if formulation == "cf":
        length = loaded.calibrated("length").rows
        for row in length.itertuples():
            assert row.prediction == np.argmax(np.array(row.option_logprobs) / row.option_lengths)


def test_offsets_are_of_the_untouched_model(model, items):
    """Under a suppression, by weights or by hooks, the offsets stay; `current` measures them anew."""
    from culnig.neurons import Neuron, NeuronSet

    silent = NeuronSet([Neuron("mlp.gate_proj", 0, i) for i in range(40)])
    before = culnig.evaluate(model, items, policy=policy("pmi"))
    for how in ("weights", "hooks"):
        model.offsets.clear()
        with culnig.suppress(model, silent, how=how), culnig.suppress(model, silent, how=how):
            after = culnig.evaluate(model, items, policy=policy("pmi"))
            again = culnig.evaluate(model, items, policy=policy("pmi", offsets_from="current"))
        assert [*map(list, after.rows["pmi_offsets"])] == [*map(list, before.rows["pmi_offsets"])], how
        assert [*map(list, after.rows["option_logprobs"])] != [*map(list, before.rows["option_logprobs"])]
        assert [*map(list, again.rows["pmi_offsets"])] != [*map(list, before.rows["pmi_offsets"])]
        assert [*map(list, again.rows["option_logprobs"])] == [*map(list, after.rows["option_logprobs"])]
    unchanged = culnig.evaluate(model, items, policy=policy("pmi"))
    assert [*map(list, unchanged.rows["option_logprobs"])] == [*map(list, before.rows["option_logprobs"])]


def test_offsets_are_measured_once_and_kept(model, items, tmp_path, monkeypatch):
    culnig.evaluate(model, items, policy=policy("contrast"))
    calibration.save_offsets(model, tmp_path / "offsets.parquet")
    known = dict(model.offsets)
    monkeypatch.setattr(calibration, "_measured", None)  # would fail if it were called
    culnig.evaluate(model, items, policy=policy("contrast"))
    model.offsets.clear()
    assert calibration.load_offsets(model, tmp_path / "offsets.parquet")
    assert model.offsets == known
    culnig.score(model, items, policy=policy("pmi"))
    (tmp_path / "offsets.parquet").write_text("no")
    with pytest.raises(DataError, match="measured again"):
        calibration.load_offsets(model, tmp_path / "offsets.parquet")


def test_calibrated_scores(model, items):
    """P, the weight and the gradient are of the calibrated softmax: a few weights nudged, and P followed by hand."""
    from culnig.attribution import oracle
    from culnig.neurons import Neuron, NeuronSet

    neurons = [Neuron("mlp.gate_proj", 1, 3), Neuron("self_attn.v_proj", 0, 2)]
    exact = oracle(model, items, neurons, policy=policy("pmi"))
    rows = culnig.evaluate(model, items, policy=policy("pmi")).rows
    before = rows["p_gold"].to_numpy()
    # P = softmax(z) moves by at most the error of z, that of a log-probability and of its offset.
    slack = 2 * output_tolerance(model, np.concatenate(rows["option_logprobs"]))
    np.testing.assert_allclose(exact.probability, before, rtol=0, atol=slack)
    for column, neuron in enumerate(neurons):
        with culnig.suppress(model, NeuronSet([neuron])):
            after = culnig.evaluate(model, items, policy=policy("pmi")).rows["p_gold"].to_numpy()
        np.testing.assert_allclose(exact.change[:, column], before - after, rtol=0, atol=2 * slack)
    plain, pmi = (culnig.score(model, items, policy=policy(kind), method="culnig:sum") for kind in ("none", "pmi"))
    key = ("culnig:sum", "mlp.gate_proj")
    assert np.abs(plain.sums[key] - pmi.sums[key]).max() > score_tolerance(model, plain.sums[key])


def test_a_control_is_worth_chance_under_pmi(model, items):
    bare = [dataclasses.replace(item, question="", control=True) for item in items]
    rows = culnig.evaluate(model, bare, policy=policy("pmi")).rows
    slack = 2 * output_tolerance(model, np.concatenate(rows["option_logprobs"]))
    np.testing.assert_allclose(rows["p_gold"], 0.25, rtol=0, atol=slack)


def test_a_file_without_offsets_has_a_margin_and_says_what_lacks(model, items):
    result = culnig.evaluate(model, items, policy=policy("none"))
    old = EvalResult(
        result.rows.drop(columns=["margin", "calibration", "option_lengths", "pmi_offsets", "contrast_offsets"])
    )
    np.testing.assert_allclose(old.values("margin"), result.rows["margin"])
    with pytest.raises(UsageError, match="option_lengths"):
        old.calibrated("length")
    with pytest.raises(UsageError, match="pmi_offsets"):
        old.values("prior_correct")


def test_offsets_can_be_added_afterwards(model, items):
    full = culnig.evaluate(model, items, policy=policy("contrast"))
    offsets = full.rows[["benchmark", "id", "wording", "option_lengths", "pmi_offsets", "contrast_offsets"]]
    plain = culnig.evaluate(model, items, policy=policy("none"))
    again = plain.with_offsets(offsets.sample(frac=1, random_state=0)).calibrated("contrast")
    assert list(again.rows["p_gold"]) == list(full.rows["p_gold"])
    with pytest.raises(UsageError, match="no offsets for the item"):
        plain.with_offsets(offsets.iloc[1:])
