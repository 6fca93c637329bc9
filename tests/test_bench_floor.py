"""`python -m bench.floor` on a tiny model: its stages, and conditions that share what belongs to the untouched model."""

from __future__ import annotations

import pytest
import torch
from bench import bfloat, floor, tiny

import culnig
from culnig import Neuron, NeuronSet
from culnig.models import LanguageModel


@pytest.fixture
def lm():
    return LanguageModel(tiny.build("llama"), tiny.tokenizer(), name="tiny", formulation="cf")


def test_stages_are_printed(lm, capsys):
    assert floor.scoring(lm, tiny.items(), 1) > 1
    floor.evaluating(floor.Evaluating(lm, tiny.items(), [None]), 1)
    printed = capsys.readouterr().out
    for stage in (
        "forward + backward, frozen weights",
        "common beginnings once",
        "offsets of pmi and contrast",
        "padding",
    ):
        assert stage in printed


def test_conditions_measure_offsets_once(lm, monkeypatch):
    sets = [None, NeuronSet([Neuron("mlp.gate_proj", 1, 3)]), NeuronSet([Neuron("mlp.up_proj", 0, 2)])]
    work = floor.Evaluating(lm, tiny.items(), sets)
    known = []
    evaluate = culnig.evaluate

    def watched(lm, *args, **kwargs):
        known.append(len(lm.offsets))
        return evaluate(lm, *args, **kwargs)

    monkeypatch.setattr(culnig, "evaluate", watched)
    assert floor.conditions(work) > 0
    together, apart = known[:3], known[3:]
    assert together == [0, 4, 4] and apart == [0, 0, 0]


def test_a_run_that_is_not_there_is_one_line(tmp_path, capsys):
    assert floor.main(["--run", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "make run" in message


def test_bfloat16_is_compared_with_float32(lm):
    narrow = LanguageModel(tiny.build("llama").to(torch.bfloat16), tiny.tokenizer(), name="tiny", formulation="cf")
    wide, other = culnig.evaluate(lm, tiny.items()), culnig.evaluate(narrow, tiny.items())
    assert not any(bfloat.changes(wide, wide).values())
    changed = bfloat.changes(wide, other)
    assert 0 < changed["log P of an option, median change, nats"] < 1
    scores, others = culnig.score(lm, tiny.items()), culnig.score(narrow, tiny.items())
    assert bfloat.overlap(scores, scores) == 1
    assert bfloat.overlap(scores, others, share=0.2) > 0.5
