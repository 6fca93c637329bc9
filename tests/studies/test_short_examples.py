"""Answers before and after as texts."""

from __future__ import annotations

import pandas as pd

from culnig.evaluation import AnswerResult
from culnig.studies.short_answers import examples


def answers(texts, right):
    rows = [
        {"id": f"q{i}", "benchmark": "b", "wording": "", "variant": "", "country": "Iran", "language": "fa"}
        | {"text": text, "correct": ok, "accepted": ["tea", "chai"]}
        for i, (text, ok) in enumerate(zip(texts, right, strict=True))
    ]
    return AnswerResult(pd.DataFrame(rows))


def test_examples_stand_side_by_side():
    results = {
        "none": answers(["tea", "tea", "rice", "rice", "same"], [True, True, False, False, False]),
        "culture-general": answers(["bread", "fish", "tea", "milk", "same"], [False, False, True, False, False]),
        "random-0": answers(["tea", "tea", "rice", "oats", "same"], [True, True, False, False, False]),
        "random-1": answers(["x"] * 5, [False] * 5),
    }
    table = examples(results, each=1)
    assert list(table["change"]) == ["gained", "lost", "other words"]
    lost = table[table["change"] == "lost"].iloc[0]
    assert (lost["id"], lost["untouched"], lost["culture-general"], lost["random-0"]) == ("q0", "tea", "bread", "tea")
    assert lost["accepted"] == "tea, chai" and "random-1" not in table
