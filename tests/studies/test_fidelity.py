"""Fidelity: the sample, the exact numbers beside the estimates, and the agreement computed from saved rows."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import culnig
from culnig import Neuron, NeuronSet
from culnig.attribution.per_item import score_every_prompt, score_items
from culnig.errors import DataError, UsageError
from culnig.neurons import GATE, VALUE
from culnig.prompts import PromptPolicy
from culnig.selection.rules import GeneralRule
from culnig.studies.fidelity import (
    Fidelity,
    Sampling,
    agreement,
    both_strata,
    by_level,
    measure_fidelity,
    statement,
)
from culnig.studies.fidelity.exact_rows import BLOCK
from culnig.studies.fidelity.sample import geometric, stratified
from tests.helpers.cli import invoke, use

pytestmark = pytest.mark.slow

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
    for level, table in by_level(measured, resamples=50).items():
        pd.testing.assert_frame_equal(table, by_level(again, resamples=50)[level])
    for name, values in measured.effects.items():
        np.testing.assert_array_equal(values, again.effects[name])
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
    controls = tmp_path / "controls.jsonl"
    controls.write_text("".join(json.dumps(row | {"question": ""}) + "\n" for row in rows))
    given = tmp_path / "given.json"
    NeuronSet([Neuron(GATE, 0, 1)]).save(given)
    more = ["--controls", str(controls), "--given", str(given), "--top", "20", "--method", "culnig:sum"]
    done = invoke(*measure, *more, "--top-share", "5", "--out", str(tmp_path / "best"))
    assert done.exit_code == 0, done.output
    assert "precision at k" in done.output and "suppressed already" in done.output and "culnig:sum@given" in done.output
    assert {"effects.parquet", "precision.json"} <= {path.name for path in (tmp_path / "best").iterdir()}
    assert not (tmp_path / "best" / ".exact").exists()
    again = invoke("fidelity", "--out", str(out), "--json")
    assert json.loads(again.output)["all"][0]["method"] == "culnig"
    for wrong, says in (
        (["--model", "x"], "belong together"),
        (["--layers", "2"], "read unchanged"),
        (["--model", str(reference_dir), "--items", str(path), "--largest", "0"], "--largest 0"),
    ):
        code, _, line = use(capsys, monkeypatch, "fidelity", "--out", out, *wrong)
        assert code == 2 and says in line and len(line.strip().splitlines()) == 1


RULE = GeneralRule(t_mlp=0.03, t_attn=0.03)
BEST = Sampling(layers=1, top=None, top_share=0.06, rule=RULE, groups=0)


def controls_of(items):
    return [dataclasses.replace(item, question="", control=True) for item in items]


@pytest.fixture(scope="module")
def best(tiny, word_items):
    items = word_items[:5]
    return measure_fidelity(
        tiny,
        items,
        controls=controls_of(items),
        methods=["culnig", "culnig:sum", "ig:gate:steps=1"],
        sampling=BEST,
        policy=CF,
    )


def slow_effect(lm, items, neuron):
    """Mean over items of P(gold) times what suppressing one neuron takes from P(gold)."""
    clean = culnig.evaluate(lm, items, policy=CF).rows["p_gold"].to_numpy()
    with culnig.suppress(lm, NeuronSet([neuron])):
        without = culnig.evaluate(lm, items, policy=CF).rows["p_gold"].to_numpy()
    return np.mean(clean * (clean - without))


def test_exact_d_by_a_slow_loop(tiny, word_items, best):
    items = word_items[:5]
    rows = best.of("top", "D")
    for _, row in rows.iloc[:: len(rows) // 6].iterrows():
        neuron = Neuron(row["module"], row["layer"], row["neuron"])
        expected = slow_effect(tiny, items, neuron) - slow_effect(tiny, controls_of(items), neuron)
        assert row["exact"] == pytest.approx(expected, rel=1e-3, abs=1e-8)


def test_the_best_are_the_union_of_what_selection_ranks(tiny, word_items, best):
    items = word_items[:5]
    neur = culnig.score(tiny, items, policy=CF, method="culnig:sum", control=False)
    ctrl = culnig.score(tiny, controls_of(items), policy=CF, method="culnig:sum", control=True)
    difference = neur.mean(GATE) - ctrl.mean(GATE)
    rows = best.of("top", "D")
    gate = rows[rows["pool"] == "MLP"]
    assert gate["culnig:sum"].to_numpy() == pytest.approx(difference[gate["layer"], gate["neuron"]], rel=1e-3, abs=1e-7)
    k, share = (int(np.floor(part * difference.size)) for part in (RULE.t_mlp, BEST.top_share))
    assert (gate["k"] == k).all() and (rows["weight"] == 1).all()
    found = set(zip(gate["layer"], gate["neuron"], strict=True))
    width = difference.shape[1]
    assert {tuple(map(int, divmod(i, width))) for i in np.argsort(-difference, axis=None)[:share]} <= found
    assert rows.loc[rows["pool"] == "attention", "ig:gate:steps=1"].isna().all()


def test_precision_of_a_measurement_by_brute_force(best):
    table = both_strata(best, resamples=50)
    rows = best.of("top", "D")
    rows = rows[rows["pool"] == "MLP"]
    k = int(rows["k"].iloc[0])
    first = set(rows.nlargest(k, "exact").index)
    for method in best.methods:
        row = table[(table["pool"] == "MLP") & (table["quantity"] == "D") & (table["method"] == method)].iloc[0]
        taken = set(rows.nlargest(k, method).index)
        assert row["precision"] == pytest.approx(len(first & taken) / k) and row["neurons"] == len(rows)
        exact = rows["exact"]
        assert row["regret"] == pytest.approx(1 - exact[list(taken)].sum() / exact[list(first)].sum(), rel=1e-4)
        assert row["precision_low"] <= row["precision_high"]


def test_a_capped_union_is_sampled_with_known_probabilities(tiny, word_items):
    items = word_items[:3]
    how = dataclasses.replace(BEST, top=12)
    found = measure_fidelity(
        tiny, items, controls=controls_of(items), methods="culnig,culnig:sum", sampling=how, policy=CF
    )
    whole = measure_fidelity(
        tiny, items, controls=controls_of(items), methods="culnig,culnig:sum", sampling=BEST, policy=CF
    )
    sizes = whole.of("top").groupby("draw").size()
    for draw, part in found.of("top").groupby("draw"):
        assert part["weight"].sum() == pytest.approx(sizes[draw])
    assert (found.of("top").groupby("pool").size() == 12).all()


def test_a_set_that_is_suppressed_already(tiny, word_items, best):
    items = word_items[:3]
    rows = best.of("top").iloc[:4]
    given = NeuronSet([Neuron(r["module"], int(r["layer"]), int(r["neuron"])) for _, r in rows.iterrows()])
    found = measure_fidelity(tiny, items, methods="culnig:sum", sampling=BEST, policy=CF, given=given)
    assert not any(
        Neuron(*row) in given for row in found.neurons[["module", "layer", "neuron"]].itertuples(index=False)
    )
    assert found.methods == ["culnig:sum", "culnig:sum@given"] and not len(found.groups)
    row = found.of("top").iloc[0]
    neuron = Neuron(row["module"], row["layer"], row["neuron"])
    with culnig.suppress(tiny, given):
        assert row["exact"] == pytest.approx(slow_effect(tiny, items, neuron), rel=1e-3, abs=1e-8)
        again = culnig.score(tiny, items, policy=CF, method="culnig:sum", control=False)
    assert row["culnig:sum@given"] == pytest.approx(again.mean(neuron.module)[neuron.layer, neuron.index], rel=1e-3)


def test_an_interrupted_measurement_goes_on(tiny, word_items, tmp_path, monkeypatch):
    items = word_items[:3]
    run = {"methods": "culnig", "sampling": BEST, "policy": CF, "keep": tmp_path / "kept"}
    calls = []

    def counted(lm, items, neurons, **options):
        calls.append(len(neurons))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return culnig.oracle(lm, items, neurons, **options)

    monkeypatch.setattr("culnig.studies.fidelity.exact_rows.oracle", counted)
    with pytest.raises(KeyboardInterrupt):
        measure_fidelity(tiny, items, **run)
    assert len(list((tmp_path / "kept").iterdir())) == 2
    resumed = measure_fidelity(tiny, items, **run)
    at_once = measure_fidelity(tiny, items, **(run | {"keep": None}))
    pd.testing.assert_frame_equal(resumed.neurons, at_once.neurons)
    blocks = -(-(resumed.neurons["number"].max() + 1) // BLOCK)
    assert len(calls) == 3 + (blocks - 2) + blocks and blocks > 2
    other = len(calls)
    measure_fidelity(tiny, word_items[3:6], **run)  # blocks of other items are not taken
    assert len(calls) > other


def test_measurements_of_version_0_1_still_open(measured, tmp_path):
    measured.save(tmp_path)
    old = measured.neurons.drop(columns=["stratum", "pool", "draw", "weight", "k", "number"])
    old.to_parquet(tmp_path / "neurons.parquet", index=False)
    for name in ("prompts", "effects"):
        (tmp_path / f"{name}.parquet").unlink()
    found = Fidelity.load(tmp_path)
    assert found.quantities == ["S"] and found.methods == measured.methods and not len(found.of("top"))
    old_table, new_table = both_strata(found, resamples=50), both_strata(measured, resamples=50)
    assert old_table["rho"].to_numpy() == pytest.approx(new_table["rho"].to_numpy())


def test_what_every_prompt_adds_is_what_a_second_pass_gives(tiny, word_items):
    items, names = word_items[:5], ["culnig", "relp"]
    scores, every = score_every_prompt(tiny, items, policy=CF, method=names, token_budget=64)
    neurons = [Neuron(GATE, 0, 3), Neuron(VALUE, 1, 2)]
    whole = culnig.score(tiny, items, policy=CF, method=names)
    for name in names:
        again = score_items(tiny, items, neurons, policy=CF, method=name)
        mine = np.stack([every[name, n.module][:, n.layer, n.index] for n in neurons], axis=1)
        np.testing.assert_allclose(mine, again, rtol=1e-4, atol=1e-8)
        np.testing.assert_allclose(scores.mean(GATE, name), whole.mean(GATE, name), rtol=1e-4, atol=1e-9)
