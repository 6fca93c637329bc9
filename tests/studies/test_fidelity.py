"""Fidelity: the sample, the exact numbers beside the estimates, and the agreement computed from saved rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import culnig
from culnig import Neuron, NeuronSet
from culnig.errors import DataError, UsageError
from culnig.neurons import GATE, VALUE
from culnig.prompts import PromptPolicy
from culnig.studies.fidelity import Fidelity, Sampling, agreement, levels, measure_fidelity, statement
from culnig.studies.fidelity.sample import geometric, stratified
from tests.helpers.cli import invoke, use

CF = PromptPolicy(formulation="cf")
METHODS = ["culnig", "culnig:sum", "atp", "relp", "ig:gate:steps=2"]


@pytest.fixture(scope="module")
def measured(tiny, word_items):
    how = Sampling(layers=2, per_cell=1, top=0, largest=0.02, groups=3)
    return measure_fidelity(tiny, word_items[:8], methods=METHODS, sampling=how, policy=CF)


def test_one_of_every_tenth_of_every_cell(tiny, word_items):
    scores = culnig.score(tiny, word_items[:4], policy=CF)
    sample = stratified(scores, [GATE, VALUE], layers=2, seed=1)
    depth = scores.shapes()[GATE][0]
    assert set(sample["layer"]) == {0, depth - 1}
    for (module, layer), part in sample.groupby(["module", "layer"]):
        assert list(part["decile"]) == list(range(1, 11))
        values = scores.total(module)[layer]
        assert np.all(np.diff(values[part["neuron"]]) >= 0)
    with pytest.raises(UsageError, match="cannot be drawn"):
        stratified(scores, [GATE], per_cell=1000)


def test_group_sizes():
    assert geometric(1000, 0.01, 4) == [1, 2, 5, 10]
    assert geometric(50, 0.01, 4) == [1]


def test_exact_and_estimates_by_definition(tiny, word_items, measured):
    """The controls among the items are not clamped: what is asked is whether the number is right."""
    items = word_items[:8]
    clean = culnig.evaluate(tiny, items, policy=CF).rows["p_gold"].to_numpy()
    for _, row in measured.neurons.iloc[[0, 13, 35]].iterrows():
        with culnig.suppress(tiny, NeuronSet([Neuron(row["module"], row["layer"], row["neuron"])])):
            without = culnig.evaluate(tiny, items, policy=CF).rows["p_gold"].to_numpy()
        assert row["exact"] == pytest.approx(np.mean(clean * (clean - without)), rel=1e-3, abs=1e-8)
    scores = culnig.score(tiny, items, policy=CF, method="culnig:sum", control=False)
    first = measured.neurons.iloc[0]
    assert first["culnig:sum"] == pytest.approx(scores.mean(first["module"])[first["layer"], first["neuron"]], rel=1e-4)
    np.testing.assert_allclose(measured.neurons["atp"], measured.neurons["culnig:sum"])
    assert set(measured.neurons.loc[measured.neurons["ig:gate:steps=2"].notna(), "module"]) == {GATE}


def test_groups_by_definition(tiny, word_items, measured):
    items = word_items[:8]
    scores = culnig.score(tiny, items, policy=CF, method="ig:gate:steps=2", control=False)
    values = scores.mean(GATE)
    row = measured.groups[measured.groups["method"] == "ig:gate:steps=2"].iloc[-1]
    best = np.argsort(-values.ravel(), kind="stable")[: int(row["k"])]
    assert row["estimate"] == pytest.approx(values.ravel()[best].sum(), rel=1e-4)
    clean = culnig.evaluate(tiny, items, policy=CF).rows["p_gold"].to_numpy()
    with culnig.suppress(tiny, NeuronSet([Neuron(GATE, *map(int, divmod(i, values.shape[1]))) for i in best])):
        without = culnig.evaluate(tiny, items, policy=CF).rows["p_gold"].to_numpy()
    assert row["exact"] == pytest.approx(np.mean(clean * (clean - without)), rel=1e-3, abs=1e-8)


def test_saved_rows_are_enough(measured, tmp_path):
    measured.save(tmp_path)
    again = Fidelity.load(tmp_path)
    for level, table in levels(measured.neurons, measured.methods, resamples=50).items():
        pd.testing.assert_frame_equal(table, levels(again.neurons, again.methods, resamples=50)[level])
    (tmp_path / "neurons.parquet").write_text("no")
    with pytest.raises(DataError, match="not a Parquet file"):
        Fidelity.load(tmp_path)


def made_up(count=60):
    rng = np.random.default_rng(0)
    exact = rng.normal(size=count)
    rows = pd.DataFrame({"module": ["a", "b"] * (count // 2), "layer": 0, "neuron": range(count), "decile": 1})
    rows["exact"] = exact
    rows["right"] = 3 * exact
    rows["wrong"] = rng.normal(size=count)
    rows["partial"] = np.where(rows["module"] == "a", exact, np.nan)
    return Fidelity(rows, pd.DataFrame())


def test_agreement_on_made_up_rows():
    table = agreement(made_up().neurons, made_up().methods, resamples=200).set_index("method")
    assert list(table.index) == ["right", "wrong"]  # `partial` does not score all of these neurons
    assert table.loc["right", ["rho", "behind", "signs"]].tolist() == [1.0, 0.0, 0.0]
    rows = made_up().neurons
    assert table.loc["wrong", "signs"] == pytest.approx(np.mean(np.sign(rows["wrong"]) != np.sign(rows["exact"])))
    assert table.loc["wrong", "behind_low"] > 0.5 and table.loc["wrong", "low"] < 0 < table.loc["wrong", "high"]
    by = agreement(made_up().neurons, made_up().methods, ["module"], resamples=200)
    assert set(by.loc[by["method"] == "partial", "module"]) == {"a"}
    assert statement(by, "right") == (["a", "b"], [], [])
    assert statement(by, "wrong") == ([], [], ["a", "b"])


def test_few_or_constant_neurons_give_no_correlation():
    few, same = made_up(6), made_up()
    same.neurons["exact"] = 0.0
    assert not len(agreement(few.neurons, few.methods, ["module"])) and not len(agreement(same.neurons, same.methods))


def test_methods_that_estimate_something_else_are_refused(tiny, word_items):
    for method in ("lape", "culnig:logp", "relp:unweighted", "oracle"):
        with pytest.raises(UsageError, match="does not estimate"):
            measure_fidelity(tiny, word_items[:2], methods=method, policy=CF)


def test_verb(tmp_path, reference_dir, word_items, capsys, monkeypatch):
    path = tmp_path / "items.jsonl"
    rows = [{"id": i.id, "benchmark": "w", "country": i.country, "question": i.question} for i in word_items[:4]]
    rows = [row | {"options": list(i.options), "answer": i.answer} for row, i in zip(rows, word_items, strict=False)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    measure = ["fidelity", "--model", str(reference_dir), "--items", str(path), "--formulation", "cf", "--layers", "1"]
    done = invoke(*measure, "--method", "culnig,culnig:sum", "--groups", "2", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "rank correlation" in done.output and "Sign errors" in done.output
    again = invoke("fidelity", "--out", str(out), "--json")
    assert json.loads(again.output)["all"][0]["method"] == "culnig"
    for wrong, says in (
        (["--model", "x"], "belong together"),
        (["--layers", "2"], "read unchanged"),
        (["--model", str(reference_dir), "--items", str(path), "--largest", "0"], "--largest 0"),
    ):
        code, _, line = use(capsys, monkeypatch, "fidelity", "--out", out, *wrong)
        assert code == 2 and says in line and len(line.strip().splitlines()) == 1
