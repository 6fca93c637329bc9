"""Precision at k and regret against brute force, of samples too; weighted ranks; resamples of questions and neurons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from culnig.statistics.agreement import agreement, spearman
from culnig.statistics.top_ranks import (
    allocate,
    drawn_within,
    left_out_weights,
    precision_at,
    regret_at,
    weighted_top,
)


def population(size=400, seed=0):
    rng = np.random.default_rng(seed)
    exact = rng.exponential(size=size) - 0.5
    return exact, exact + rng.normal(size=size)


def test_precision_and_regret_by_brute_force():
    exact, estimate = population()
    ones = np.ones(len(exact))
    best, taken = (set(np.argsort(-values)[:50].tolist()) for values in (exact, estimate))
    assert precision_at(50, estimate, exact, ones) == pytest.approx(len(best & taken) / 50)
    held, got = exact[list(best)].sum(), exact[list(taken)].sum()
    assert regret_at(50, estimate, exact, ones) == pytest.approx((held - got) / held)
    assert precision_at(50, exact, exact, ones) == 1 and regret_at(50, exact, exact, ones) == 0
    assert np.isnan(regret_at(5, estimate, -np.abs(exact) - 1, ones))  # nothing to hold
    assert precision_at(1000, estimate, exact, ones) == 1  # all of them


def test_several_at_once_are_those_one_by_one():
    drawn = [population(60, seed) for seed in range(5)]
    weights = np.random.default_rng(1).integers(1, 4, size=(5, 60)).astype(float)
    exact, estimate = (np.stack(each) for each in zip(*drawn, strict=True))
    for function in (precision_at, regret_at):
        together = function(20, estimate, exact, weights)
        assert together == pytest.approx([function(20, estimate[i], exact[i], weights[i]) for i in range(5)])


def test_weights_are_repetitions():
    exact, estimate = population(40)
    weights = np.random.default_rng(2).integers(1, 5, size=40)
    again = np.repeat(np.arange(40), weights)
    ones = np.ones(len(again))
    assert spearman(estimate, exact, weights) == pytest.approx(spearman(estimate[again], exact[again]))
    assert weighted_top(exact, weights, 11.5).dot(weights) == pytest.approx(11.5)
    for function in (precision_at, regret_at):
        assert function(30, estimate, exact, weights) == pytest.approx(
            function(30, estimate[again], exact[again], ones), abs=0.03
        )


def test_ties_share_their_rank():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 6, size=(2, 50))
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(spearman(np.ones(9), b[:9]))


def test_what_a_cap_leaves_of_two_strata():
    assert allocate((100, 300), None) == (100, 300)
    assert allocate((100, 300), 400) == (100, 300)
    assert allocate((100, 300), 90) == (60, 30)
    assert allocate((10, 300), 90) == (10, 80)
    assert allocate((300, 10), 90) == (80, 10)


def test_sampled_estimates_are_unbiased():
    """Many samples of one population, drawn as the study draws: means of the estimates against the whole."""
    exact, estimate = population(600, seed=4)
    k, rng = 90, np.random.default_rng(5)
    first = np.argsort(-estimate)[:k]
    rest = np.setdiff1d(np.arange(600), first)
    taken = allocate((len(first), len(rest)), 120)
    found = []
    for _ in range(1500):
        strata = [rng.choice(m, n, replace=False) for m, n in zip((first, rest), taken, strict=True)]
        sample = np.concatenate(strata)
        weights = np.repeat([len(first) / taken[0], len(rest) / taken[1]], taken)
        assert weights.sum() == pytest.approx(600)
        figures = (
            precision_at(k, estimate[sample], exact[sample], weights),
            regret_at(k, estimate[sample], exact[sample], weights),
            (weights * exact[sample])[weights == weights[0]].sum(),
        )
        found.append(figures)
    ones = np.ones(600)
    truth = (
        precision_at(k, estimate, exact, ones),
        regret_at(k, estimate, exact, ones),
        exact[first].sum(),
    )
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(len(found))
    assert mean[2] == pytest.approx(truth[2], abs=4 * error[2])  # sums are unbiased
    assert mean[:2] == pytest.approx(truth[:2], abs=0.02)  # the best k of a sample are so but for its size


def test_questions_are_left_out_with_their_controls():
    neur, ctrl = np.array(["a", "a", "b", "c"]), np.array(["c", "b", "a"])
    [(left, right)] = left_out_weights(neur, ctrl)
    assert left.sum(axis=1) == pytest.approx(np.ones(3)) and right.sum(axis=1) == pytest.approx(np.ones(3))
    assert left.tolist() == [
        [0, 0, 0.5, 0.5],
        pytest.approx([1 / 3, 1 / 3, 0, 1 / 3]),
        pytest.approx([1 / 3] * 3 + [0]),
    ]
    assert np.array_equal(left[:, 3] == 0, right[:, 0] == 0) and np.array_equal(left[:, 0], left[:, 1])
    (own, even), (also, other) = left_out_weights(neur, np.array(["x", "y"]))
    assert own.tolist() == left.tolist() and even.tolist() == [[0.5, 0.5]] * 3
    assert also.tolist() == [[0.25] * 4] * 2 and other.tolist() == [[0, 1], [1, 0]]
    [(_, none)] = left_out_weights(neur, None)
    assert none is None
    [(alone, _)] = left_out_weights(np.array(["a", "a"]), None)
    assert alone.tolist() == [[0.5, 0.5]]


def test_neurons_are_resampled_within_their_strata():
    strata = np.array([0, 1, 0, 1, 1])
    draws = drawn_within(strata, 50, np.random.default_rng(7))
    assert (strata[draws] == strata).all() and set(draws[:, 0]) == {0, 2}


def without_each(values):
    """[P, n] -> means over the prompts without each, [P, n]."""
    weights, _ = left_out_weights(np.arange(len(values)), None)[0]
    return weights @ values


def test_prompts_widen_the_intervals():
    rng = np.random.default_rng(8)
    per_prompt = 3 * rng.normal(size=(6, 80)) + rng.normal(size=80)
    estimate = per_prompt.mean(axis=0) + rng.normal(size=80)
    rows = pd.DataFrame({"exact": per_prompt.mean(axis=0), "m": estimate, "k": 20, "weight": 1.0})
    prompts = [{"exact": without_each(per_prompt), "m": np.tile(estimate, (6, 1))}]
    fixed, both = (agreement(rows, ["m"], resamples=300, prompts=p).iloc[0] for p in (None, prompts))
    assert fixed["rho"] == both["rho"] and fixed["precision"] == both["precision"]
    for low, high in (("low", "high"), ("precision_low", "precision_high"), ("regret_low", "regret_high")):
        assert fixed[low] <= fixed[high]
    assert both["low"] < fixed["low"] and both["high"] > fixed["high"]


def test_intervals_hold_what_other_prompts_would_give():
    """Estimate and exact value share the noise of their prompts.  Repeated prompts would make them agree too well."""
    rng = np.random.default_rng(9)
    neurons, prompts = 60, 24
    own, score = rng.normal(size=(2, neurons))

    def drawn():
        shared = 5 * rng.normal(size=(prompts, neurons))
        return own + shared, score + shared + rng.normal(size=(prompts, neurons))

    typical = np.mean([spearman(*(each.mean(axis=0) for each in drawn())) for _ in range(400)])
    held, inside = 0, 0
    for trial in range(60):
        exact, estimate = drawn()
        rows = pd.DataFrame({"exact": exact.mean(axis=0), "m": estimate.mean(axis=0)})
        left = [{"exact": without_each(exact), "m": without_each(estimate)}]
        row = agreement(rows, ["m"], resamples=200, prompts=left, seed=trial).iloc[0]
        inside += row["low"] <= row["rho"] <= row["high"]
        held += row["low"] <= typical <= row["high"]
    assert inside == 60
    assert held >= 54  # 57 are expected of 95 %; fewer than 54 come by chance in 4 % of such tests
