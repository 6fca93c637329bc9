"""Simulated worlds without an effect, and with one: tests keep their level, and find what is planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bench.nulls import EFFECT, OWN, double_centred_p, own_p, worlds
from scipy.stats import binomtest

from culnig.errors import UsageError
from culnig.evaluation import EvalResult, compare, compare_by, significance_table
from culnig.formatting import p_equals
from culnig.statistics.bootstrap import EXACT, bootstrap_ratio, differences, p_floor, rounding, sign_flip_p
from culnig.statistics.draws import paired_sums
from culnig.statistics.interaction import fit_interaction
from culnig.statistics.matrices import beyond_expected, double_centre, own_country_effect
from tests.helpers.results import made


@pytest.mark.parametrize("proportional", [False, True])
@pytest.mark.parametrize("correlation", [0, 0.6, 1])
def test_products_of_strength_and_fragility_are_no_own_country_effect(correlation, proportional):
    """At most 5 % + 2 are found where there is nothing, and 80 % of the planted effects where noise is the same everywhere."""
    null = worlds(600, correlation, seed=1, proportional=proportional)
    assert np.mean(own_p(null) <= 0.05) <= 0.07
    found = np.mean(own_p(null + EFFECT * OWN) <= 0.05)
    assert found >= (0.7 if proportional else 0.8)


def test_double_centring_alone_takes_products_for_an_effect():
    """The test of version 0.1 fails the null above, so the null can be failed."""
    rejected = double_centred_p(worlds(100, 1, seed=2)) <= 0.05
    assert np.mean(rejected) > 0.3


def test_interaction_is_fitted_exactly():
    """Additive matrices and pure products have no residual, whatever stands in the cells that are left out."""
    rng = np.random.default_rng(0)
    a, b = rng.gamma(2, 1, (2, 8))
    for matrix in (np.add.outer(a, b), 3 + np.outer(a, b), np.outer(a, b)):
        spoilt = np.where(OWN, 100 * rng.normal(size=(8, 8)), matrix)
        np.testing.assert_allclose(fit_interaction(spoilt, OWN).expected, matrix, atol=1e-4)
    wide = np.outer(a[:5], b)
    np.testing.assert_allclose(beyond_expected(wide, np.eye(5, 8, dtype=bool)), 0, atol=1e-4)


def test_own_country_effect_says_what_it_measured():
    rng = np.random.default_rng(3)
    matrix = worlds(1, 0.6, seed=4)[0] + 1.6 * OWN
    drawn = matrix + 0.2 * rng.normal(size=(300, 8, 8))
    test = own_country_effect(matrix, resampled=drawn)
    assert test.effect == pytest.approx(test.own.mean()) and test.low < test.effect < test.high
    assert test.centred[0] == pytest.approx(np.diag(double_centre(matrix)).mean())
    few = own_country_effect(matrix[:3, :3])
    assert np.isnan([few.effect, few.p, few.low]).all() and not np.isnan(few.centred[1])
    assert own_country_effect(np.zeros((8, 8))).p == 1


def test_sign_flips_by_hand():
    assert sign_flip_p(np.array([1.0, 1, 1, 1, 1])) == 2 / 32
    assert sign_flip_p(np.array([3.0, -1, 0, 0])) == 1  # any signs of 3 and 1 give at least 2
    assert sign_flip_p(np.array([1.0, 2, 3])) == 2 / 8 and sign_flip_p(np.array([1.0, -1])) == 1
    assert np.isnan(sign_flip_p(np.array([2.0]))) and sign_flip_p(np.zeros(3)) == 1
    some = np.random.default_rng(0).normal(0.3, 1, 9)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 9)).reshape(9, -1)
    assert sign_flip_p(some) == pytest.approx(np.mean(np.abs(some @ signs) >= abs(some.sum()) - 1e-12))
    assert sign_flip_p(np.ones(20)) == 2 / 2**20


def test_rounding_is_no_difference():
    a = np.array([0.3, -12.5, 4.0])
    assert not differences(a, a + 1e-13).any() and differences(a, a + 1e-6).all()
    assert rounding(np.array([np.inf, 2.0])) == pytest.approx(2 * np.sqrt(np.finfo(float).eps))
    result = made([True, False] * 3)
    noisy = EvalResult(result.rows.assign(log_odds=result.rows["log_odds"] + 1e-13))
    same = compare(noisy, result, "log_odds")
    assert (same.difference, same.p) == (0, 1)


def test_one_question_is_no_test():
    table = compare_by(made([False] * 2, ["a", "b"]), made([True] * 2, ["a", "b"]), "country")
    assert table[["p", "low", "high"]].isna().all(axis=None) and list(table["difference"]) == [-1, -1]
    corrected = significance_table([(made([False] * 2), [made([True] * 2)])], by="country")
    assert corrected["p_adjusted"].isna().all()


@pytest.mark.parametrize("questions", [1, 3, 5, 10, 20])
def test_small_groups_keep_their_level(questions):
    """Right-or-wrong differences and skew-free noise, without an effect: the p of a group's difference."""
    rng = np.random.default_rng(questions)
    for kind in ("answers", "noise"):
        data = rng.integers(-1, 2, (1500, questions)) if kind == "answers" else rng.normal(size=(1500, questions))
        p = np.array([sign_flip_p(row.astype(float)) for row in data])
        assert questions > 1 or np.isnan(p).all()
        assert np.mean(p <= 0.05) <= 0.065 and np.mean(p <= 0.01) <= 0.015
    assert bootstrap_ratio(np.ones(questions), np.ones(questions), 0)[2] == pytest.approx(
        2 / 2**questions if questions > 1 else np.nan, nan_ok=True
    )


