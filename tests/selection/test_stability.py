"""Stability of selections: bootstrap over block sums, halves, frequencies, sizes; all on made-up arrays."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from culnig import Neuron, NeuronSet, Scores, select_general, select_specific
from culnig.errors import UsageError
from culnig.selection import (
    bootstrap_general,
    bootstrap_specific,
    jaccard_matrix,
    rank_correlation,
    selection_frequency,
    size_general,
    size_specific,
)
from culnig.selection.stability import chance_jaccard
from tests.helpers.cli import invoke, use
from tests.helpers.scores import BLOCKS, LAYERS, blocks, group_blocks, make


def test_weights_are_repetitions():
    part = blocks(1)
    weights = np.array([2, 0, 1] + [0] * 9)
    scores = part.of_blocks(weights)
    for (_, module), block in part.blocks.items():
        np.testing.assert_allclose(scores.sums["culnig", module][0], 2.0 * block[0] + block[2], rtol=1e-6)
    assert list(scores.count) == [15]


def test_bootstrap_by_hand():
    """Every resample goes through the selection rule itself: the first one is drawn and selected here again."""
    parts = blocks(1, 1.0), blocks(2), blocks(3)
    made = bootstrap_general(*parts, resamples=3, halves=2, seed=7, t_mlp=0.1, t_attn=0.1)
    ones = np.ones(BLOCKS, dtype=int)
    assert list(made.chosen) == list(select_general(*(p.of_blocks(ones) for p in parts), t_mlp=0.1, t_attn=0.1))
    rng = np.random.default_rng(7)
    drawn = [np.bincount(rng.integers(BLOCKS, size=BLOCKS), minlength=BLOCKS) for _ in range(3)]
    again = select_general(
        parts[0].of_blocks(drawn[0]), parts[1].of_blocks(drawn[0]), parts[2].of_blocks(drawn[2]), t_mlp=0.1, t_attn=0.1
    )
    assert made.paired and made.sets[0] == again
    assert made.table["jaccard"][0] == again.jaccard(made.chosen)
    assert list(made.table["kind"]) == ["bootstrap"] * 3 + ["half"] * 2
    assert made.table["jaccard"][3] == made.halves[0][0].jaccard(made.halves[0][1])


def test_a_signal_is_stable_and_noise_is_not():
    found = bootstrap_general(blocks(1, 4.0), blocks(2), blocks(3), resamples=20, halves=10, t_mlp=0.1, t_attn=0.1)
    noise = bootstrap_general(blocks(1), blocks(2), blocks(3), resamples=20, halves=10, t_mlp=0.1, t_attn=0.1)
    means = [made.table.groupby("kind")["jaccard"].mean() for made in (found, noise)]
    assert means[0]["half"] > 0.5 > 0.2 > means[1]["half"]
    assert noise.table.query("kind == 'half'")["jaccard"].mean() == pytest.approx(
        noise.table["chance"].mean(), abs=0.08
    )
    assert abs(noise.table.query("kind == 'half'")["rank_all"].mean()) < 0.1
    frequency = found.frequency().query("chosen")["frequency"]
    assert frequency.median() > 0.9 and noise.frequency().query("chosen")["frequency"].median() < 0.9


RULE = {"t": 0.1, "r": 0.01, "z": 0.5}


def test_countries_are_resampled_together():
    """All blocks once give the sets of the score files, and a resample goes through the rule itself."""
    parts = [group_blocks(i, 4.0 * (i == 1)) for i in (1, 2, 3)]
    made = bootstrap_specific(*parts, resamples=2, halves=2, seed=7, **RULE)
    whole = select_specific(*parts, **RULE)
    assert {name: list(each.chosen) for name, each in made.items()} == {name: list(s) for name, s in whole.items()}
    rng = np.random.default_rng(7)
    drawn = [np.bincount(rng.integers(BLOCKS, size=BLOCKS), minlength=BLOCKS) for _ in range(3)]
    again = select_specific(*(p.of_group_blocks(drawn[i]) for p, i in zip(parts, (0, 0, 2), strict=True)), **RULE)
    for country, each in made.items():
        assert each.sets[0] == again[country] and len(each.halves) == 2
        assert list(each.table["kind"]) == ["bootstrap"] * 2 + ["half"] * 2
        assert each.table["jaccard"][2] == each.halves[0][0].jaccard(each.halves[0][1])


def test_a_countrys_signal_is_stable_and_noise_is_not():
    found, noise = (
        bootstrap_specific(*(group_blocks(i, s * (i == 1)) for i in (1, 2, 3)), resamples=5, halves=5, **RULE)
        for s in (4.0, 0.0)
    )
    means = [np.mean([e.table.query("kind == 'half'")["jaccard"].mean() for e in m.values()]) for m in (found, noise)]
    assert means[0] > 2 * means[1]


def test_resamples_without_a_country_are_drawn_again():
    parts = [group_blocks(i, missing="Iran") for i in (1, 2, 3)]
    made = bootstrap_specific(*parts, resamples=4, halves=0, **RULE)
    assert all(len(each.sets) == 4 for each in made.values())
    with pytest.raises(UsageError, match="left a country without items"):
        bootstrap_specific(*parts, resamples=0, halves=1, **RULE)  # one of two halves always lacks it
    with pytest.raises(UsageError, match="--block-groups"):
        bootstrap_specific(*(blocks(i) for i in (1, 2, 3)))


def test_unequal_blocks_are_resampled_apart():
    other = blocks(2, count=np.arange(1, BLOCKS + 1))
    assert not bootstrap_general(blocks(1), other, blocks(3), resamples=1, halves=1).paired


def test_frequency_and_jaccard_by_hand():
    a, b, c = (Neuron("mlp.gate_proj", 0, i) for i in range(3))
    one, two = NeuronSet([a, b]), NeuronSet([b])
    table = selection_frequency([one, two], NeuronSet([a, c]))
    assert [(r.neuron, r.frequency, r.chosen) for r in table.itertuples()] == [
        (1, 1.0, False),
        (0, 0.5, True),
        (2, 0.0, True),
    ]
    matrix = jaccard_matrix({"one": one, "two": two})
    assert matrix.loc["one", "two"] == matrix.loc["two", "one"] == 0.5 and matrix.loc["one", "one"] == 1
    assert chance_jaccard(10, 10, 100) == pytest.approx(1 / 19) and chance_jaccard(0, 0, 9) == 1


def test_rank_correlation():
    x = np.arange(12.0).reshape(3, 4)
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1) and rank_correlation(x, -x) == pytest.approx(-1)
    assert np.isnan(rank_correlation(x, np.zeros((3, 4))))
    with pytest.raises(UsageError, match="different shapes"):
        rank_correlation(x, x[0])


def test_sizes_are_those_of_the_selections():
    parts = make(1), make(2), make(3)
    general = size_general(*parts, t_mlp=[0.05, 0.1], r=[0.0, 0.1])
    for row in general.itertuples():
        assert row.size == len(select_general(*parts, t_mlp=row.t_mlp, t_attn=row.t_attn, r=row.r))
    specific = size_specific(*parts, t=[0.1], r=[0.01], z=[0.0, 1.0])
    chosen = select_specific(*parts, t=0.1, r=0.01, z=1.0)
    assert dict(specific.query("z == 1")[["country", "size"]].to_numpy()) == {c: len(s) for c, s in chosen.items()}


@pytest.fixture
def files(tmp_path):
    """Score files as `culnig score` writes them, with and without block sums."""
    paths = {}
    for seed, name in enumerate(("neur", "ctrl", "crc")):
        part = blocks(seed, 2.0 if name == "neur" else 0.0)
        thirds = {m: block.reshape(3, 4, LAYERS, -1).sum(axis=1) for (_, m), block in part.blocks.items()}
        sums = {("culnig", m): values.astype(np.float32) for m, values in thirds.items()}
        scores = Scores(sums, np.full(3, 20), ["China", "Iran", "Spain"], part.meta)
        scores.save(tmp_path / f"{name}-plain.safetensors")
        paths[name] = tmp_path / f"{name}.safetensors"
        dataclasses.replace(scores, blocks=part.blocks, block_count=part.block_count).save(paths[name])
    return paths


def arguments(files):
    return [x for name, path in files.items() for x in (f"--{name}", path)]


def test_stability_verbs(files, tmp_path):
    out = tmp_path / "out"
    done = invoke(
        "stability",
        "bootstrap",
        *arguments(files),
        "--out",
        out,
        "--resamples",
        5,
        "--halves",
        2,
        "--t-mlp",
        0.1,
        "--json",
    )
    facts = json.loads(done.stdout)
    assert facts["neur_and_ctrl_paired"] and 0 < facts["means"]["half"]["jaccard"] <= 1
    assert {"stability.csv", "frequency.parquet", "frequency.json", "summary.json"} <= {p.name for p in out.iterdir()}
    assert (
        "resampled together"
        in invoke("stability", "bootstrap", *arguments(files), "--out", out, "--resamples", 3).output
    )
    sizes = invoke("stability", "size", *arguments(files), "--out", out, "--t", "5,10", "--t-specific", "10").output
    assert "culture-general neurons" in sizes and (out / "size-specific.csv").exists()
    for name, path in (("a", 0.1), ("b", 0.2)):
        select_general(*(Scores.load(p) for p in files.values()), t_mlp=path).save(tmp_path / f"{name}.json")
    shown = json.loads(invoke("stability", "sets", tmp_path / "a.json", tmp_path / "b.json", "--json").stdout)
    assert shown["jaccard"]["a"]["a"] == 1 and shown["in_any"] == shown["sizes"]["b"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"neur": "neur-plain.safetensors"}, "no sums by block of items"),
        ({"neur": "nowhere.safetensors"}, "no such file"),
        ({"extra": ["--method", "ig"]}, "no scores of the method 'ig'"),
        ({"extra": ["--resamples", "0", "--halves", "0"]}, "nothing to do"),
        ({"extra": ["--t-mlp", "3"]}, "t-mlp"),
    ],
)
def test_wrong_uses_of_stability(files, tmp_path, change, says, capsys, monkeypatch):
    given = dict(files) | ({"neur": tmp_path / change["neur"]} if "neur" in change else {})
    line = ["stability", "bootstrap", *arguments(given), "--out", tmp_path / "o", *change.get("extra", [])]
    code, _, err = use(capsys, monkeypatch, *line)
    errors = [text for text in err.splitlines() if not text.lstrip().startswith("✓")]
    assert code == 2 and says in err and len(errors) == 1 and not (tmp_path / "o" / "stability.csv").exists()


def test_wrong_uses_of_sets_and_size(files, tmp_path, capsys, monkeypatch):
    NeuronSet([Neuron("mlp.gate_proj", 0, 1)], model_name="x").save(tmp_path / "a.json")
    NeuronSet([Neuron("mlp.gate_proj", 0, 1)], model_name="y").save(tmp_path / "b.json")
    for line, says in (
        (["sets", tmp_path / "a.json"], "at least two sets"),
        (["sets", tmp_path / "a.json", tmp_path / "a.json"], "given twice"),
        (["sets", tmp_path / "a.json", tmp_path / "b.json"], "different models: x, y"),
        (["size", *arguments(files), "--out", tmp_path / "o", "--z", "high"], "--z high: give numbers"),
        (["size", *arguments(files), "--out", tmp_path / "o", "--t", "300"], "t-mlp = 3.0"),
    ):
        code, _, err = use(capsys, monkeypatch, "stability", *line)
        assert code == 2 and says in err and len(err.splitlines()) == 1
