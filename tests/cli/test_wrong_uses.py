"""Wrong uses: one clear line on stderr, the right exit code, nothing half-written, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.cli import jsonl, use

ITEM = {"id": "1", "benchmark": "b", "country": "Iran", "question": "w1 w2", "options": ["w3", "w4"], "answer": 0}


@pytest.fixture
def cases(tmp_path, reference_dir, reference_files):
    """name -> (arguments, exit code, what the line must say)."""
    model = reference_dir
    good = jsonl(tmp_path / "good.jsonl", ITEM)
    out = tmp_path / "out.safetensors"
    neurons = reference_dir / "neurons" / "China_neurons_blend_all.json"
    big = tmp_path / "big.json"
    big.write_text(
        json.dumps(
            {"model_name": "gemma", "top_neurons": [{"module_name": "mlp.gate_proj", "layer_idx": 40, "neuron_idx": 1}]}
        )
    )
    other = tmp_path / "other.json"
    rows = json.loads(neurons.read_text())["top_neurons"]
    other.write_text(json.dumps({"model_name": "x", "top_neurons": rows, "provenance": {"model_hash": "feed"}}))
    (tmp_path / "broken_model").mkdir()
    (tmp_path / "unknown_model").mkdir()
    (tmp_path / "config.yaml").write_text("test: [{role: culture, items: 'everyday:test'}]\nsead: 3\n")
    (tmp_path / "badyaml.yaml").write_text("a: [1\n")
    (tmp_path / "text.safetensors").write_text("not a tensor")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"id": "caf\xe9"}\n'.encode("latin-1"))
    score = ["score", "--model", model, "--out", out, "--formulation", "cf", "--items"]
    evaluate = ["eval", "--model", model, "--items", good, "--out", tmp_path / "e.parquet", "--formulation", "cf"]
    select = [
        "select",
        "general",
        "--neur",
        "x.safetensors",
        "--ctrl",
        "x.safetensors",
        "--crc",
        "x.safetensors",
        "--out",
        out,
    ]
    three = [tmp_path / "text.safetensors"] * 3
    return {
        "missing item file": ([*score, tmp_path / "absent.jsonl"], 2, "no such file"),
        "no such benchmark": ([*score, "evryday:test"], 2, "no benchmark and no file named 'evryday:test'"),
        "no such split": ([*score, "everyday:train"], 2, "no split 'train'"),
        "split left out": ([*score, "everyday"], 2, "has several splits"),
        "broken JSON line": ([*score, jsonl(tmp_path / "a.jsonl", ITEM, '{"id": ')], 1, "a.jsonl:2: not JSON"),
        "full-width characters": ([*score, jsonl(tmp_path / "f.jsonl", '｛"id"： "1"｝')], 1, "f.jsonl:1: not JSON"),
        "answer out of range": ([*score, jsonl(tmp_path / "b.jsonl", ITEM | {"answer": 2})], 1, "answer 2 is out of range"),
        "full-width answer": ([*score, jsonl(tmp_path / "w.jsonl", ITEM | {"answer": "０"})], 1, "answer must be the index"),
        "one option": ([*score, jsonl(tmp_path / "c.jsonl", ITEM | {"options": ["w3"]})], 1, "at least two options"),
        "doubled option": ([*score, jsonl(tmp_path / "d.jsonl", ITEM | {"options": ["w3", "w3"]})], 1, "occurs twice"),
        "unknown field": ([*score, jsonl(tmp_path / "u.jsonl", ITEM | {"lable": 1})], 1, "unknown field lable"),
        "missing field": ([*score, jsonl(tmp_path / "m.jsonl", {"id": "1"})], 1, "'benchmark' is missing"),
        "empty file": ([*score, jsonl(tmp_path / "e.jsonl")], 1, "it has no items"),
        "wrong encoding": ([*score, latin], 1, "not UTF-8"),
        "unknown country": ([*score, "everyday:test", "--countries", "Atlantis"], 2, "unknown country 'Atlantis'"),
        "limit of zero": ([*score, "everyday:test", "--limit-per-country", "0"], 2, "at least 1"),
        "no such model": ([*score[:1], "--model", "smolm", "--items", good, "--out", out], 2, "no model 'smolm'"),
        "no such hub id": ([*score[:1], "--model", "no/such", "--items", good, "--out", out], 2, "no model 'no/such'"),
        "folder without model": ([*score[:1], "--model", tmp_path / "broken_model", "--items", good, "--out", out], 1, "no config.json"),
        "no such formulation": ([*score[:-3], "--formulation", "essay", "--items", good], 2, "--formulation essay"),
        "no such dtype": ([*score, good, "--dtype", "int3"], 2, "unknown dtype 'int3'"),
        "no such device": ([*score, good, "--device", "abacus"], 2, "device 'abacus'"),
        "no such method": ([*score, good, "--method", "guess"], 2, "unknown method 'guess'"),
        "chat template asked for": ([*score, good, "--chat-template", "on"], 1, "no chat template"),
        "output is a folder": ([*score[:3], "--out", tmp_path, "--items", good], 2, "is a folder"),
        "neurons of a larger model": ([*evaluate, "--neurons", big], 2, "is not in reference"),
        "neurons of another model": ([*evaluate, "--neurons", other], 2, "made on another model"),
        "no neuron file": ([*evaluate, "--neurons", good], 1, "not a neuron set"),
        "unknown operation": ([*evaluate, "--neurons", neurons, "--op", "delete"], 2, "unknown operation 'delete'"),
        "threshold out of range": ([*select, "--t-mlp", "2"], 2, "no such file"),
        "not a score file": (["select", "general", "--neur", three[0], "--ctrl", three[1], "--crc", three[2], "--out", out], 1, "not a score file"),
        "random without a set": (["select", "random", "--out", out], 2, "give --like"),
        "unknown setting": (["run", tmp_path / "config.yaml", "--out", tmp_path / "r"], 2, "sead"),
        "broken YAML": (["run", tmp_path / "badyaml.yaml"], 1, "not YAML"),
        "no such config": (["run", "quickstrat"], 2, "no config 'quickstrat'"),
        "override without value": (["run", "--set", "seed"], 2, "name.of.setting=value"),
        "override out of range": (["run", "--set", "culture_general.t_mlp=7"], 2, "culture_general.t_mlp"),
        "folder of something else": (["run", "--out", tmp_path / "full"], 2, "holds other files"),
        "report of no run": (["report", tmp_path / "broken_model"], 2, "not a run folder"),
        "unknown option": (["score", "--modell", "x"], 2, "No such option"),
    }  # fmt: skip


NAMES = [
    "missing item file", "no such benchmark", "no such split", "split left out", "broken JSON line", "full-width characters",
    "answer out of range", "full-width answer", "one option", "doubled option", "unknown field", "missing field", "empty file",
    "wrong encoding", "unknown country", "limit of zero", "no such model", "no such hub id", "folder without model",
    "no such formulation", "no such dtype", "no such device", "no such method", "chat template asked for", "output is a folder",
    "neurons of a larger model", "neurons of another model", "no neuron file", "unknown operation", "threshold out of range",
    "not a score file", "random without a set", "unknown setting", "broken YAML", "no such config", "override without value",
    "override out of range", "folder of something else", "report of no run", "unknown option",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_one_clear_line(name, cases, capsys, monkeypatch):
    args, expected, says = cases[name]
    code, _, err = use(capsys, monkeypatch, *args)
    assert code == expected, err
    assert says in err and "Traceback" not in err
    if name != "unknown option":  # typer frames its own usage errors
        lines = [line for line in err.splitlines() if not line.lstrip().startswith("✓")]
        assert len(lines) == 1 and lines[0].startswith("culnig: "), err


def test_no_case_is_forgotten(cases):
    assert set(cases) == set(NAMES) and len(NAMES) >= 20


def test_threshold_out_of_range(capsys, monkeypatch, tiny, word_items, tmp_path):
    import culnig

    path = tmp_path / "s.safetensors"
    culnig.score(tiny, word_items, formulation="cf").save(path)
    args = ["select", "general", "--neur", path, "--ctrl", path, "--crc", path, "--out", tmp_path / "n.json"]
    code, _, err = use(capsys, monkeypatch, *args, "--t-mlp", "1.5")
    assert code == 2 and "t-mlp" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "n.json").exists()


def test_read_only_output(tmp_path):
    """As an ordinary user: root may write anywhere, so the probe itself is made to fail there."""
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    target = locked / "n.json" if os.geteuid() else Path("/proc/culnig/n.json")
    args = ["select", "random", "--like", "x", "--scores", "y", "--out", str(target)]
    done = subprocess.run([sys.executable, "-m", "culnig", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot" in done.stderr and len(done.stderr.splitlines()) == 1


def test_unknown_architecture_lists_its_modules(tmp_path, capsys, monkeypatch, reference_dir):
    from transformers import AutoTokenizer, CTRLConfig, CTRLLMHeadModel

    config = CTRLConfig(vocab_size=407, n_positions=64, n_embd=16, dff=32, n_layer=2, n_head=2)
    CTRLLMHeadModel(config).save_pretrained(tmp_path / "m")
    AutoTokenizer.from_pretrained(reference_dir).save_pretrained(tmp_path / "m")
    code, _, err = use(capsys, monkeypatch, "models", "inspect", tmp_path / "m")
    assert code == 1 and "architecture 'ctrl' is not known" in err and "transformer.h.0.ffn.0 (32, 16)" in err
    assert "docs/extending.md" in err
