"""`culnig diff`: a tuned checkpoint beside its base."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

import culnig
from culnig.neurons import GATE, NeuronSet
from tests.helpers.cli import invoke, use
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory, reference_dir):
    """A base, a copy with some rows changed, and the run that compares them."""
    folder = tmp_path_factory.mktemp("diff")
    base = culnig.load_model(reference_dir)
    with torch.no_grad():
        weight = base.sites[GATE, 1].module.weight
        weight[:200] *= 3.0
    base.model.save_pretrained(folder / "tuned")
    base.tokenizer.save_pretrained(folder / "tuned")
    config = write_config(folder, reference_dir)
    out = folder / "run"
    args = ["diff", reference_dir, folder / "tuned", "--config", config, "--out", out]
    return folder, args, json.loads(invoke(*args, "--json").stdout)


def test_answers_are_paired_item_by_item(made, reference_dir):
    folder, _, numbers = made
    rows = {row["role"]: row for row in numbers["tests"]}
    assert set(rows) == {"culture", "ability", "surface"}
    items = pd.read_parquet(folder / "run" / "tables" / "diff-items.parquet")
    culture = items[items["test"].str.endswith("/test.jsonl")]
    assert len(culture) == 48
    assert rows["culture"]["difference"] == pytest.approx(culture["tuned"].mean() - culture["base"].mean())
    assert rows["culture"]["lost"] == int((culture["base"] & ~culture["tuned"]).sum())
    lm, base = culnig.load_model(folder / "tuned"), culnig.load_model(reference_dir)
    test = culnig.read_items(folder / "test.jsonl")
    policy = base.policy("cf")
    culnig.evaluate(base, test, policy=policy)
    lm.offsets.update(base.offsets)
    np.testing.assert_allclose(
        culnig.evaluate(lm, test, policy=policy).rows["log_odds"], culture["tuned log-odds"], atol=1e-4
    )


def test_sets_and_rows(made):
    folder, _, numbers = made
    base = NeuronSet.load(folder / "run" / "neurons" / "culture-general.json")
    tuned = NeuronSet.load(folder / "run" / "measured" / "diff" / "neurons.json")
    assert numbers["sets"]["jaccard"] == pytest.approx(base.jaccard(tuned))
    assert (numbers["sets"]["base"], numbers["sets"]["shared"]) == (len(base), len(base & tuned))
    rows = pd.read_parquet(folder / "run" / "measured" / "diff" / "rows.parquet")
    changed = (rows["module"] == GATE) & (rows["layer"] == 1) & (rows["neuron"] < 200)
    assert np.allclose(rows.loc[changed, "change"], 2.0) and (rows.loc[~changed, "change"] == 0).all()
    assert numbers["plain_text"]["ratio"] != 1


def test_page_and_table(made, capsys, monkeypatch):
    folder, args, numbers = made
    code, out, _ = use(capsys, monkeypatch, *args)
    assert code == 0 and numbers["claim"][:40] in " ".join(out.split()) and "tuned - base" in out
    assert "Before and after tuning" in (folder / "run" / "report.html").read_text(encoding="utf-8")


def test_the_base_itself_and_other_shapes_are_refused(tmp_path, made, reference_dir, capsys, monkeypatch):
    folder, *_ = made
    common = ["--config", folder / "tiny.yaml", "--out", tmp_path / "run"]
    code, _, err = use(capsys, monkeypatch, "diff", reference_dir, reference_dir, *common)
    assert code == 2 and "is the base itself" in err and "Traceback" not in err
    code, _, err = use(capsys, monkeypatch, "diff", reference_dir, tmp_path / "nowhere", *common)
    assert code == 2 and "diff" in err
