"""The exact effect of every neuron on every prompt, block by block of neurons; what is done is kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from culnig import distributed
from culnig.attribution import oracle
from culnig.attribution.columns import question_id
from culnig.data import Item, items_hash
from culnig.errors import DataError
from culnig.files import sha256_json
from culnig.models import LanguageModel
from culnig.neurons import Neuron
from culnig.progress import Reporter
from culnig.prompts import PromptPolicy
from culnig.sealed import save_tensors, tensor_meta

BLOCK = 32
"""Neurons of a block.  Each block costs one untouched pass, so smaller ones keep progress at a higher price."""
PROGRESS = ".exact"
"""Folder of finished blocks, inside that of the measurement."""
Block = tuple[list[dict[str, Any]], np.ndarray]
"""A record a prompt (part, id, question, country, probability), and what zeroing each neuron takes from P(gold), [P, neurons]."""
Parts = Mapping[str, Sequence[Item]]


def forward_passes(neurons: Sequence[Neuron], layers: int, prompts: int) -> int:
    """Return the cost of suppressing neurons one by one, in forward passes of one prompt.

    A pass starts at the neuron's layer, and every block of neurons needs an untouched pass.
    """
    share = sum(1 - neuron.layer / layers for neuron in neurons)
    return round(prompts * (share + -(-len(neurons) // BLOCK)))


def exact_rows(
    lm: LanguageModel,
    parts: Parts,
    neurons: Sequence[Neuron],
    *,
    policy: PromptPolicy,
    under: Any = None,
    token_budget: int | None = None,
    keep: Path | None = None,
    show: Reporter,
) -> Block:
    """Suppress neurons one by one on the prompts of all parts; return the rows of all of them.

    Args:
        lm: the model, in the state to measure in.
        parts: name of each part -> its items.
        neurons: the neurons.
        policy, token_budget: as for `score`.
        under: what the state is, for the record of what is kept.
        keep: folder in which finished blocks are kept, and taken up again; None keeps nothing.
        show: shows progress.
    """
    order = sorted(range(len(neurons)), key=lambda i: (neurons[i].layer, neurons[i].module, neurons[i].index))
    blocks = [order[start : start + BLOCK] for start in range(0, len(order), BLOCK)]
    made_of = {
        "model": lm.fingerprint,
        "items": {part: items_hash(items) for part, items in parts.items()},
        "prompts": policy.resolved(lm.tokenizer),
        "under": under,
    }
    files = [_file(keep, made_of, [neurons[i] for i in block]) for block in blocks]
    distributed.wait()
    known = [_read(path) for path in files]
    cost = forward_passes(neurons, lm.num_layers, sum(map(len, parts.values())))
    title = f"suppress {len(neurons):,} neurons one by one, as dear as {cost:,} forward passes of a prompt"
    change: np.ndarray | None = None
    prompts: list[dict[str, Any]] = []
    with show.step(title, len(neurons), "neurons") as progress:
        for block, path, found in zip(blocks, files, known, strict=True):
            if found is None:
                found = _measure(lm, parts, [neurons[i] for i in block], policy, token_budget)
                _keep(path, found)
            prompts, values = found
            change = np.empty((len(prompts), len(neurons)), dtype=np.float32) if change is None else change
            change[:, block] = values
            progress(len(block))
    assert change is not None
    return prompts, change


def forget(keep: Path) -> None:
    """Delete the blocks that were kept: the result has been saved."""
    shutil.rmtree(keep, ignore_errors=True)


def _measure(
    lm: LanguageModel, parts: Parts, neurons: Sequence[Neuron], policy: PromptPolicy, token_budget: int | None
) -> Block:
    prompts: list[dict[str, Any]] = []
    changes = []
    for part, items in parts.items():
        found = oracle(lm, items, neurons, policy=policy, control=False, token_budget=token_budget)
        questions = {item.id: question_id(item) for item in items}
        rows = zip(found.ids, found.groups, found.probability, strict=True)
        prompts += [
            {"part": part, "id": i, "question": questions[i], "country": c, "probability": float(p)} for i, c, p in rows
        ]
        changes.append(found.change)
    return prompts, np.concatenate(changes).astype(np.float32)


def _file(keep: Path | None, made_of: Mapping[str, Any], neurons: Sequence[Neuron]) -> Path | None:
    """The file of a block; what it is made of names it, so a block of another job is never taken."""
    if keep is None:
        return None
    return keep / f"{sha256_json([made_of, [list(neuron) for neuron in neurons]])[:32]}.safetensors"


def _read(path: Path | None) -> Block | None:
    """A block that was kept; None if there is none, or it is damaged."""
    from safetensors import SafetensorError, safe_open

    if path is None or not path.is_file():
        return None
    try:
        meta = tensor_meta(path, "a block of exact effects")
        with safe_open(str(path), framework="numpy") as archive:
            return (meta or {})["prompts"], archive.get_tensor("change")
    except (DataError, SafetensorError, OSError, KeyError, ValueError):
        return None


def _keep(path: Path | None, block: Block) -> None:
    if path is not None and distributed.is_main():
        save_tensors(path, {"change": block[1]}, {"prompts": block[0]})
