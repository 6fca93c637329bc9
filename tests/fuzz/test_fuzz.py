"""A sample of `make fuzz`, and one test for each crash that it has found."""

from __future__ import annotations

import json
import random
import struct

import pytest

from culnig.data import load_items
from culnig.errors import CulnigError, DataError, ModelError
from culnig.finetune.trainer import only
from culnig.models import load_model
from culnig.neurons import NeuronSet
from culnig.parsing import NotParsed, parse_yaml
from tests.fuzz import documents
from tests.fuzz.__main__ import SHARES, _run
from tests.fuzz.boundary import Tally


@pytest.mark.slow
def test_a_sample_of_all_kinds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    material = documents.make(tmp_path / "good")
    (tmp_path / "work").mkdir()
    tally, rng = Tally(), random.Random(7)
    for kind, share in SHARES.items():
        _run(kind, max(3, 2 * share), material, tmp_path / "work", tally, rng)
    assert tally.total >= 200 and not tally.bad, tally.bad


@pytest.mark.parametrize("char", ["\x00", "\x07", "\x7f"])
def test_control_characters_in_yaml(char):
    """Was a traceback of the reader, which was made outside of what is caught."""
    with pytest.raises(NotParsed, match="special characters are not allowed"):
        parse_yaml(f"name: a{char}b")


@pytest.mark.parametrize("score", [[1], {"a": 1}, "high", True])
def test_a_score_that_is_no_number(score, tmp_path):
    """Was a TypeError of float()."""
    row = {"module_name": "mlp.gate_proj", "layer_idx": 0, "neuron_idx": 1, "attribute_score": score}
    (tmp_path / "n.json").write_text(json.dumps({"top_neurons": [row]}))
    with pytest.raises(DataError, match="row 1: attribute_score must be a number"):
        NeuronSet.load(tmp_path / "n.json")


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "config.json"])
def test_a_model_folder_with_a_damaged_file(name, tmp_path, reference_dir):
    """Was a bare Exception of the tokenizer's reader, and a SafetensorError."""
    import shutil

    folder = tmp_path / "m"
    shutil.copytree(reference_dir, folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:40] + b"\xff}]" + content[43:])
    with pytest.raises(CulnigError):
        load_model(folder)


@pytest.mark.parametrize("field", ["num_hidden_layers", "hidden_size", "vocab_size"])
def test_a_config_larger_than_its_weights(field, tmp_path, reference_dir):
    """Would have made a model of that size, with random weights."""
    import shutil

    folder = tmp_path / "m"
    shutil.copytree(reference_dir, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {field: 100_000_000}))
    with pytest.raises(ModelError, match=f"{field} 100,000,000, which its weights do not hold"):
        load_model(folder)


@pytest.mark.parametrize("value", [0x8001, 2**31])
def test_a_gguf_file_of_more_layers_than_tensors(value, tmp_path):
    """Worked for minutes, and took gigabytes: 32,769 layers in a file of two tensors."""
    path = tmp_path / "g.gguf"
    documents._write_gguf(path)
    content = path.read_bytes()
    place = content.index(b"llama.block_count") + len(b"llama.block_count") + 4
    path.write_bytes(content[:place] + struct.pack("<I", value) + content[place + 4 :])
    with pytest.raises(ModelError, match="layers, and 2 tensors"):
        load_model(path)


def test_a_gguf_file_of_endless_lists(tmp_path):
    """Counts are checked against the file before a library believes them."""
    path = tmp_path / "g.gguf"
    documents._write_gguf(path)
    content = path.read_bytes()
    place = content.index(b"tokenizer.ggml.tokens") + len(b"tokenizer.ggml.tokens") + 8
    path.write_bytes(content[:place] + struct.pack("<Q", 2**56) + content[place + 8 :])
    with pytest.raises(ModelError, match="do not fit into the file"):
        load_model(path)


def test_unfinished_checkpoints_go_before_training(tmp_path):
    """A kill while checkpoint 5 was written made the next training delete its own checkpoint 1 instead."""
    for number in (1, 5):
        (tmp_path / f"checkpoint-{number}").mkdir()
    only(tmp_path / "checkpoint-1", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_halves_of_surrogate_pairs_in_items(tmp_path):
    """JSON can write them, and no file can hold them: named with their line."""
    row = '{"id": "1", "benchmark": "b", "country": "Iran", "question": "w\\ud800", "options": ["a", "b"], "answer": 0}'
    (tmp_path / "i.jsonl").write_text(row)
    with pytest.raises(DataError, match=r"i\.jsonl:1: not JSON: half of a surrogate pair"):
        load_items(str(tmp_path / "i.jsonl"))


def test_a_failed_write_of_torch_is_one_line(tmp_path):
    """Was a bare RuntimeError of a C++ stream, without the system's number."""
    from culnig.errors import WriteError
    from culnig.writing import explained_writing

    with pytest.raises(WriteError, match="cannot write"), explained_writing(tmp_path / "optimizer.pt"):
        raise RuntimeError("basic_ios::clear: iostream error")
