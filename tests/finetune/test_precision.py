"""Fine-tuning of half-precision models: small updates add up, and what is kept keeps its bits."""

from __future__ import annotations

import pytest
import torch

import culnig
from culnig.data import write_items
from culnig.finetune import tune
from tests.helpers import tiny_models
from tests.helpers.tuning import CHOSEN, by_row, changed, config, rows_of, weights

GENTLE = {"learning_rate": 3e-5, "weight_decay": 0.0, "epochs": 4, "batch": 4, "accumulation": 1}


@pytest.fixture(scope="module")
def half(tmp_path_factory, word_items):
    """A model whose weights are bfloat16 numbers, and a task."""
    folder = tmp_path_factory.mktemp("half")
    model = tiny_models.build("llama").to(torch.bfloat16)
    model.save_pretrained(folder / "base")
    tiny_models.tokenizer().save_pretrained(folder / "base")
    CHOSEN.save(folder / "base" / "set.json")
    write_items(word_items, folder / "task.jsonl")
    return folder / "base", str(folder / "task.jsonl")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_small_updates_add_up(half, dtype, tmp_path):
    """24 updates at 3e-5 move a half-precision model as they move it in float32, but for the rounding at the end."""
    base, task = half
    low = tune(config(base, task, dtype=dtype, **GENTLE), tmp_path / "low")
    full = tune(config(base, task, dtype="float32", **GENTLE), tmp_path / "full")
    kind = getattr(torch, dtype)
    start, moved, expected = weights(base), weights(low / "model"), weights(full / "model")
    wanted, got = [], []
    for name, before in start.items():
        wanted.append((expected[name] - before).flatten())
        got.append((moved[name] - before).flatten())
        # A unit in the last place, and the gradients whose sign autocast's rounding turns.
        unit = torch.finfo(kind).eps * before.abs()
        near = (moved[name] - expected[name]).abs() <= unit + 24 * 3e-5 * 0.5
        assert near.float().mean() > 0.95, name
    wanted, got = torch.cat(wanted), torch.cat(got)
    # Rounding hides single movements, not their sum along the direction.
    assert float(got @ wanted / (wanted @ wanted)) == pytest.approx(1, abs=0.3)
    assert weights(low / "model", dtype="auto")["lm_head.weight"].dtype == kind


def test_protected_rows_keep_their_bits_through_float32(half, tmp_path):
    base, task = half
    made = config(base, task, {"protect": str(base / "set.json")}, "bfloat16", learning_rate=3e-3)
    masks = changed(base, tune(made, tmp_path / "out"), torch.bfloat16)
    for name, rows in rows_of(base, "llama").items():
        moved = by_row(name, masks[name], "llama")
        assert not moved[sorted(rows)].any() and moved.any(), name


def test_modules_among_frozen_half_precision_weights(half, tmp_path):
    base, task = half
    out = tune(config(base, task, {"what": "modules", "modules": ".*up_proj"}, "bfloat16"), tmp_path / "out")
    moved = {name for name, mask in changed(base, out, torch.bfloat16).items() if mask.any()}
    assert moved == {f"model.layers.{i}.mlp.up_proj.weight" for i in range(3)}
    assert culnig.load_model(out / "model", dtype="bfloat16").dtype == torch.bfloat16
