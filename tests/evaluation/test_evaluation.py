"""Evaluation rows, and the statistics on them."""

from __future__ import annotations

import numpy as np
import pytest

import culnig
from culnig.errors import DataError, UsageError
from culnig.evaluation import EvalResult, compare, compare_by, estimate
from culnig.evaluation.comparing import question_of
from culnig.prompts import PromptPolicy
from culnig.statistics.matrices import double_centre, own_country_effect
from tests.helpers.results import made
from tests.helpers.tolerances import output_tolerance

CF, MCF = PromptPolicy(formulation="cf"), PromptPolicy(formulation="mcf")


@pytest.mark.parametrize("policy", [CF, MCF], ids=["cf", "mcf"])
def test_rows_recompute(tiny, word_items, policy):
    result = culnig.evaluate(tiny, word_items, policy=policy)
    assert list(result.rows["id"]) == [item.id for item in word_items]
    for row in result.rows.itertuples():
        logprobs = np.array(row.option_logprobs)
        odds = np.exp(logprobs) / np.exp(logprobs).sum()
        assert row.prediction_among_options == odds.argmax() and row.correct == (row.prediction == row.gold)
        assert row.log_odds == pytest.approx(np.log(odds[row.gold] / (1 - odds[row.gold])), abs=1e-6)
        if policy is CF:
            assert row.p_gold == pytest.approx(odds[row.gold]) and row.prediction == odds.argmax()
        else:
            assert row.p_gold == pytest.approx(np.exp(logprobs[row.gold]))
            assert row.prediction in (-1, odds.argmax())


def test_shared_prompts_change_nothing(tiny, word_items):
    """Option draws of one question run as one row; each item alone gives the same numbers."""
    import dataclasses

    draws = [
        dataclasses.replace(
            word_items[0], id=f"q/{i}", variant=str(i), options=tuple(f"w{10 * i + j} w3" for j in range(4))
        )
        for i in range(3)
    ]
    together = culnig.evaluate(tiny, draws, policy=CF).rows
    for i, item in enumerate(draws):
        alone = culnig.evaluate(tiny, [item], policy=CF).rows
        # Shared prompts make longer rows, whose kernels add in another order.
        found, expected = together["option_logprobs"][i], alone["option_logprobs"][0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=output_tolerance(tiny, expected))


def test_parquet_round_trip(tiny, word_items, tmp_path):
    result = culnig.evaluate(tiny, word_items, policy=CF)
    result.save(tmp_path / "e.parquet")
    loaded = EvalResult.load(tmp_path / "e.parquet")
    assert loaded.accuracy == result.accuracy and loaded.meta["formulation"] == "cf"
    assert set(result.by("country")["country"]) == {"China", "Iran", "Spain"}
    with pytest.raises(UsageError, match="no column"):
        result.by("planet")
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(DataError, match="not a Parquet"):
        EvalResult.load(tmp_path / "bad.parquet")


def test_compare_is_paired():
    rng = np.random.default_rng(0)
    base = rng.random(400) < 0.5
    worse = base & (rng.random(400) < 0.8)
    c = compare(made(worse), made(base))
    assert c.difference == pytest.approx(worse.mean() - base.mean())
    assert c.low < c.difference < c.high < 0 and c.p < 0.01
    same = compare(made(base), made(base))
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)
    several = compare(made(worse), [made(base), made(worse)])
    assert several.difference == pytest.approx(c.difference / 2)


def test_interval_covers_at_the_nominal_rate():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(60):
        e = estimate(made(rng.random(120) < 0.4), seed=seed)
        hits += e.low <= 0.4 <= e.high
    assert 50 <= hits <= 60


def test_draws_of_a_question_are_resampled_together():
    correct = np.repeat(np.random.default_rng(2).random(60) < 0.5, 4)
    ids = [f"q{i // 4}/{i % 4}" for i in range(240)]
    tied = made(correct, ids, [str(i % 4) for i in range(240)])
    assert question_of(tied.rows).nunique() == 60 and estimate(tied).questions == 60
    free = estimate(made(correct))
    assert estimate(tied).high - estimate(tied).low > 1.5 * (free.high - free.low)


def test_different_items_are_refused():
    with pytest.raises(UsageError, match="not of the same items"):
        compare(made([True] * 4), made([True] * 4, ids=["a", "b", "c", "d"]))
    with pytest.raises(UsageError, match="unknown metric"):
        compare(made([True] * 4), made([True] * 4), "luck")


def test_compare_by():
    table = compare_by(made([True, False] * 20), made([True, True] * 20), "country")
    assert list(table["country"]) == ["China", "Iran"] and list(table["difference"]) == [0, -1]


def test_own_country_effect_finds_a_diagonal_and_nothing_else():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(8, 8)) * 0.1 + rng.normal(size=(8, 1)) * 3 + rng.normal(size=(1, 8)) * 3
    assert np.abs(double_centre(noise).mean(axis=0)).max() < 1e-12
    assert own_country_effect(noise).p > 0.01
    found = own_country_effect(noise + np.eye(8))
    assert found.p < 0.001 and found.mean_rank == 1 and found.effect == pytest.approx(0.875, abs=0.15)
