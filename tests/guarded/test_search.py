"""The guarded search on a planted model: it finds what it should, keeps its budgets, and can be taken up again."""

from __future__ import annotations

import itertools
import json
from contextlib import contextmanager

import pytest
import torch

import culnig
from culnig import GuardedSettings, Neuron, NeuronSet, guarded_data, select_guarded
from culnig.errors import UsageError
from culnig.guarded import parse_harm
from culnig.guarded.damping import FACTOR, damped
from culnig.guarded.path import Round
from culnig.guarded.search import _Search
from culnig.neurons import GATE
from tests.helpers.planted import MCF, PLANTED, items, planted_model

TEXTS = [f"w{i} w{i + 1} w{i + 3} w{i + 7}" for i in range(12)]


@pytest.fixture(scope="module")
def lm():
    return planted_model()


@pytest.fixture(scope="module")
def data(lm):
    by_country = {c: [item for item in items(number=64) if item.country == c] for c in ("Iran", "Spain")}
    return guarded_data(lm, by_country["Iran"], protect={"ability": by_country["Spain"]}, texts=TEXTS)


def settings(**changes):
    return GuardedSettings(
        **({"harm": {"perplexity": 0.5, "ability": 0.05}, "step": 2, "items": 12, "texts": 6} | changes)
    )


def test_exactly_the_planted_neurons_are_found(lm, data):
    path = select_guarded(lm, data, settings(), policy=MCF)
    assert path.neurons == PLANTED
    assert path.stopped == "no neuron is worth its cost"
    last = path.rounds[-1].changes
    assert last["culture"].change < -0.9 and last["ability"].change == 0


def test_replacement_by_means_is_chosen_and_judged_alike(lm, data):
    """The planted neurons are 0 or large: their means take the question's answer away as zeroes do."""
    path = select_guarded(lm, data, settings(operation="mean"), policy=MCF)
    assert path.neurons.top(4) == PLANTED
    assert path.neurons.provenance["means"] is not None
    means = culnig.mean_values(lm, data.culture.search, policy=MCF)
    kept = [each for each in path.rounds if each.kept][-1]
    with culnig.replace(lm, path.neurons, means):
        accuracy = culnig.evaluate(lm, data.culture.check, policy=MCF).accuracy
    untouched = culnig.evaluate(lm, data.culture.check, policy=MCF).accuracy
    assert accuracy - untouched == pytest.approx(kept.changes["culture"].change)


def test_replacement_needs_what_it_replaces_by(lm, data):
    with pytest.raises(UsageError, match="operation control needs controls"):
        select_guarded(lm, data, settings(operation="control"), policy=MCF)
    with pytest.raises(UsageError, match="choose greedy"):
        select_guarded(lm, data, settings(operation="mean", method="mask"), policy=MCF)
    with pytest.raises(UsageError, match="atp:dataset"):
        select_guarded(lm, data, settings(operation="mean", score="culnig:sum:odds"), policy=MCF)


@pytest.mark.parametrize("method", ["mask", "ratio", "difference", "veto"])
def test_every_method_finds_the_planted_neurons(lm, data, method):
    """Those that rank once go on to other neurons, and these are dropped at the end."""
    path = select_guarded(lm, data, settings(method=method, step=4, max_neurons=8, steps=8), policy=MCF)
    assert set(path.rounds[0].added) == set(PLANTED)
    assert path.neurons.top(4) == PLANTED
    assert path.rounds[-1].changes["ability"].change == 0


def test_what_is_not_needed_is_dropped(lm, data):
    """Of a set of ten, four do the work; others go, and the four stay."""
    idle = [Neuron(GATE, 0, i) for i in range(6)]
    search = _Search(lm, data, settings(), MCF, culnig.progress.Silent())
    added = [*idle[:3], *PLANTED, *idle[3:]]
    with culnig.suppress(lm, NeuronSet(added)):
        changes = search.checks.now()
    search.path.rounds.append(Round(1, added, [1.0] * len(added), len(added), changes, [], 0.0))
    search.drop()
    assert set(PLANTED) <= set(search.path.chosen)
    assert len(search.path.chosen) < len(added)
    again = Round.from_json(json.loads(json.dumps(search.path.rounds[-1].to_json())))
    assert again.dropped == search.path.rounds[-1].dropped


