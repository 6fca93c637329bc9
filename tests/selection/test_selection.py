"""Selection rules on made-up scores."""

from __future__ import annotations

import time

import numpy as np
import pytest

from culnig import NeuronSet, select_general, select_random, select_specific
from culnig.errors import UsageError
from culnig.neurons import MLP_POOL
from culnig.selection import GeneralRule, select_of_size, sweep_general
from culnig.selection.pools import floor_count, top
from tests.helpers.scores import MODULES, make


@pytest.fixture
def three():
    return make(1), make(2), make(3)


def test_general_by_hand(three):
    neur, ctrl, crc = three
    chosen = select_general(*three, t_mlp=0.1, t_attn=0.05, r=0.1)
    for modules, share in (
        (("mlp.gate_proj",), 0.1),
        (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), 0.05),
    ):
        cells = [(m, layer, i) for m in modules for layer in range(4) for i in range(MODULES[m])]
        d = {
            c: (neur.sums["culnig", c[0]][:, c[1], c[2]].sum() - ctrl.sums["culnig", c[0]][:, c[1], c[2]].sum())
            for c in cells
        }
        s = {c: crc.sums["culnig", c[0]][:, c[1], c[2]].sum() for c in cells}
        best = sorted(cells, key=lambda c: -d[c])[: int(share * len(cells))]
        surface = set(sorted(cells, key=lambda c: -s[c])[: int(0.1 * len(cells))])
        assert [tuple(n) for n in chosen if n.module in modules] == [c for c in best if c not in surface]
    assert not any(neuron.module == "mlp.up_proj" for neuron in chosen)


def test_specific_z_and_divisors(three):
    neur, ctrl, _crc = three
    neur.count[:] = ctrl.count[:] = [10, 20, 40]
    sets = select_specific(*three, t=0.2, r=0.01, z=0.5)
    assert set(sets) == {"China", "Iran", "Spain"}
    for country, chosen in sets.items():
        for neuron, score in chosen.scores.items():
            values = np.array([chosen.extra[neuron]["scores"][c] for c in neur.groups])
            z = (values[neur.groups.index(country)] - values.mean()) / values.std()
            assert z >= 0.5 and score == values[neur.groups.index(country)]
    c = neur.groups.index("Spain")
    neuron, score = next(iter(sets["Spain"].scores.items()))
    at = ("culnig", neuron.module)
    expected = (neur.sums[at][c, neuron.layer, neuron.index] - ctrl.sums[at][c, neuron.layer, neuron.index]) / 40
    assert score == pytest.approx(float(expected), rel=1e-5)
    paper = select_specific(*three, t=0.2, r=0.01, z=-99, preset="paper")
    assert paper["Spain"].scores[neuron] == pytest.approx(_paper_score(neur, ctrl, c, neuron), rel=1e-5)


def _paper_score(neur, ctrl, c, neuron):
    at = ("culnig", neuron.module)
    sums = [s.sums[at][c, neuron.layer, neuron.index] / s.meta["num_items"] for s in (neur, ctrl)]
    return float(sums[0] - sums[1])


def test_paper_preset_counts_items_not_prompts(three):
    """Two wordings an item: the paper's divisor is half of ours."""
    for s in three:
        s.meta["num_items"] = int(s.count.sum()) // 2
    ours, paper = (select_general(*three, preset=p, t_mlp=0.05) for p in ("corrected", "paper"))
    assert list(ours) == list(paper)
    for neuron in ours:
        assert paper.scores[neuron] == pytest.approx(2 * ours.scores[neuron])


def test_scores_that_do_not_belong_together(three):
    neur, ctrl, crc = three
    with pytest.raises(UsageError, match="another model"):
        select_general(neur, ctrl, make(3, model_hash="other"))
    with pytest.raises(UsageError, match="another prompt policy"):
        select_general(neur, make(2, prompts={"formulation": "cf"}), crc)
    with pytest.raises(UsageError, match="no scores of"):
        select_specific(neur, ctrl, crc, countries=["Mexico"])


def test_scores_of_earlier_versions_go_with_new_ones(three):
    """Files of versions without calibration do not say that they have none."""
    neur, ctrl, crc = three
    old, new = (
        {"formulation": "cf"},
        {"formulation": "cf", "calibration": "none", "offsets_from": "untouched", "orders": "given"},
    )
    for scores, prompts in ((neur, new), (ctrl, old), (crc, old)):
        scores.meta["prompts"] = prompts
    assert len(select_general(neur, ctrl, crc, t_mlp=0.05))
    ctrl.meta["prompts"] = new | {"calibration": "pmi"}
    with pytest.raises(UsageError, match="another prompt policy"):
        select_general(neur, ctrl, crc)


@pytest.mark.parametrize("wrong", [{"t_mlp": 0}, {"t_mlp": 1.5}, {"r": -0.1}, {"preset": "best"}])
def test_thresholds_out_of_range(three, wrong):
    with pytest.raises(UsageError):
        select_general(*three, **wrong)


