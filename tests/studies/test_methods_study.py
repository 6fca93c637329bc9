"""Methods at equal budgets: selection, drops with joint intervals, and the studies of a whole run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from culnig.errors import UsageError
from culnig.evaluation import EvalResult, drops, winners
from culnig.neurons import GATE, KEY, VALUE
from culnig.run.checks import check_config
from culnig.run.config import load_config
from culnig.run.directory import RunDirectory
from culnig.run.pipeline import analyse, run
from culnig.selection import bootstrap_budget, select_at_budgets
from culnig.selection.rules import GeneralRule
from tests.helpers.configs import write_config
from tests.helpers.scores import blocks, make


def test_every_module_gives_its_share():
    neur, ctrl, crc = make(1), make(2), make(3)
    rule = GeneralRule(r=0.05)
    small, large = select_at_budgets(neur, ctrl, crc, [GATE, VALUE], [0.02, 0.1], rule=rule)
    for chosen, share in ((small, 0.02), (large, 0.1)):
        sizes = {module: sum(n.module == module for n in chosen) for module in (GATE, VALUE)}
        assert sizes == {GATE: int(share * 200), VALUE: max(1, int(share * 40 + 1e-9))}
    assert not small - large
    surface = crc.total(GATE)
    edge = np.sort(surface, axis=None)[-10]  # the top 5 % of 200 are out, and the next best step in
    assert all(surface[n.layer, n.index] < edge for n in large if n.module == GATE)
    difference = neur.mean(GATE) - ctrl.mean(GATE)
    left = np.where(surface < edge, difference, -np.inf)
    best = np.unravel_index(np.argmax(left), left.shape)
    assert (next(iter(small)).layer, next(iter(small)).index) == best
    with pytest.raises(UsageError, match="no share"):
        select_at_budgets(neur, ctrl, crc, [GATE], [0.0])
    with pytest.raises(UsageError, match="hold none of"):
        select_at_budgets(neur, ctrl, crc, ["mlp.other"], [0.1])


def test_resampled_budgets():
    parts = {"neur": blocks(1, 2.0), "ctrl": blocks(2), "crc": blocks(3)}
    made = bootstrap_budget(parts, [GATE, KEY], 0.05, resamples=5, halves=3)
    whole = {name: part.of_blocks(np.ones(12)) for name, part in parts.items()}
    assert made.chosen == select_at_budgets(whole["neur"], whole["ctrl"], whole["crc"], [GATE, KEY], [0.05])[0]
    assert list(made.table["kind"].value_counts()[["bootstrap", "half"]]) == [5, 3]
    assert (made.table["jaccard"] > made.table["chance"]).all()
    with pytest.raises(UsageError, match="--blocks"):
        bootstrap_budget({name: make(i) for i, name in enumerate(parts)}, [GATE], 0.05)


def result(correct, benchmark="b"):
    correct = np.asarray(correct, dtype=float)
    rows = {"id": [f"q{i}" for i in range(len(correct))], "benchmark": benchmark, "wording": "1", "variant": ""}
    return EvalResult(pd.DataFrame(rows | {"correct": correct, "p_gold": correct, "log_odds": correct}))


@pytest.fixture(scope="module")
def compared():
    """`strong` takes half of culture and nothing else; `broad` the same of both; `weak` next to nothing."""
    rng = np.random.default_rng(0)
    right = rng.random(200) < 0.9
    half = right & (rng.random(200) < 0.5)
    almost = right & (rng.random(200) < 0.98)
    culture = {"strong": result(half), "twin": result(half), "broad": result(half), "weak": result(almost)}
    general = {"strong": result(right), "twin": result(right), "broad": result(half), "weak": result(right)}
    return right, half, drops(culture, general, (result(right), result(right)))


def test_drops_by_hand(compared):
    right, half, found = compared
    row = found.row("strong")
    assert row["culture"] == pytest.approx(right.mean() - half.mean()) and row["ability"] == 0
    assert row["selectivity"] == row["culture"] and row["culture_low"] < row["culture"] < row["culture_high"]
    spread = np.std(right.astype(float) - half) / np.sqrt(200)
    assert row["culture_high"] - row["culture_low"] == pytest.approx(2 * 1.96 * spread, rel=0.1)
    same = found.difference("strong", "twin")
    assert same | {"p_floor": 0.0} == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "p_floor": 0.0}
    found.average("mean", ["strong", "weak"])
    assert found.row("mean")["culture"] == pytest.approx((row["culture"] + found.row("weak")["culture"]) / 2)
    with pytest.raises(UsageError, match="same conditions"):
        drops({"a": result(right)}, {}, (result(right), result(right)))


def test_ties_are_said_as_ties(compared):
    table = winners(compared[2], {"cell": {"s": "strong", "t": "twin", "b": "broad", "w": "weak"}}).set_index("method")
    assert dict(table["place"]) == {"s": "best", "t": "level", "b": "behind", "w": "behind"}
    assert (table.loc[["b", "w"], "p_adjusted"] >= table.loc[["b", "w"], "p"]).all()


METHODS = "culnig,culnig:sum,ig:gate:steps=2,lape,mean_contrast,random,random:seed=1"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("config")
    path = write_config(folder, reference_dir)
    config = yaml.safe_load(path.read_text())
    del config["test"][2]
    config |= {
        "scoring": METHODS,
        "blocks": 5,
        "studies": ["fidelity", "method_comparison", "stability"],
        "guards": {"text": None},
        "fidelity": {"items": config["identify"]["neur"] | {"limit_per_country": 2}, "groups": 2, "layers": 1}
        | {"top": 10, "top_share": 0.1, "given": "culture_general", "formulations": ["cf", "mcf"]},
        "method_comparison": {"budgets": [0.02, 0.05]},
        "stability": {"resamples": 3, "halves": 2, "wordings": 2},
    }
    path.write_text(yaml.safe_dump(config))
    return run(load_config(path), tmp_path_factory.mktemp("runs") / "tiny")


def test_a_run_compares_methods(finished):
    names = {path.stem for path in (finished.path / "evals" / "test").glob("*.parquet")}
    assert {"none", "gate.lape.0.05", "all.culnig-sum.0.02", "all.random-seed-1.0.05"} <= names
    assert not any(name.startswith(("all.lape", "all.ig")) for name in names)  # they score the gate alone
    curves = pd.read_parquet(finished.path / "tables" / "method-comparison-curves.parquet")
    one = curves.query("measure == 'accuracy' and modules == 'gate' and method == 'lape' and share == 0.05").iloc[0]
    plain, masked = (
        EvalResult.load(finished.path / "evals" / "test" / f"{n}.parquet") for n in ("none", "gate.lape.0.05")
    )
    assert one["culture"] == pytest.approx(plain.accuracy - masked.accuracy)
    report = (finished.path / "report.html").read_text()
    assert "Which method wins where" in report and "not told apart from" in report and "Other prompt wordings" in report
    wordings = pd.read_parquet(finished.path / "tables" / "stability-wordings.parquet")
    assert set(wordings["method"]) == {"culnig", "culnig:sum", "lape", "mean_contrast"}
    stability = pd.read_parquet(finished.path / "tables" / "stability.parquet")
    assert set(stability["method"]) == {"culnig", "culnig:sum", "ig:gate:steps=2", "mean_contrast"}


def test_everything_again_from_saved_files(finished):
    before = json.loads((finished.path / "results.json").read_text())
    analyse(RunDirectory.open(finished.path))
    assert json.loads((finished.path / "results.json").read_text()) == before


def test_guards_are_added_to_a_finished_run(finished, tmp_path):
    text, config = tmp_path / "text.txt", yaml.safe_load((finished.path / "config.yaml").read_text())
    text.write_text("one two three four\n\nfive six seven eight\n")
    path = tmp_path / "guarded.yaml"
    path.write_text(yaml.safe_dump(config | {"guards": {"text": str(text)}}))
    shutil.copytree(finished.path, tmp_path / "run")
    stamp = (tmp_path / "run" / "scores" / "neur.safetensors").stat().st_mtime_ns
    guarded = run(load_config(path), tmp_path / "run")
    assert stamp == (tmp_path / "run" / "scores" / "neur.safetensors").stat().st_mtime_ns
    table = pd.read_parquet(guarded.path / "tables" / "method-comparison-guards.parquet").set_index(
        ["modules", "method"]
    )
    assert table.loc[("all", "culnig"), "5 %"].split()[-1] in ("within", "beyond", "open")
    assert ("gate", "lape") in table.index and ("all", "lape") not in table.index and not table.isna().any(axis=None)
    assert "Guards: does the model still predict plain text?" in (guarded.path / "report.html").read_text()
    with pytest.raises(UsageError, match=r"other settings \(guards.text\)"):
        run(load_config(path, ["guards.text=plain"]), guarded.path)


def test_embedded_configs_are_read():
    for name in ("methods", "methods-quick"):
        assert load_config(name).studies == ["fidelity", "method_comparison", "stability"]
    with pytest.raises(UsageError, match="methods"):
        load_config("methods", ["fidelity.methods=nonsense"])
    wrong = ["prompts.score_calibration=length", "prompts.formulation=cf", "fidelity.formulations=[cf, mcf]"]
    with pytest.raises(UsageError, match="fidelity: all labels have one length"):
        check_config(load_config("methods", wrong))


def test_a_plan_says_what_it_leaves_out():
    from culnig.run.plan import _not_counted

    assert not _not_counted(load_config("quickstart", ["studies=[culture_general, culture_specific]"]))
    assert "'neuron_cards'" in " ".join(_not_counted(load_config("quickstart")))
    said = " ".join(_not_counted(load_config("methods-quick")))
    assert "'fidelity'" in said and "'stability'" in said and "scoring methods" in said


def test_fidelity_is_measured_under_every_formulation_and_given_a_set(finished):
    measured = finished.path / "measured" / "fidelity"
    assert {path.name for path in measured.iterdir() if path.is_dir()} == {"cf-given", "mcf", "mcf-given"}
    table = pd.read_parquet(finished.path / "tables" / "fidelity-strata.parquet")
    states = [f"{formulation}, {state}" for formulation in ("cf", "mcf") for state in ("untouched", "set suppressed")]
    assert list(dict.fromkeys(table["view"])) == states
    best = table[(table["stratum"] == "top") & (table["quantity"] == "D")]
    assert best["precision"].between(0, 1).all() and set(best["pool"]) == {"MLP", "attention"}
    assert "culnig@given" in set(best.loc[best["view"] == "cf, set suppressed", "method"])
    chosen = finished.neurons("culture-general")
    rows = pd.read_parquet(measured / "mcf-given" / "neurons.parquet")
    assert not any((r.module, r.layer, r.neuron) in chosen for r in rows.itertuples())
    assert "Precision at k" in (finished.path / "report.html").read_text()
