"""Damaged files are refused by their checksum, in one line, and never used; files of version 0.1 stay readable."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pandas as pd
import pytest

from culnig.attribution import Scores
from culnig.errors import CulnigError, DataError
from culnig.evaluation import EvalResult
from culnig.files import read_json, write_json
from culnig.models import load_model
from culnig.models.checkpoint_files import sign, verify
from culnig.neurons import Neuron, NeuronSet
from culnig.sealed import load_rows, load_tensors, save_rows, save_tensors
from tests.fuzz.documents import without_seal
from tests.helpers.scores import make


def damages(content: bytes, number: int, seed: int = 0):
    """Yield a file with one bit flipped at places of all parts, one byte cut out, or its end cut off."""
    rng = random.Random(seed)
    places = {0, 7, 8, 12, len(content) - 1, len(content) - 5, *(rng.randrange(len(content)) for _ in range(number))}
    for place in sorted(places):
        yield content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
        yield content[:place] + content[place + 1 :]
        yield content[:place]


def refused(load, path, content, number=120):
    for damaged in damages(content, number):
        path.write_bytes(damaged)
        with pytest.raises(CulnigError) as error:
            load(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_scores(tmp_path):
    path = tmp_path / "s.safetensors"
    make(1).save(path)
    assert Scores.load(path).meta == make(1).meta
    refused(Scores.load, path, path.read_bytes())


def test_scores_of_version_0_1(tmp_path):
    path = tmp_path / "s.safetensors"
    make(1).save(path)
    path.write_bytes(without_seal(path.read_bytes()))
    old = Scores.load(path)
    assert old.meta == make(1).meta
    for key, sums in make(1).sums.items():
        np.testing.assert_array_equal(old.sums[key], sums)


def test_results(tmp_path):
    path = tmp_path / "e.parquet"
    rows = pd.DataFrame({"id": [f"item {i}" for i in range(40)], "correct": [True, False] * 20})
    EvalResult(rows, {"model": "m", "note": "sha256:" + "0" * 64}).save(path)
    assert EvalResult.load(path).rows.equals(rows)
    refused(EvalResult.load, path, path.read_bytes())


def test_rows_and_tensors_with_texts_like_a_checksum(tmp_path):
    """What looks like the place of the checksum, in data or description, is not taken for it."""
    fake = "sha256:" + "0" * 64
    save_rows(tmp_path / "r.parquet", pd.DataFrame({fake: [fake, fake]}), {"note": fake})
    table, meta = load_rows(tmp_path / "r.parquet", "rows")
    assert table.column_names == [fake] and meta == {"note": fake}
    save_tensors(tmp_path / "t.safetensors", {fake: np.ones(3)}, {"note": fake})
    assert list(load_tensors(tmp_path / "t.safetensors", "tensors")) == [fake]


def test_neuron_sets(tmp_path):
    path = tmp_path / "n.json"
    made = NeuronSet(
        {Neuron("mlp.gate_proj", 1, i): 0.1 * i for i in range(20)}, model_name="m", provenance={"t": 0.01}
    )
    made.save(path)
    content = path.read_bytes()
    used = 0
    for damaged in damages(content, 150):
        path.write_bytes(damaged)
        try:
            found = NeuronSet.load(path)
        except CulnigError as error:
            assert "\n" not in str(error)
        else:  # a blank more or less between values
            used += 1
            assert found.to_json() == made.to_json()
    assert used < 60
    path.write_bytes(content)
    assert NeuronSet.load(path).to_json() == made.to_json()


def test_a_set_changed_by_hand_says_what_to_do(tmp_path):
    path = tmp_path / "n.json"
    NeuronSet([Neuron("mlp.gate_proj", 1, 2)]).save(path)
    data = json.loads(path.read_text())
    data["top_neurons"][0]["neuron_idx"] = 3
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="delete that field if you changed it"):
        NeuronSet.load(path)
    del data["checksum"]
    path.write_text(json.dumps(data))
    assert list(NeuronSet.load(path)) == [Neuron("mlp.gate_proj", 1, 3)]


def test_records(tmp_path):
    write_json(tmp_path / "r.json", {"a": [1.5, None, "ü"], "b": {"c": float("nan")}})
    assert read_json(tmp_path / "r.json", "a record") == {"a": [1.5, None, "ü"], "b": {"c": None}}
    text = (tmp_path / "r.json").read_text()
    for old, new in (("1.5", "1.6"), ('"checksum"', '"checksun"'), ("null", "0"), ('"c"', '"d"')):
        (tmp_path / "r.json").write_text(text.replace(old, new, 1))
        with pytest.raises(DataError, match="damaged or changed by hand"):
            read_json(tmp_path / "r.json", "a record")


def test_checkpoints(tmp_path, reference_dir):
    """A checkpoint that culnig wrote is verified when it is loaded: each file, and none may be missing."""
    folder = tmp_path / "model"
    shutil.copytree(reference_dir, folder)
    sign(folder, {"model": "m", "formulation": "cf"})
    load_model(folder)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
        with pytest.raises(CulnigError, match=f"{name}: damaged"):
            load_model(folder)
        (folder / name).unlink()
        with pytest.raises(CulnigError, match=f"{name} is missing"):
            verify(folder)
        (folder / name).write_bytes(content)
    load_model(folder)