def test_only_candidates_are_chosen(lm, data):
    among = NeuronSet([*list(PLANTED)[:2], Neuron(GATE, 0, 1)])
    path = select_guarded(lm, data, settings(), policy=MCF, among=among)
    assert set(list(PLANTED)[:2]) <= set(path.neurons) <= set(among)


def test_scores_must_add_up(lm, data):
    with pytest.raises(UsageError, match="signed sums"):
        select_guarded(lm, data, settings(score="culnig"), policy=MCF)


def test_damped_neurons_say_what_bringing_them_back_would_do(tiny, word_items):
    """The slope at the factor, by the gradient and by a finite difference in the weights that read the neurons."""
    neurons = [Neuron(GATE, 0, 3), Neuron("self_attn.v_proj", 1, 5)]
    questions = [item for item in word_items if not item.control]
    policy = culnig.PromptPolicy(formulation="cf")
    method = "culnig:sum:odds:unweighted:product"
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    with damped(tiny, neurons):
        scores = culnig.score(tiny, questions, policy=policy, method=method)
        odds = culnig.evaluate(tiny, questions, policy=policy).rows["log_odds"].mean()
        with tiny.untouched():
            assert all((tensor == before[name]).all() for name, tensor in tiny.model.state_dict().items())
    assert all((tensor == before[name]).all() for name, tensor in tiny.model.state_dict().items())
    for neuron in neurons:
        slope = scores.mean(neuron.module, method)[neuron.layer, neuron.index] / FACTOR
        others = [each for each in neurons if each != neuron]
        with damped(tiny, others), scaled_behind(tiny, neuron, 4 * FACTOR):
            more = culnig.evaluate(tiny, questions, policy=policy).rows["log_odds"].mean()
        # Log-odds of three digits; a curve bends little over three hundredths.
        assert (more - odds) / (3 * FACTOR) == pytest.approx(slope, rel=0.03)


@contextmanager
def scaled_behind(lm, neuron, factor):
    """Multiply a neuron by a factor, an MLP neuron in the column that reads it."""
    if neuron.module != GATE:
        with culnig.scale(lm, NeuronSet([neuron]), factor):
            yield
        return
    weight = lm.layers[neuron.layer].mlp.down_proj.weight
    kept = weight.detach()[:, neuron.index].clone()
    with torch.no_grad():
        weight[:, neuron.index] = kept * factor
    try:
        yield
    finally:
        with torch.no_grad():
            weight[:, neuron.index] = kept


def test_the_model_is_the_same_afterwards(lm, data):
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    select_guarded(lm, data, settings(max_neurons=2), policy=MCF)
    assert all((tensor == before[name]).all() for name, tensor in lm.model.state_dict().items())


def test_a_round_beyond_its_budget_is_taken_back(lm):
    """What is protected needs the planted neurons itself, and does not weigh at first."""
    iran = [item for item in items(number=64) if item.country == "Iran"]
    data = guarded_data(lm, iran, protect={"ability": iran}, texts=TEXTS)
    path = select_guarded(lm, data, settings(harm={"ability": 0.0}, patience=2, protect_weight=0.001), policy=MCF)
    assert set(path.neurons) < set(PLANTED)
    assert [each.crossed for each in path.rounds[-2:]] == [["ability"], ["ability"]]
    assert len(path.rounds[-1].added) == 1
    assert all(each.changes["ability"].change == 0 for each in path.rounds if each.kept)
    assert path.stopped == "the budget of ability is used up"


def test_every_prefix_is_a_set_of_the_path(lm, data):
    path = select_guarded(lm, data, settings(step=1), policy=MCF)
    order = [each.added[0] for each in path.rounds if each.kept]
    assert list(path.neurons.top(2)) == order[:2]


