"""Why ability changes: coefficients that were put in are found, and each alone gives its own change of accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from culnig.evaluation import EvalResult
from culnig.studies.ability_change import TERMS, _weights, design, fit, if_alone

ITEMS = 300


def made_rows(prior_weight, nats, advantage, seed=0):
    """Rows whose options are prior_weight x prior + nats x length + advantage of the right one + noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(ITEMS):
        options = 3 + number % 2
        prior, lengths = rng.normal(-8, 2, options), rng.integers(3, 12, options)
        gold = number % options
        logprobs = prior_weight * prior + nats * lengths + rng.normal(0, 0.3, options)
        logprobs[gold] += advantage
        rows.append(
            {
                "id": f"q{number}", "benchmark": "b", "variant": "", "wording": "qa-1", "topic": "t", "country": "none",
                "gold": gold, "option_logprobs": list(logprobs), "pmi_offsets": list(prior),
                "option_lengths": list(map(int, lengths)),
            }
        )  # fmt: skip
    return EvalResult(pd.DataFrame(rows))


def test_coefficients_are_found():
    result = made_rows(0.7, -0.2, 1.5)
    made = design(result)
    found = fit(made, result, _weights(made.questions, 0))
    # Least squares: three standard errors, noise over the root of the summed squares of each term.
    slack = 3 * 0.3 / np.sqrt((made.terms**2).sum(axis=(0, 1)))
    np.testing.assert_array_less(np.abs(found.coefficients[0] - [0.7, -0.2, 1.5]), slack)
    right = [np.argmax(row.option_logprobs) == row.gold for row in result.rows.itertuples()]
    assert found.accuracy[0] == pytest.approx(np.mean(right))
    odds = [np.exp(np.array(o) - np.logaddexp.reduce(o)) for o in result.rows["option_logprobs"]]
    assert found.entropy[0] == pytest.approx(np.mean([-(p * np.log(p)).sum() for p in odds]))


def test_a_coefficient_alone_explains_its_own_change():
    before, after = made_rows(1.0, 0.0, 2.0), made_rows(0.4, 0.0, 2.0)  # the prior alone weighs less
    made = design(before)
    weights = _weights(made.questions, 0)
    first, second = fit(made, before, weights), fit(made, after, weights)
    alone = {term: if_alone(made, first, second, term, weights)[0] for term in TERMS}
    change = second.accuracy[0] - first.accuracy[0]
    assert change > 0.05
    assert alone["prior"] == pytest.approx(change, abs=2 / ITEMS)  # two items at most, where the noise decides
    assert abs(alone["length"]) <= 2 / ITEMS and abs(alone["gold"]) <= 5 / ITEMS
