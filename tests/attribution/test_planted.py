"""A model whose weights are set by hand so that one group's answers depend on four neurons: do the methods find them?"""

from __future__ import annotations

import pytest

import culnig
from culnig import Neuron
from culnig.neurons import GATE
from culnig.selection import select_at_budgets
from tests.helpers.planted import INDICES, MCF, PLANTED, items, planted_model

GRADIENT_METHODS = ["culnig", "culnig:sum", "culnig:absmax", "atp:dataset", "relp", "ig:steps=4"]
SHARE = len(INDICES) / (3 * 48)


@pytest.fixture(scope="module")
def lm():
    return planted_model()


def test_only_the_planted_group_depends_on_them(lm):
    untouched = culnig.evaluate(lm, items(), policy=MCF).rows.groupby("country")["p_gold"].mean()
    with culnig.suppress(lm, PLANTED):
        without = culnig.evaluate(lm, items(), policy=MCF).rows.groupby("country")["p_gold"].mean()
    assert untouched["Iran"] > 0.3 and without["Iran"] < 0.02
    assert untouched["Spain"] > 0.3 and without["Spain"] == pytest.approx(untouched["Spain"], rel=1e-4)


@pytest.fixture(scope="module")
def parts(lm):
    methods = [*GRADIENT_METHODS, "random"]
    neur, ctrl = (culnig.score(lm, items(control), policy=MCF, method=methods) for control in (False, True))
    return neur, ctrl


def chosen_by(parts, method):
    neur, ctrl = (scores.of_method(method) for scores in parts)
    return select_at_budgets(neur, ctrl, None, [GATE], [SHARE])[0]


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_gradient_methods_find_the_planted_neurons(parts, method):
    assert chosen_by(parts, method) == PLANTED


def test_random_does_not(parts):
    assert chosen_by(parts, "random").jaccard(PLANTED) < 0.5


def test_exact_suppression_agrees(lm):
    others = [Neuron(GATE, layer, i) for layer in range(3) for i in range(0, 48, 4)]
    exact = culnig.attribution.oracle(lm, items(), [*PLANTED, *others], policy=MCF).mean()
    assert exact[: len(PLANTED)].min() > 10 * abs(exact[len(PLANTED) :]).max()
