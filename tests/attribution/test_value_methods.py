"""Selection by methods that measure values (lape, cape, mean_contrast): on made-up scores, by hand."""

from __future__ import annotations

import numpy as np
import pytest

import culnig
from culnig import Neuron
from culnig.attribution import METHODS, parse_method
from culnig.errors import UsageError

GATE = "mlp.gate_proj"


def made(name, sums, count, groups, tokens=None, **meta):
    base = {"model": "m", "model_hash": "h", "item_ids": {}, "num_items": int(np.sum(count)), "method": name}
    arrays = {key: np.asarray(value, dtype=np.float32) for key, value in sums.items()}
    tokens = None if tokens is None else np.asarray(tokens)
    return culnig.Scores(arrays, np.asarray(count), groups, base | meta, tokens)


def lape_scores(name="lape", special=((3, 0), (7, 1), (11, 2)), seed=0):
    """100 neurons that are active alike in three groups, but for a few that are active in one."""
    rng = np.random.default_rng(seed)
    tokens = np.array([1000, 2000, 4000])
    p = rng.uniform(0.2, 0.4, (1, 2, 50)) * np.ones((3, 1, 1))
    for neuron, group in special:
        p[:, 0, neuron] = 0.01
        p[group, 0, neuron] = 0.9
    return made(name, {(name, GATE): p * tokens[:, None, None]}, [10, 20, 40], ["A", "B", "C"], tokens)


def test_lape_finds_the_constructed_groups():
    scores = lape_scores()
    chosen = culnig.select_general(scores, None, None, t_mlp=0.03)
    assert set(chosen) == {Neuron(GATE, 0, i) for i in (3, 7, 11)}
    assert len(culnig.select_general(scores, None, None)) == 1  # the lowest 1 % unless told
    sets = culnig.select_specific(scores, None, None, t=0.03)
    assert {c: [n.index for n in s] for c, s in sets.items()} == {"A": [3], "B": [7], "C": [11]}
    # By hand: the entropy of (0.9, 0.01, 0.01), normalised.
    q = np.array([0.9, 0.01, 0.01]) / 0.92
    assert sets["A"].scores[Neuron(GATE, 0, 3)] == pytest.approx(float((q * np.log(q)).sum()), rel=1e-5)
    # Low entropy with low probability is not enough: all of a group's p must be over the 95th percentile somewhere.
    faint = lape_scores()
    faint.sums["lape", GATE][:, 1, 5] = [20, 0, 0]
    assert Neuron(GATE, 1, 5) not in culnig.select_general(faint, None, None, t_mlp=0.5)


def test_cape_takes_away_what_the_controls_show():
    neur, ctrl = lape_scores("cape"), lape_scores("cape", special=((3, 0),))
    sets = culnig.select_specific(neur, ctrl, None, t=0.02)
    assert {c: [n.index for n in s] for c, s in sets.items()} == {"A": [], "B": [7], "C": [11]}
    with pytest.raises(UsageError, match="give --ctrl, or use lape"):
        culnig.select_specific(neur, None, None)


def test_mean_contrast_by_hand():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 2, (30, 1, 6)), rng.normal(0, 1, (20, 1, 6))

    def scores(x, name):
        half = len(x) // 2
        parts = [x[:half], x[half:]]
        sums = {(name, GATE): [p.sum(0) for p in parts], (f"{name}+squares", GATE): [(p**2).sum(0) for p in parts]}
        return made(name, sums, [half, len(x) - half], ["A", "B"])

    method = METHODS.get("mean_contrast")(base="mean_contrast")
    rank = method.culture_general_rank(scores(a, "mean_contrast"), scores(b, "mean_contrast"), None)(GATE)
    np.testing.assert_allclose(rank, np.abs(a.mean(0) - b.mean(0)), rtol=1e-4)
    name = "mean_contrast:d"
    pooled = np.sqrt((a.var(0, ddof=1) * 29 + b.var(0, ddof=1) * 19) / 48)
    rank = parse_method(name).culture_general_rank(scores(a, name), scores(b, name), None)(GATE)
    np.testing.assert_allclose(rank, np.abs(a.mean(0) - b.mean(0)) / pooled, rtol=1e-4)
    groups = parse_method("mean_contrast").culture_specific_rank(scores(a, "mean_contrast"), None, None)(GATE)
    np.testing.assert_allclose(groups[0], np.abs(a[:15].mean(0) - a[15:].mean(0)), rtol=1e-4)
    with pytest.raises(UsageError, match="compares the items with their controls"):
        culnig.select_general(scores(a, "mean_contrast"), None, None)
