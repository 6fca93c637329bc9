"""What `bench.published` says of two sides; the published code itself is not here, its reference figures are."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from bench import published
from safetensors.numpy import load_file

import culnig


@pytest.fixture
def sides(reference_dir, tmp_path):
    """Neuron lists of the published code, and the same ones under our names."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    shutil.copytree(reference_dir / "neurons", theirs)
    (ours / "specific").mkdir(parents=True)
    shutil.copy(theirs / "all_neurons_blend_max.json", ours / "general.json")
    for file in theirs.glob("*_all.json"):
        name = file.name.partition("_")[0].replace("SouthKorea", "South Korea")
        shutil.copy(file, ours / "specific" / f"{name}.json")
    return theirs, ours


def test_lists_are_compared(sides):
    theirs, ours = sides
    assert published.same_lists(theirs, ours) == (9, 9, 9)
    data = json.loads((ours / "general.json").read_text())
    data["top_neurons"].reverse()
    (ours / "general.json").write_text(json.dumps(data))
    assert published.same_lists(theirs, ours) == (9, 9, 8)
    data["top_neurons"].pop()
    (ours / "general.json").write_text(json.dumps(data))
    assert published.same_lists(theirs, ours) == (9, 8, 8)


def test_scores_are_compared(tiny, reference_dir, reference_files, tmp_path):
    policy = culnig.PromptPolicy(chat_template="off")
    scores = culnig.score(tiny, culnig.read_items(reference_files["countryrc"]), policy=policy)
    scores.save(tmp_path / "ours.safetensors")
    neurons: dict[str, dict[str, float]] = {}
    for key, values in load_file(reference_dir / "upstream_scores_bs1.safetensors").items():
        dataset, _, module = key.partition("/")
        if dataset == "countryrc":
            for layer, neuron in np.ndindex(values.shape[1:]):
                of_country = values[:, layer, neuron].tolist()
                neurons[f"{module}_{layer}_{neuron}"] = dict(zip(scores.groups, of_country, strict=True))
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps({"neuron_scores": neurons}))
    assert published.largest_difference(theirs, tmp_path / "ours.safetensors") < 1e-4
    neurons["self_attn.k_proj_0_1"]["Iran"] += 1
    theirs.write_text(json.dumps({"neuron_scores": neurons}))
    assert published.largest_difference(theirs, tmp_path / "ours.safetensors") > 0.5


def test_items_have_the_published_form():
    assert {name: len(rows) for name, rows in published.items_of("reference", 0).items()} == {
        "blend": 96, "blendcontrol": 96, "countryrc": 40
    }  # fmt: skip
    made = published.items_of("smollm2-135m", 1)
    assert {name: len(rows) for name, rows in made.items()} == {"blend": 16, "blendcontrol": 16, "countryrc": 8}
    first = made["blend"][0]
    assert first.keys() == published.items_of("reference", 0)["blend"][0].keys() and first["label"] in set("ABCD")


def test_what_is_no_clone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["published", str(tmp_path)])
    with pytest.raises(SystemExit):
        published.main()
    assert "has no CULNIG/calc_neuron_score.py; give a clone" in capsys.readouterr().err


def test_an_old_python_is_not_taken(monkeypatch):
    old = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(published.subprocess, "run", lambda *_, **__: old)
    assert published.newer_python(None) is None
