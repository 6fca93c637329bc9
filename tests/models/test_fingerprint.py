"""The hash of a model: never of edited weights, the same under every version of transformers, old ones accepted."""

from __future__ import annotations

import copy

import pytest

import culnig
from culnig.errors import CulnigWarning
from culnig.models import LanguageModel
from culnig.models.fingerprint import hashes_of, identity, same_model
from culnig.neurons import Neuron, NeuronSet
from tests.helpers.tiny_models import CONFIGS, build, tokenizer


@pytest.fixture
def fresh():
    return LanguageModel(build("llama"), tokenizer(), name="fresh")


def test_first_use_within_an_edit_is_of_the_untouched_model(fresh):
    expected = hashes_of(fresh.model).own
    with culnig.suppress(fresh, NeuronSet({Neuron("mlp.gate_proj", 0, 0): 1.0})):
        assert fresh.fingerprint == expected
        assert hashes_of(fresh.model).own != expected
    assert fresh.fingerprint == expected


def test_trained_weights_get_a_hash_of_their_own(fresh):
    before = fresh.fingerprint
    fresh.model.get_input_embeddings().weight.data.add_(1)
    fresh.weights_changed()
    assert fresh.fingerprint != before


def test_config_of_another_transformers_version(fresh):
    other = copy.deepcopy(fresh.model)
    config = other.config
    config.some_field_of_tomorrow = {"a": 1}
    for gone in ("mlp_bias", "attention_bias", "pretraining_tp", "head_dim", "attention_dropout"):
        delattr(config, gone)
    rope = dict(config.rope_parameters)
    config.rope_parameters = None
    config.rope_theta, config.rope_scaling = rope["rope_theta"], None
    config.layer_types = ["full_attention"] * 3
    assert hashes_of(other).own == fresh.fingerprint
    assert hashes_of(other).legacy != hashes_of(fresh.model).legacy


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_attention_heads", 8), ("hidden_act", "gelu"), ("rms_norm_eps", 1e-3), ("sliding_window", 7)],
)
def test_what_decides_the_computation_counts(fresh, field, value):
    other = copy.deepcopy(fresh.model.config)
    setattr(other, field, value)
    assert identity(other) != identity(fresh.model.config)


@pytest.mark.parametrize("family", CONFIGS)
def test_identity_of_every_family(family):
    found = identity(build(family).config)
    assert {"model_type", "num_attention_heads", "hidden_size", "norm_eps", "hidden_act", "num_hidden_layers"} <= set(
        found
    )
    assert ("rope" in found) == (family != "gpt2")


def test_hashes_of_earlier_versions_are_accepted_with_a_line(fresh, tmp_path):
    from culnig.cli._options import check_model

    legacy = hashes_of(fresh.model).legacy
    chosen = NeuronSet({Neuron("mlp.gate_proj", 0, 0): 1.0}, provenance={"model_hash": legacy})
    with pytest.warns(CulnigWarning, match="earlier versions"):
        check_model(chosen, fresh, tmp_path / "x.json")
    assert same_model(fresh.description, {"model_hash": legacy})
    assert not same_model(fresh.description, {"model_hash": "feed"}) and not fresh.is_model("feed")