def drawn_world(rng, questions, draws, spread):
    """Differences from random draws that differ themselves, [questions, draws], with mean 0."""
    by_question, by_draw = rng.normal(size=(questions, 1)), spread / np.sqrt(questions) * rng.normal(size=(1, draws))
    return by_question + by_draw + rng.normal(size=(questions, draws))


@pytest.mark.parametrize("spread", [0, 1, 3])
def test_random_draws_are_a_sample(spread, monkeypatch):
    """With five draws the test keeps its level, whether draws are alike or differ; draws taken as fixed do not."""
    monkeypatch.setattr("culnig.statistics.draws.bootstrap_ratio", _t_test)  # without 4,999 resamples each
    rng = np.random.default_rng(7)
    several, fixed = [], []
    for _ in range(1000):
        data = drawn_world(rng, 40, 5, spread)
        several.append(paired_sums(data, np.ones(40), 0).p)
        fixed.append(_t_test(data.mean(axis=1), np.ones(40), 0)[2])
    rejected = int(np.sum(np.array(several) <= 0.05))
    assert binomtest(rejected, 1000, 0.05, alternative="greater").pvalue > 0.01
    assert spread < 3 or np.mean(np.array(fixed) <= 0.05) > 0.12


def _t_test(sums, counts, seed):
    from scipy.stats import t

    mean, error = sums.mean(), sums.std(ddof=1) / np.sqrt(len(sums))
    half = t.isf(0.025, len(sums) - 1) * error
    return mean - half, mean + half, 2 * t.sf(abs(mean) / error, len(sums) - 1)


def test_draws_widen_the_interval():
    rng = np.random.default_rng(1)
    data = drawn_world(rng, 40, 5, 3) + 0.5
    one, five = paired_sums(data.mean(axis=1, keepdims=True), np.ones(40), 0), paired_sums(data, np.ones(40), 0)
    assert five.difference == pytest.approx(one.difference) and (one.draws, five.draws) == (1, 5)
    assert five.low < one.low and five.high > one.high and five.p >= one.p
    alike = paired_sums(np.repeat(data[:, :1], 5, axis=1), np.ones(40), 0)  # draws that do not differ
    single = paired_sums(data[:, :1], np.ones(40), 0)
    assert (alike.low, alike.high) == pytest.approx((single.low, single.high))


def test_comparisons_say_how_many_draws_they_rest_on():
    base = np.random.default_rng(0).random(60) < 0.5
    others = [made(base), made(~base), made(base)]
    assert compare(made(base), others).draws == 3 and compare(made(base), others[0]).draws == 1
    assert compare(others, others[::-1]).draws == 3  # repeats, paired by their place
    with pytest.raises(UsageError, match="2 repeats cannot be paired with 3"):
        compare(others[:2], others)


def test_a_floor_is_said():
    base = np.ones(200, dtype=bool)
    c = compare(made(~base), made(base))
    assert c.p == c.p_floor == p_floor(200) and p_equals(c.to_dict()) == "p ≤ 0.0004"
    exact = compare(made(~base[:EXACT]), made(base[:EXACT]))
    assert exact.p_floor == 0 and p_equals(exact.to_dict()) == "p = 1.9e-06"
    assert p_equals({"p": float("nan")}) == "no test"
    from culnig.report.tables import _cell

    row = pd.DataFrame([{"p": 0.0004, "p_adjusted": 0.0008, "p_floor": 0.0004}]).to_dict("records")[0]
    assert _cell(0.0008, "p_adjusted", row)["text"] == "≤ 0.0008"
    assert _cell(0.01, "p", row | {"p": 0.01})["text"] == "0.01"
