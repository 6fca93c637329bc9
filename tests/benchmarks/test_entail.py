"""The embedded task: balanced, nothing shared between its splits, and nothing to be had from a bag of words."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import minimize

from culnig import load_items
from culnig.data.lint import lint
from culnig.data.options import read_yaml


@pytest.fixture(scope="module")
def splits():
    return {name: load_items(f"entail:{name}") for name in ("train", "dev", "test")}


def test_sizes_and_balance(splits):
    assert len(splits["train"]) >= 1500 and len(splits["dev"]) >= 200 and len(splits["test"]) >= 400
    assert lint("entail") == []
    for items in splits.values():
        assert len({item.question for item in items}) == len({item.id for item in items}) == len(items)
        cells = Counter((i.id.split("/")[0], i.topic, i.answer, _gold_first(i)) for i in items)
        assert len(set(cells.values())) == 1  # in each frame: what is asked, where the answer stands, which one it is
        assert all(re.search(rf"\b{o}\b", i.question.split("\n")[0]) for i in items for o in i.options)


def _gold_first(item):
    gold, other = (re.search(rf"\b{o}\b", item.question).start() for o in (item.gold, item.options[1 - item.answer]))
    return gold < other


def test_splits_share_no_words_and_no_frames(splits):
    data = read_yaml("entail.yaml")
    for lists in data["words"].values():
        words = [word for split in lists.values() for word in split]
        assert len(set(words)) == len(words)
    everywhere = [{w for lists in data["words"].values() for w in lists.get(s, [])} for s in splits]
    assert not any(a & b for a in everywhere for b in everywhere if a is not b)
    frames = [{f["passage"] for f in data["frames"][s]} for s in splits]
    assert not any(a & b for a in frames for b in frames if a is not b)


def _bag(items, vocabulary):
    """Counts of words, and whether each word is the first option: all that order does not touch."""
    rows = np.zeros((len(items), 2 * len(vocabulary)))
    for row, item in zip(rows, items, strict=True):
        for word in re.findall(r"\w+", item.question.lower()):
            row[vocabulary.get(word, 0)] += 1
        for sign, option in zip((1, -1), item.options, strict=True):
            row[len(vocabulary) + vocabulary.get(option, 0)] += sign
    return rows


@pytest.mark.parametrize("inside", [True, False], ids=["held-out train items", "test"])
def test_a_bag_of_words_is_near_chance(inside, splits):
    """Logistic regression on word counts, fitted on train: on other train items, and on test."""
    train = splits["train"]
    fit, check = (train[:1200], train[1200:]) if inside else (train, splits["test"])
    words = sorted({w for item in train for w in re.findall(r"\w+", item.question.lower())})
    vocabulary = {word: i for i, word in enumerate(["?", *words])}
    x, y = _bag(fit, vocabulary), np.array([1.0 - 2 * item.answer for item in fit])

    def loss(w):
        margin = y * (x @ w)
        gradient = -(x * (y / (1 + np.exp(margin)))[:, None]).mean(0) + 0.02 * w
        return np.logaddexp(0, -margin).mean() + 0.01 * w @ w, gradient

    weights = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    right = (_bag(check, vocabulary) @ weights > 0) == np.array([item.answer == 0 for item in check])
    assert abs(right.mean() - 0.5) < 0.08
