"""Neuron cards: the numbers of a card recomputed from saved rows; contributions are what scores are made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from culnig.attribution.per_item import score_items
from culnig.attribution.per_position import positions_of
from culnig.errors import ModelError, UsageError
from culnig.models.downstream import logit_lens, output_directions
from culnig.neurons import GATE, QUERY, VALUE, Neuron, Site
from culnig.run.config import load_config
from culnig.run.pipeline import analyse, run
from tests.helpers.configs import write_config

NEURONS = [Neuron(GATE, 0, 3), Neuron(GATE, 1, 5), Neuron(QUERY, 1, 2), Neuron(VALUE, 0, 1)]


@pytest.mark.parametrize("method", ["culnig", "culnig:logp", "culnig:sum:unweighted"])
def test_contributions_put_together_are_the_score(tiny, word_items, method):
    policy = tiny.scoring_policy("cf")
    found = positions_of(tiny, word_items, NEURONS, policy=policy, method=method)
    scores = score_items(tiny, word_items, NEURONS, policy=policy, method=method, control=False)
    together = np.sum if "sum" in method else np.max
    mine = [
        together(each.contributions, axis=0) * (1 if "unweighted" in method else each.probability) for each in found
    ]
    assert np.allclose(np.stack(mine), scores, atol=1e-6)
    assert [each.item.id for each in found] == [item.id for item in word_items]


def test_positions_hold_the_prompt_and_the_values(tiny, word_items):
    found = positions_of(tiny, word_items[:1], NEURONS, policy=tiny.scoring_policy("cf"))[0]
    with torch.no_grad():
        seen = []
        handle = tiny.sites[NEURONS[0].site].module.register_forward_hook(lambda m, a, out: seen.append(out))
        tiny.model(input_ids=torch.from_numpy(found.token_ids[None, : found.prompt_tokens]))
        handle.remove()
    assert np.allclose(found.values[: found.prompt_tokens, 0], seen[0][0, :, 3].numpy(), atol=1e-5)
    assert found.values.shape == found.contributions.shape == (len(found.token_ids), len(NEURONS))


def test_methods_without_contributions_are_refused(tiny, word_items):
    with pytest.raises(UsageError, match="use culnig"):
        positions_of(tiny, word_items, NEURONS, policy=tiny.scoring_policy("cf"), method="relp")
    with pytest.raises(UsageError, match="no neurons"):
        positions_of(tiny, word_items, [], policy=tiny.scoring_policy("cf"))


def test_an_output_direction_is_what_a_neuron_adds(tiny):
    """The last layer's MLP: one product at 1, all others at 0, is the direction; of v, one value in all its heads."""
    layer = tiny.num_layers - 1
    reader = tiny.layers[layer].mlp.down_proj
    one = torch.zeros(reader.in_features)
    one[7] = 1.0
    assert torch.allclose(output_directions(tiny, Site(GATE, layer))[7], reader(one), atol=1e-6)
    with pytest.raises(ModelError, match="no output direction"):
        output_directions(tiny, Site(QUERY, 0))
    config = tiny.text_config
    heads = config.num_attention_heads // config.num_key_value_heads
    width = tiny.sites[Site(VALUE, 0)].width // config.num_key_value_heads
    values = torch.zeros(config.num_key_value_heads, width)
    values[0, 1] = 1.0
    out = tiny.layers[0].self_attn.o_proj(values.repeat_interleave(heads, dim=0).flatten())
    assert torch.allclose(output_directions(tiny, Site(VALUE, 0))[1] * heads, out, atol=1e-5)


def test_the_lens_is_norm_and_head(tiny):
    directions = output_directions(tiny, Site(GATE, 0))[:2]
    norm, head = tiny.model.model.norm, tiny.model.lm_head
    assert torch.allclose(logit_lens(tiny, directions), head(norm(directions)), atol=1e-4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reference_dir):
    config = write_config(tmp_path_factory.mktemp("config"), reference_dir)
    settings = ["studies=[culture_general, neuron_cards]", "neuron_cards.top=5", "neuron_cards.alone=2"]
    return run(load_config(config, settings), tmp_path_factory.mktemp("runs") / "cards")


@pytest.mark.slow
def test_a_card_recomputes_from_saved_rows(finished):
    section = next(each for each in analyse(finished) if each.study == "neuron_cards")
    folder = finished.path / "measured" / "neuron_cards"
    rows, lens = (pd.read_parquet(folder / f"{name}.parquet") for name in ("positions", "lens"))
    best = sorted(finished.neurons("culture-general").scores.items(), key=lambda pair: -pair[1])
    assert len(section.cards) == 5
    for j, card in enumerate(section.cards):
        assert (Neuron(card["module"], card["layer"], card["index"]), card["score"]) == best[j]
        own = rows.assign(c=[each[j] for each in rows["contributions"]], v=[each[j] for each in rows["values"]])
        scores = own.groupby("prompt").apply(lambda part: part["c"].max() * part["probability"].iloc[0])
        shown = card["questions"]
        assert [each["score"] for each in shown] == pytest.approx(sorted(scores, reverse=True)[: len(shown)])
        top = own[own["prompt"] == scores.idxmax()]
        assert shown[0]["tokens"] == list(top["token"]) and shown[0]["id"] == top["id"].iloc[0]
        assert shown[0]["contributions"] == pytest.approx(list(top["c"]), rel=0.01)
        assert shown[0]["inPrompt"] == [int(x) for x in top["in_prompt"]]
        assert sum(card["histogram"]["counts"]) == card["tokensSeen"] == len(rows)
        assert card["histogram"]["edges"][0] == pytest.approx(own["v"].min(), rel=1e-3)
        mine = lens[(lens["key"] == card["key"]) & (lens["kind"] == "promoted")]
        assert [token for token, _ in card["promoted"]] == list(mine["token"])
        assert bool(card["direction"]) == (card["module"] == QUERY or "k_proj" in card["module"])


@pytest.mark.slow
def test_silencing_alone_recomputes_from_saved_rows(finished):
    card = next(each for each in analyse(finished) if each.study == "neuron_cards").cards[0]
    rows = pd.read_parquet(finished.path / "measured" / "neuron_cards" / "alone.parquet")
    means = rows[rows["role"] == "culture"].groupby("silenced")["log_odds"].mean()
    change = next(each for each in card["alone"] if (each["what"], each["metric"]) == ("culture", "log_odds"))
    assert (
        change["change"] == pytest.approx(means[0] - means[-1]) and change["low"] <= change["change"] <= change["high"]
    )
    assert {each["what"] for each in card["alone"]} == {"culture", "ability", "plain text"}
    text = pd.read_parquet(finished.path / "measured" / "neuron_cards" / "alone-text.parquet")
    loss = text.groupby("silenced")[["logprob", "tokens"]].sum()
    ratio = np.exp((loss["logprob"] / loss["tokens"])[-1] - (loss["logprob"] / loss["tokens"])[0]) - 1
    shown = next(each for each in card["alone"] if each["what"] == "plain text")
    assert shown["change"] == pytest.approx(ratio, abs=1e-6)


@pytest.mark.slow
def test_the_untouched_rows_are_the_models_own(finished):
    """Silencing no neuron gives the same log-probabilities as the run's own evaluation."""
    rows = pd.read_parquet(finished.path / "measured" / "neuron_cards" / "alone.parquet")
    mine = rows[(rows["role"] == "culture") & (rows["silenced"] == -1)].set_index("id")["log_odds"]
    own = finished.result("culture", "none").rows.set_index("id")["log_odds"]
    assert np.allclose(mine, own[mine.index], atol=1e-4)
