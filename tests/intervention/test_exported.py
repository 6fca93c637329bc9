"""Exported checkpoints need no culnig: plain transformers and GGUF files give the suppressed model's figures."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import culnig
from culnig import Neuron, NeuronSet
from culnig.neurons import GATE, KEY, QUERY, UP, VALUE
from tests.helpers import tiny_models
from tests.helpers.cli import invoke, use
from tests.helpers.configs import WORDS, write_items

CHOSEN = {
    Neuron(module, layer, i): 1.0
    for module in (GATE, UP, QUERY, KEY, VALUE)
    for layer in (0, 1)
    for i in (1, 6, 13, 15)
}
PLAIN = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
right = []
for line in open(sys.argv[2]):
    row, totals = json.loads(line), []
    prompt = f"Question: {row['question']}\\nAnswer:"
    start = len(tokenizer(prompt)["input_ids"])
    for option in row["options"]:
        ids = torch.tensor([tokenizer(f"{prompt} {option}")["input_ids"]])
        with torch.no_grad():
            logits = model(ids).logits[0, start - 1 : -1].log_softmax(-1)
        totals.append(logits.gather(-1, ids[0, start:, None]).sum().item())
    right.append(totals.index(max(totals)) == row["answer"])
assert "culnig" not in sys.modules
print(json.dumps(right))
"""


@pytest.mark.slow
def test_plain_transformers_gives_the_figures(tmp_path, tiny, reference_dir):
    """Another process without culnig loads the checkpoint and answers as `culnig eval` under suppression."""
    chosen = NeuronSet(dict.fromkeys(CHOSEN, 1.0) | {Neuron(GATE, 1, i): 1.0 for i in range(150)}, model_name=tiny.name)
    chosen.save(tmp_path / "g.json")
    items = write_items(tmp_path / "words.jsonl", "test", 24)
    common = ["-i", items, "--formulation", "cf", "--calibration", "none", "--json"]
    invoke("eval", "-m", reference_dir, *common, "--neurons", tmp_path / "g.json", "--out", tmp_path / "e.parquet")
    invoke("export", "-m", reference_dir, "--neurons", tmp_path / "g.json", "--out", tmp_path / "ck", "--json")
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, tmp_path / "ck", items], capture_output=True, text=True, check=True
    )
    result = culnig.EvalResult.load(tmp_path / "e.parquet")
    assert json.loads(done.stdout) == list(result.rows["correct"])
    invoke("eval", "-m", tmp_path / "ck", *common, "--out", tmp_path / "again.parquet")
    assert list(culnig.EvalResult.load(tmp_path / "again.parquet").rows["correct"]) == list(result.rows["correct"])


def write_gguf(path, kind):
    """Write a tiny random Llama as a GGUF file, its gates quantised (Q8_0), as llama.cpp's converter lays it out."""
    import gguf

    torch.manual_seed(3)
    config = tiny_models.build("llama").config
    config.hidden_size, config.intermediate_size, config.num_key_value_heads = 64, 96, 2
    config.num_attention_heads, config.head_dim, config.num_hidden_layers = 4, 16, 2
    words = ["<unk>", "<s>", "</s>", *(f"\u2581{word}" for word in WORDS)]
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_block_count, 2), (writer.add_context_length, 256), (writer.add_embedding_length, 64),
        (writer.add_feed_forward_length, 96), (writer.add_head_count, 4), (writer.add_head_count_kv, 2),
        (writer.add_layer_norm_rms_eps, 1e-5), (writer.add_rope_dimension_count, 16), (writer.add_vocab_size, len(words)),
        (writer.add_tokenizer_model, "llama"), (writer.add_token_list, words), (writer.add_bos_token_id, 1),
        (writer.add_token_scores, [-float(i) for i in range(len(words))]), (writer.add_eos_token_id, 2),
        (writer.add_token_types, [2, 3, 3] + [1] * len(WORDS)), (writer.add_unk_token_id, 0),
    ):  # fmt: skip
        add(value)
    rng = np.random.default_rng(0)
    sizes = {"attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64)}
    sizes |= {"ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96)}
    tensors = {"token_embd": (len(words), 64), "output": (len(words), 64), "output_norm": (64,)}
    for layer in range(2):
        tensors |= {f"blk.{layer}.{name}": shape for name, shape in sizes.items()}
        tensors |= {f"blk.{layer}.{name}": (64,) for name in ("attn_norm", "ffn_norm")}
    for name, shape in tensors.items():
        values = rng.normal(size=shape).astype(np.float32) * (0.2 if len(shape) > 1 else 1.0)
        if kind == "Q8_0" and any(part in name for part in ("gate", "attn_q", "attn_k")):
            packed = gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_a_gguf_file_has_the_rows_at_zero(tmp_path, kind):
    path, out = write_gguf(tmp_path / "tiny.gguf", kind), tmp_path / "suppressed.gguf"
    lm = culnig.load_model(path)
    chosen = NeuronSet(CHOSEN, model_name=lm.name, provenance={"model_hash": lm.fingerprint})
    chosen.save(tmp_path / "g.json")
    invoke("export", "-m", path, "--neurons", tmp_path / "g.json", "--out", out, "--json")
    assert out.stat().st_size == path.stat().st_size
    ids = torch.arange(3, 40)[None]
    with torch.no_grad(), culnig.suppress(lm, chosen):
        expected = lm.model(ids).logits
    with torch.no_grad():
        assert torch.equal(culnig.load_model(out).model(ids).logits, expected)
        assert not torch.allclose(lm.model(ids).logits, expected)


def test_what_gguf_cannot_hold_is_one_line(tmp_path, reference_dir, capsys, monkeypatch):
    path = write_gguf(tmp_path / "tiny.gguf", "F32")
    NeuronSet(CHOSEN).save(tmp_path / "g.json")
    common = ["--neurons", tmp_path / "g.json", "--out", tmp_path / "x.gguf"]
    code, _, err = use(capsys, monkeypatch, "export", "-m", path, *common, "--op", "scale=0.5")
    assert code == 2 and "cannot be written into quantised blocks" in err and not (tmp_path / "x.gguf").exists()
    code, _, err = use(capsys, monkeypatch, "export", "-m", reference_dir, *common)
    assert code == 2 and "made from a GGUF file" in err