def test_random_matched_and_uniform(three):
    chosen = select_general(*three, t_mlp=0.2, t_attn=0.1)
    shapes = three[0].shapes()
    for how in ("matched", "uniform"):
        draws = [select_random(chosen, shapes, how=how, seed=s) for s in (0, 0, 1)]
        assert draws[0] == draws[1] != draws[2]
        assert len(draws[0]) == len(chosen) and not len(draws[0] & chosen)
    assert select_random(chosen, shapes, seed=5).counts() == chosen.counts()
    pool = [select_random(chosen, shapes, how="pool", seed=s) for s in range(20)]  # as published: own neurons, too
    assert all(len(drawn) == len(chosen) for drawn in pool) and any(len(drawn & chosen) for drawn in pool)
    whole = [select_random(chosen, shapes, how="whole", seed=s) for s in range(20)]  # one pool of gate, q, k and v
    assert all(len(drawn) == len(chosen) for drawn in whole) and any(len(drawn & chosen) for drawn in whole)
    gates = {sum(neuron.module == "mlp.gate_proj" for neuron in drawn) for drawn in whole}
    assert len(gates) > 1 and all(neuron.module != "mlp.up_proj" for drawn in whole for neuron in drawn)
    with pytest.raises(UsageError, match="empty"):
        select_random(NeuronSet(), shapes)


def test_random_matched_by_norm(three):
    """As many from each quantile of activity in each layer; everywhere else as `matched`."""
    chosen = select_general(*three, t_mlp=0.2, t_attn=0.1)
    shapes = three[0].shapes()
    norms = {m: np.abs(np.random.default_rng(4).normal(size=shape)) for m, shape in shapes.items()}

    def bins(neurons):
        ranks = {m: values.argsort(axis=1).argsort(axis=1) * 5 // values.shape[1] for m, values in norms.items()}
        return sorted((n.module, n.layer, ranks[n.module][n.layer, n.index]) for n in neurons)

    drawn = select_random(chosen, shapes, how="norm", norms=norms, bins=5, seed=1)
    assert bins(drawn) == bins(chosen) and not len(drawn & chosen)
    assert bins(select_random(chosen, shapes, seed=1)) != bins(chosen)
    # Any increasing function of the norms gives the same control.
    assert drawn == select_random(chosen, shapes, how="norm", norms={m: v**3 for m, v in norms.items()}, bins=5, seed=1)


def test_random_by_norm_wrong_uses(three):
    chosen, shapes = select_general(*three, t_mlp=0.2, t_attn=0.1), three[0].shapes()
    norms = {m: np.ones(shape) for m, shape in shapes.items()}
    for given, says in (
        ({"norms": None}, "need norms"),
        ({"norms": {"mlp.up_proj": norms["mlp.up_proj"]}}, "no norms of mlp.gate_proj"),
        ({"norms": norms | {"mlp.gate_proj": np.ones((4, 3))}}, r"\(4, 3\), the scores \(4, 50\)"),
        ({"norms": norms | {"mlp.gate_proj": np.full((4, 50), np.nan)}}, "not finite"),
        ({"norms": norms, "bins": 0}, "at least 1"),
        ({"norms": norms, "bins": 50}, "use fewer bins"),
    ):
        with pytest.raises(UsageError, match=says):
            select_random(chosen, shapes, how="norm", **given)


def test_random_is_the_same_in_every_process(three):
    """The order of a set of names differs between processes; draws must not depend on it."""
    from culnig.selection.random import _site_strata

    chosen, shapes = select_general(*three, t_mlp=0.2, t_attn=0.1), three[0].shapes()
    for how in ("matched", "uniform"):
        assert all(members == sorted(members) for _, members in _site_strata(chosen, shapes, how))


def test_sweep_equals_single_selections(three):
    settings = [{"t_mlp": t, "t_attn": a, "r": r} for t in (0.01, 0.1) for a in (0.02, 0.1) for r in (0.0, 0.05)]
    for setting, (rule, chosen) in zip(settings, sweep_general(*three, settings), strict=True):
        assert list(chosen) == list(select_general(*three, **setting)) and rule.t_mlp == setting["t_mlp"]


def test_top_is_exact_with_ties():
    values = np.array([1.0, 3.0, 3.0, 2.0, 3.0])
    assert list(top(values, 2)) == [1, 2] and list(top(values, 9)) == [1, 2, 4, 3, 0] and list(top(values, 0)) == []
    assert floor_count(0.01, 300) == 3 and floor_count(0.002, 512) == 1


@pytest.mark.slow
def test_large_selection_is_quick():
    """1.2 M neurons x 16 countries; the bar is in bench/, this only guards against loops over neurons."""
    modules = {"mlp.gate_proj": 15_000, "self_attn.q_proj": 6_000, "self_attn.k_proj": 2_000, "self_attn.v_proj": 2_000}
    groups = [f"c{i}" for i in range(16)]
    neur, ctrl, crc = (make(s, groups, 48, modules) for s in range(3))
    started = time.monotonic()
    select_general(neur, ctrl, crc)
    select_specific(neur, ctrl, crc, countries=groups[:8])
    assert time.monotonic() - started < 60


def test_a_set_of_a_given_size():
    """The rule that made a set makes it again from its size; without a part, another one as large comes out."""
    neur, ctrl, crc, ability = (make(i) for i in (1, 2, 3, 4))
    rule = GeneralRule(t_mlp=0.1, t_attn=0.1, r=0.1, r_ability=0.1)
    whole = select_general(neur, ctrl, crc, ability=ability, **rule.model_dump())
    again = select_of_size(whole, neur, ctrl, crc, ability=ability, rule=rule)
    assert list(again) == list(whole) and again.scores == whole.scores
    for parts in ((neur, None, crc), (neur, ctrl, None)):
        other = select_of_size(whole, *parts, ability=ability, rule=rule)
        assert len(other) == len(whole) and other != whole
        assert sum(n.module in MLP_POOL for n in other) == sum(n.module in MLP_POOL for n in whole)
