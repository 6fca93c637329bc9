"""Neuron sets: algebra, files, errors."""

from __future__ import annotations

import json

import pytest

from culnig import Neuron, NeuronSet
from culnig.errors import CulnigError, DataError

A, B, C = (Neuron("mlp.gate_proj", 0, i) for i in range(3))


def test_algebra():
    left, right = NeuronSet({A: 1.0, B: 0.5}, model_name="m"), NeuronSet({B: 0.4, C: 0.2})
    assert list(left & right) == [B] and list(left - right) == [A] and list(left | right) == [A, B, C]
    assert (left | right).scores[B] == 0.5
    assert left.jaccard(right) == pytest.approx(1 / 3) and NeuronSet().jaccard(NeuronSet()) == 1.0
    assert (left & right).model_name == "m" and left == NeuronSet([B, A]) and left != right
    assert left.counts() == {("mlp.gate_proj", 0): 2}


def test_round_trip(tmp_path):
    neurons = NeuronSet(
        {A: 1.5, C: -0.25}, model_name="m", dataset_ids={"d": ["1"]}, extra={A: {"scores": {"Iran": 1.0}}}
    )
    neurons.save(tmp_path / "n.json")
    loaded = NeuronSet.load(tmp_path / "n.json")
    assert loaded == neurons and loaded.scores == neurons.scores and loaded.extra == neurons.extra
    data = json.loads((tmp_path / "n.json").read_text())
    assert data["top_neurons"][0] == {
        "module_name": "mlp.gate_proj", "layer_idx": 0, "neuron_idx": 0, "attribute_score": 1.5, "scores": {"Iran": 1.0},
    }  # fmt: skip


def test_a_set_without_scores_is_still_plain_json(tmp_path):
    NeuronSet([A, B]).save(tmp_path / "n.json")
    assert "NaN" not in (tmp_path / "n.json").read_text()
    assert list(NeuronSet.load(tmp_path / "n.json")) == [A, B]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a neuron set"),
        ('{"top_neurons": [{"layer_idx": 1}]}', "row 1: needs"),
        ('{"top_neurons": [{"module_name": "mlp.gate_proj", "layer_idx": -1, "neuron_idx": 0}]}', "whole numbers"),
        (
            '{"top_neurons": [{"module_name": "a", "layer_idx": 0, "neuron_idx": 0}, {"module_name": "a", "layer_idx": 0, "neuron_idx": 0}]}',
            "twice",
        ),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "n.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        NeuronSet.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(CulnigError, match="no such file"):
        NeuronSet.load(tmp_path / "absent.json")
