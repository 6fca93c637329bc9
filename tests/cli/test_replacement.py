"""`--op mean` and `--op control` on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

import culnig
from culnig import EvalResult, Means, NeuronSet
from tests.helpers.cli import invoke, use
from tests.helpers.configs import write_items


@pytest.fixture
def files(tmp_path, reference_dir):
    return {
        "neur": write_items(tmp_path / "neur.jsonl", "neur", 12),
        "ctrl": write_items(tmp_path / "ctrl.jsonl", "neur", 12, control=True),
        "test": write_items(tmp_path / "test.jsonl", "test", 12),
        "neurons": reference_dir / "neurons/all_neurons_blend_max.json",
    }


def test_eval_by_items_and_by_file(files, reference_dir, tmp_path, tiny):
    """Means over items, and the same from a score file, give the rows of the Python block."""
    common = ["--model", reference_dir, "--neurons", files["neurons"], "--op", "mean"]
    evaluate = ["eval", *common, "--items", files["test"], "--json"]
    done = invoke(*evaluate, "--reference", files["neur"], "--out", tmp_path / "a.parquet")
    assert done.exit_code == 0, done.output
    means = tmp_path / "means.safetensors"
    scored = ["score", "--model", reference_dir, "--items", files["neur"], "--method", "mean_contrast", "--out", means]
    assert invoke(*scored).exit_code == 0
    assert invoke(*evaluate, "--reference", means, "--out", tmp_path / "b.parquet").exit_code == 0
    a, b = (EvalResult.load(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    np.testing.assert_allclose(a.rows["p_gold"], b.rows["p_gold"], rtol=1e-5)
    with culnig.replace(tiny, NeuronSet.load(files["neurons"]), Means.load(means)):
        expected = culnig.evaluate(tiny, culnig.read_items(files["test"]))
    np.testing.assert_allclose(a.rows["p_gold"], expected.rows["p_gold"], rtol=1e-4)
    record = a.meta["intervention"]
    assert record["operation"] == "mean" and record["reference"]["num_items"] == 12
    assert record["reference"] == b.meta["intervention"]["reference"]
    control = invoke(*evaluate, "--op", "control", "--reference", files["ctrl"], "--out", tmp_path / "c.parquet")
    assert control.exit_code == 0
    other = EvalResult.load(tmp_path / "c.parquet").rows["p_gold"]
    assert not np.allclose(other, a.rows["p_gold"], rtol=1e-4)


def test_other_verbs(files, reference_dir, tmp_path):
    common = ["--model", reference_dir, "--neurons", files["neurons"], "--op", "mean", "--reference", files["neur"]]
    done = invoke("perplexity", *common, "--out", tmp_path / "p.parquet", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["perplexity"] > 0
    done = invoke("export", *common, "--out", tmp_path / "checkpoint", "--json")
    assert done.exit_code == 0, done.output
    origin = json.loads((tmp_path / "checkpoint/culnig.json").read_text())
    assert origin["operation"] == "mean" and origin["reference"]["num_items"] == 12
    assert json.loads((tmp_path / "checkpoint/config.json").read_text())["mlp_bias"]


def test_wrong_uses(files, reference_dir, tmp_path, capsys, monkeypatch):
    evaluate = ["eval", "--model", tmp_path / "no-model", "--items", files["test"], "--out", tmp_path / "e.parquet"]
    neurons = ["--neurons", files["neurons"]]
    none = tmp_path / "none.safetensors"
    scored = ["score", "--model", reference_dir, "--items", files["neur"], "--out", none]
    assert invoke(*scored).exit_code == 0
    for more, message in (
        ([*neurons, "--op", "men"], "unknown operation 'men'; there are suppress, enhance, scale=FACTOR"),
        ([*neurons, "--reference", files["neur"]], "--reference belongs to --op mean and --op control"),
        (["--op", "mean"], "--op mean needs a neuron set: give --neurons"),
        ([*neurons, "--op", "mean", "--reference", tmp_path / "absent.safetensors"], "no such file"),
        ([*neurons, "--op", "mean", "--reference", "evryday:neur"], "no benchmark and no file named"),
        ([*neurons, "--op", "mean", "--reference", none], "holds no mean values"),
    ):
        code, out, err = use(
            capsys, monkeypatch, *evaluate, *more
        )  # before the model, which is not there, is looked for
        assert code == 2 and message in err and out == "", (more, err)
        assert len(err.strip().splitlines()) == 1
