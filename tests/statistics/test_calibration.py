"""The null test: on shuffled country labels, culture-specific selection finds no own-country effect beyond the nominal rate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import culnig
from culnig import Scores, select_specific
from culnig.data.countries import TARGETS
from culnig.statistics.matrices import own_country_effect

SEEDS = 20
MOST_REJECTIONS = 3
"""Of 20 tests at level 0.05; four or more would happen with probability 0.016."""
MODULES = {
    "mlp.gate_proj": (2, 300),
    "self_attn.q_proj": (2, 60),
    "self_attn.k_proj": (2, 30),
    "self_attn.v_proj": (2, 30),
}
SIZE = sum(layers * width for layers, width in MODULES.values())


def scores_of(contributions, labels, groups):
    """Per-item contributions [items, neurons] -> Scores by label."""
    sums, start = {}, 0
    for module, (layers, width) in MODULES.items():
        part = contributions[:, start : start + layers * width].reshape(-1, layers, width)
        sums["culnig", module] = np.stack([part[labels == g].sum(axis=0) for g in range(len(groups))]).astype(
            np.float32
        )
        start += layers * width
    counts = np.bincount(labels, minlength=len(groups)).astype(np.int64)
    meta = {"model": "m", "model_hash": "h", "item_ids": {}, "num_items": len(labels), "modules": list(MODULES)}
    return Scores(sums, counts, list(groups), meta)


def flat_positions(neurons):
    starts = dict(zip(MODULES, np.cumsum([0, *(a * b for a, b in MODULES.values())]), strict=False))
    return [starts[n.module] + n.layer * MODULES[n.module][1] + n.index for n in neurons]


def own_country_p(seed, effect, shuffled, items=15):
    """A world in which an answer loses what its silenced neurons contributed; every country has 15 neurons of its own."""
    rng = np.random.default_rng(seed)
    country = np.repeat(np.arange(len(TARGETS)), items)
    mean = np.zeros((len(TARGETS), SIZE))
    for c in range(len(TARGETS)):
        mean[c, rng.choice(SIZE, 15, replace=False)] = effect
    mean += rng.gamma(1.0, 0.2, SIZE) * rng.gamma(2.0, 0.5, len(TARGETS))[:, None]  # strong neurons, fragile countries
    find, test = (mean[country] + rng.normal(size=(len(country), SIZE)) for _ in range(2))
    labels = rng.permutation(country) if shuffled else country
    noise = [scores_of(0.1 * rng.normal(size=find.shape), labels, TARGETS) for _ in range(2)]
    sets = select_specific(scores_of(find, labels, TARGETS), *noise, t=0.03)
    drop = [
        [test[country == c][:, flat_positions(sets[g])].sum(axis=1).mean() for c in range(len(TARGETS))]
        for g in TARGETS
    ]
    return own_country_effect(np.array(drop)).p


def test_planted_countries_are_found():
    assert all(own_country_p(seed, effect=2.0, shuffled=False) < 0.001 for seed in range(3))


def test_shuffled_labels_are_significant_at_the_nominal_rate():
    from scipy.stats import kstest

    p = [own_country_p(seed, effect=2.0, shuffled=True) for seed in range(SEEDS)]
    assert sum(value <= 0.05 for value in p) <= MOST_REJECTIONS
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_shuffled_labels_through_a_real_model(tiny):
    """The whole chain on a tiny random model: scores of each item alone, shuffled into five countries, suppressed, tested."""
    countries = ["China", "Iran", "Mexico", "Spain", "UK"]
    rng = np.random.default_rng(0)

    def words(number):
        return [f"w{k}" for k in rng.choice(400, number, replace=False)]

    def items(count):
        return [
            culnig.Item(f"{i}", "words", f"item{i:02d}", " ".join(words(5)), tuple(words(4)), i % 4)
            for i in range(count)
        ]

    find, test = items(40), items(40)
    alone = [
        culnig.score(tiny, [dataclasses.replace(item, **change) for item in find], formulation="cf")
        for change in ({}, {"question": "", "control": True})
    ]
    test_country = np.repeat(np.arange(5), 8)
    untouched = culnig.evaluate(tiny, test, formulation="cf").rows["log_odds"]
    rejected = 0
    for seed in range(SEEDS):
        labels = np.random.default_rng(seed).permutation(test_country)
        neur, ctrl = (grouped(scores, labels, countries) for scores in alone)
        drop = []
        for chosen in select_specific(neur, ctrl, neur, countries=countries, t=0.02, r=0.0).values():
            with culnig.suppress(tiny, chosen):
                lost = untouched - culnig.evaluate(tiny, test, formulation="cf").rows["log_odds"]
            drop.append([lost[test_country == c].mean() for c in range(5)])
        rejected += own_country_effect(np.array(drop)).p <= 0.05
    assert rejected <= MOST_REJECTIONS


def grouped(scores, labels, countries):
    """Scores of single items as groups -> scores by country."""
    sums = {
        key: np.stack([values[labels == c].sum(axis=0) for c in range(len(countries))])
        for key, values in scores.sums.items()
    }
    return Scores(sums, np.bincount(labels).astype(np.int64), countries, scores.meta)
