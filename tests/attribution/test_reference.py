"""The published implementation's numbers, through the public command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from culnig import NeuronSet, Scores
from culnig.cli._app import app

DATASETS = ("blend", "blendcontrol", "countryrc")


@pytest.fixture(scope="module")
def scored(reference_dir, reference_files, tmp_path_factory):
    """`culnig score` on the three data sets."""
    folder = tmp_path_factory.mktemp("scores")
    paths = {}
    for name in DATASETS:
        paths[name] = folder / f"{name}.safetensors"
        args = ["score", "--model", reference_dir, "--items", reference_files[name], "--out", paths[name]]
        args += ["--chat-template", "off", "--formulation", "mcf"] + (["--control"] if name == "blendcontrol" else [])
        result = CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return paths


@pytest.mark.parametrize("dataset", DATASETS)
def test_scores_equal_upstream(scored, reference_dir, dataset):
    upstream = load_file(reference_dir / "upstream_scores_bs1.safetensors")
    ours = Scores.load(scored[dataset])
    assert ours.groups == sorted(ours.groups)
    for module in ours.modules:
        expected = upstream[f"{dataset}/{module}"]
        got = ours.sums["culnig", module]
        assert got.shape == expected.shape and got.dtype == np.float32
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("dataset", DATASETS)
def test_padding_trap_reproduced(tiny, reference_files, reference_dir, dataset):
    """The published code at batch size 16 lets padded positions enter the maximum as 0."""
    import culnig

    upstream = load_file(reference_dir / "upstream_scores_bs16.safetensors")
    items = culnig.read_items(reference_files[dataset])
    policy = culnig.PromptPolicy(chat_template="off")
    ours = culnig.score(tiny, items, policy=policy, control=dataset == "blendcontrol" or None, padded_zeros=16)
    for module in ours.modules:
        expected = upstream[f"{dataset}/{module}"]
        assert np.abs(ours.sums["culnig", module] - expected).max() <= 1e-4 * np.abs(expected).max()


def _rows(data):
    return [(row["module_name"], row["layer_idx"], row["neuron_idx"]) for row in data["top_neurons"]]


def test_general_list_identical(scored, reference_dir, tmp_path):
    out = tmp_path / "general.json"
    paths = [str(scored[name]) for name in DATASETS]
    args = ["select", "general", "--neur", paths[0], "--ctrl", paths[1], "--crc", paths[2]]
    assert CliRunner().invoke(app, [*args, "--preset", "paper", "--out", str(out)]).exit_code == 0
    ours = json.loads(out.read_text())
    theirs = json.loads((reference_dir / "neurons" / "all_neurons_blend_max.json").read_text())
    assert _rows(ours) == _rows(theirs)
    scores = [[row["attribute_score"] for row in data["top_neurons"]] for data in (ours, theirs)]
    np.testing.assert_allclose(*scores, rtol=1e-4)
    assert ours["dataset_ids"] == theirs["dataset_ids"]


def test_specific_lists_identical(scored, reference_dir, tmp_path):
    paths = [str(scored[name]) for name in DATASETS]
    args = ["select", "specific", "--neur", paths[0], "--ctrl", paths[1], "--crc", paths[2]]
    assert CliRunner().invoke(app, [*args, "--preset", "paper", "--out", str(tmp_path)]).exit_code == 0
    files = sorted((reference_dir / "neurons").glob("*_neurons_blend_all.json"))
    assert len(files) == 8
    for file in files:
        theirs = json.loads(file.read_text())
        country = file.name.split("_")[0].replace("SouthKorea", "South Korea")
        ours = json.loads((tmp_path / f"{country}.json").read_text())
        assert _rows(ours) == _rows(theirs)
        for a, b in zip(ours["top_neurons"], theirs["top_neurons"], strict=True):
            assert a["scores"].keys() == b["scores"].keys()


def test_published_neuron_files_load(reference_dir):
    neurons = NeuronSet.load(reference_dir / "neurons" / "China_neurons_blend_all.json")
    assert len(neurons) == 3 and neurons.model_name == "llama"
    assert len(next(iter(neurons.extra.values()))["scores"]) == 16
