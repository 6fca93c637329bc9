"""Answers in three states of a model."""

from __future__ import annotations

import json
import pty
import subprocess
import sys

import pytest

from culnig import Neuron, NeuronSet
from culnig.neurons import GATE, VALUE
from culnig.passes.generation import Sampling, stream_text
from tests.helpers.cli import invoke, use
from tests.helpers.edits import same, snapshot


@pytest.fixture
def neurons(tmp_path, tiny):
    chosen = [*(Neuron(GATE, 1, i) for i in range(300)), *(Neuron(VALUE, 2, i) for i in range(4))]
    path = tmp_path / "g.json"
    NeuronSet(chosen, model_name=tiny.name, provenance={"model_hash": tiny.fingerprint}).save(path)
    return path


def answers(*args):
    return json.loads(invoke("generate", *args, "--json").stdout)["answers"]


def test_three_states_differ_and_the_model_is_restored(tmp_path, tiny, reference_dir, neurons):
    before = snapshot(tiny)
    common = ["-m", reference_dir, "--max-new-tokens", "12", "w1 w2 w3"]
    rows = answers(*common, "--neurons", neurons, "--out", tmp_path / "a.jsonl")
    assert [(row["state"], row["neurons"]) for row in rows] == [("untouched", 0), ("suppress", 304), ("random-0", 304)]
    assert rows[0]["text"] != rows[1]["text"] and same(tiny, before)
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == rows
    assert answers(*common, "--neurons", neurons, "--op", "scale=1")[1]["text"] == rows[0]["text"]
    assert [row["text"] for row in answers(*common)] == [rows[0]["text"]]


def test_seeds_are_the_same_in_every_state(reference_dir, neurons):
    common = [
        "-m",
        reference_dir,
        "w5 w6",
        "--neurons",
        neurons,
        "--op",
        "scale=1",
        "--temperature",
        "1",
        "--samples",
        "2",
    ]
    rows = answers(*common, "--max-new-tokens", "8", "--random-sets", "0")
    by_seed = {seed: {row["text"] for row in rows if row["seed"] == seed} for seed in (0, 1)}
    assert all(len(texts) == 1 for texts in by_seed.values()) and by_seed[0] != by_seed[1]


def test_what_streams_is_the_text_of_generate(tiny):
    pieces = []
    ids = tuple(tiny.tokenizer("w1 w2")["input_ids"])
    text = stream_text(tiny, ids, Sampling(10), pieces.append)
    assert len(pieces) > 3 and text == "".join(pieces)
    import torch

    whole = tiny.model.generate(torch.tensor([ids]), max_new_tokens=10, do_sample=False, pad_token_id=0)
    assert text == tiny.tokenizer.decode(whole[0, len(ids) :], skip_special_tokens=True)


@pytest.mark.slow
def test_prompts_come_from_stdin_and_files(tmp_path, reference_dir):
    path = tmp_path / "prompts.txt"
    path.write_text("w1 w2\n\nw3\n")
    assert [row["prompt"] for row in answers("-m", reference_dir, "--file", path, "--max-new-tokens", "2")] == [
        "w1 w2",
        "w3",
    ]
    command = [sys.executable, "-m", "culnig", "generate", "-m", str(reference_dir), "--max-new-tokens", "2", "-"]
    done = subprocess.run(command, input="w7\nw8\n", capture_output=True, text=True, check=True)
    assert "w7" in done.stdout and done.stdout.count("[untouched]") == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["  "], "what is the prompt"),
        (["--samples", "2", "x"], "without a temperature"),
        (["--chat-template", "maybe", "x"], "chat-template"),
        (["--file", "nowhere.txt"], "no such file"),
        (["--op", "explode", "x"], "unknown operation"),
    ],
)
def test_wrong_uses_are_one_line(args, message, reference_dir, capsys, monkeypatch):
    code, _, err = use(capsys, monkeypatch, "generate", "-m", reference_dir, *args)
    assert code == 2 and message in err and "Traceback" not in err


@pytest.mark.slow
def test_columns_on_a_terminal(reference_dir, neurons):
    """Run it on a pseudo-terminal: three columns, and no traceback."""
    main, other = pty.openpty()
    command = [sys.executable, "-m", "culnig", "generate", "-m", str(reference_dir), "--neurons", str(neurons)]
    done = subprocess.run(
        [*command, "--max-new-tokens", "6", "w1 w2"], stdout=other, stderr=subprocess.PIPE, check=True
    )
    import os

    shown = os.read(main, 100_000).decode()
    os.close(main), os.close(other)
    assert all(name in shown for name in ("untouched", "suppress", "random-0")) and b"Traceback" not in done.stderr