def test_it_goes_on_where_it_was_stopped(lm, data, tmp_path):
    whole = select_guarded(lm, data, settings(step=1), policy=MCF)
    progress = tmp_path / "progress.json"

    class Stop(Exception):
        pass

    class Stopping:
        def say(self, text):
            if text.startswith("round 2"):
                raise Stop

        def step(self, name, total=None, unit=""):
            return culnig.progress.Silent().step(name)

    with pytest.raises(Stop):
        select_guarded(lm, data, settings(step=1), policy=MCF, checkpoint=progress, reporter=Stopping())
    assert len(json.loads(progress.read_text())["rounds"]) == 1
    again = select_guarded(lm, data, settings(step=1), policy=MCF, checkpoint=progress)
    assert list(again.neurons) == list(whole.neurons)
    assert [each.added for each in again.rounds] == [each.added for each in whole.rounds]


def test_progress_of_another_search_is_not_used(lm, data, tmp_path):
    progress = tmp_path / "progress.json"
    select_guarded(lm, data, settings(step=1, max_neurons=1), policy=MCF, checkpoint=progress)
    path = select_guarded(lm, data, settings(step=2, max_neurons=2), policy=MCF, checkpoint=progress)
    assert len(path.rounds) == 1 and len(path.neurons) == 2


def test_no_question_is_searched_and_checked(data):
    for part in (data.culture, *data.protect.values()):
        assert not {item.id for item in part.search} & {item.id for item in part.check}
    assert not set(data.texts[0]) & set(data.texts[1])


def test_the_target_ends_the_search(lm, data):
    path = select_guarded(lm, data, settings(step=4, target=0.5), policy=MCF)
    assert path.stopped == "the target of 50 points is reached"


def test_budgets_and_modules_must_exist(lm, data):
    with pytest.raises(UsageError, match="nothing called school"):
        select_guarded(lm, data, settings(harm={"school": 0.01}), policy=MCF)
    with pytest.raises(UsageError, match="no module 'mlp\\.other'"):
        select_guarded(lm, data, settings(modules=["mlp.other"]), policy=MCF)


def test_controls_are_items_or_other_countries(lm):
    with pytest.raises(UsageError, match="controls 'others': give items"):
        guarded_data(lm, items(number=64), controls="others", texts=TEXTS)


def test_budgets_are_written_in_percent_and_points():
    assert parse_harm("perplexity=5%, ability=1") == {"perplexity": 0.05, "ability": 0.01}
    for wrong in ("ability", "ability=x", "ability=-1", "=1"):
        with pytest.raises(UsageError, match="NAME=NUMBER"):
            parse_harm(wrong)
    with pytest.raises(UsageError, match="twice"):
        parse_harm("a=1,a=2")


def test_the_models_own_texts_are_seeded(tiny):
    from culnig.passes.generation import sample_texts

    one, same, other = (sample_texts(tiny, 4, 8, seed=seed) for seed in (0, 0, 1))
    assert one == same != other and len(one) == 4
    assert all(text.strip() for text in one)


def test_log_odds_are_what_their_name_says(tiny, word_items):
    """Gold against all others together, exactly, as the evaluation has it."""
    neurons = [Neuron(GATE, 0, 3), Neuron(GATE, 1, 5)]
    questions = [item for item in word_items if not item.control]
    exact = culnig.oracle(tiny, questions, neurons, formulation="cf", target="odds").change
    before = culnig.evaluate(tiny, questions, policy=culnig.PromptPolicy(formulation="cf")).rows["log_odds"]
    for column, neuron in enumerate(neurons):
        with culnig.suppress(tiny, NeuronSet([neuron])):
            after = culnig.evaluate(tiny, questions, policy=culnig.PromptPolicy(formulation="cf")).rows["log_odds"]
        assert exact[:, column] == pytest.approx((before - after).to_numpy(), abs=1e-5)


def test_another_seed_splits_the_questions_anew():
    """With the seed inside a CRC, every seed gave one split or its complement."""
    from culnig.guarded.data import _unit

    names = [f"q{i:05d}" for i in range(2000)]
    low = [[_unit(name, seed) < 0.5 for name in names] for seed in (0, 1, 2, 3)]
    for one, other in itertools.combinations(low, 2):
        same = sum(a == b for a, b in zip(one, other, strict=True)) / len(names)
        assert same == pytest.approx(0.5, abs=0.06)  # five standard deviations of 2,000 coins
