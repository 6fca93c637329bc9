"""Areas under frontiers and costs at equal effect, against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.statistics.frontier import area, cost_at


def test_the_area_is_the_mean_of_the_best_within_each_budget():
    effect, cost = np.array([0.1, 0.3, 0.2]), np.array([0.02, 0.06, 0.08])
    budgets = np.linspace(0, 0.1, 100_001)
    best = [max([0.0, *effect[cost <= budget]]) for budget in budgets[::100]]
    assert area(effect, cost, 0.1) == pytest.approx(np.mean(best), abs=1e-3)
    assert area(effect, cost, 0.1) == pytest.approx((0.04 * 0.1 + 0.04 * 0.3) / 0.1)


def test_sets_beyond_the_budget_and_harmful_ones_do_not_count():
    assert area(np.array([0.4]), np.array([0.2]), 0.1) == 0
    assert area(np.array([-0.4]), np.array([0.01]), 0.1) == 0
    assert area(np.array([0.4]), np.array([-0.2]), 0.1) == pytest.approx(0.4)  # without cost: from the first budget on


def test_the_area_grows_with_effect_and_falls_with_cost():
    rng = np.random.default_rng(0)
    effect, cost = rng.uniform(size=(50, 4)), rng.uniform(size=(50, 4))
    assert (area(effect + 0.1, cost, 0.5) >= area(effect, cost, 0.5)).all()
    assert (area(effect, cost + 0.1, 0.5) <= area(effect, cost, 0.5)).all()


def test_the_cost_at_an_effect_lies_on_the_line_between_two_sizes():
    effect, cost = np.array([[0.1, 0.3], [0.1, 0.15]]), np.array([[0.02, 0.06], [0.02, 0.06]])
    found = cost_at(effect, cost, 0.2)
    assert found[0] == pytest.approx(0.04)
    assert np.isnan(found[1])
    assert cost_at(effect, cost, 0.05) == pytest.approx([0.01, 0.01])


def test_each_row_may_have_an_effect_of_its_own():
    effect, cost = np.array([[0.1, 0.3], [0.1, 0.15], [0.1, 0.2]]), np.array([[0.02, 0.06]] * 3)
    found = cost_at(effect, cost, np.array([0.2, 0.2, -0.1]))
    assert found[0] == pytest.approx(0.04)
    assert np.isnan(found[1])
    assert found[2] == 0  # the empty set takes as little
