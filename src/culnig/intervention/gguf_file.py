"""Write a GGUF file with neurons suppressed, from the GGUF file of the model: for llama.cpp and what is built on it.

A suppressed neuron is a row of zeros, and in every kind of block of a GGUF file zero bytes are zeros.  So the rows' bytes
are set to zero, the rest of the file stays as it is, to the byte, and nothing is quantised again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from culnig.errors import ModelError, UsageError
from culnig.files import atomic_path
from culnig.intervention.operation import Operation
from culnig.models import LanguageModel
from culnig.models.fetching import load_gguf
from culnig.models.quiet import quiet
from culnig.neurons import GATE, KEY, QUERY, UP, VALUE, NeuronSet, Site

TENSORS = {GATE: "ffn_gate", UP: "ffn_up", QUERY: "attn_q", KEY: "attn_k", VALUE: "attn_v"}
"""Module -> its tensor's name in llama.cpp, after `blk.<layer>.`."""
PERMUTED = ("llama", "mistral")
"""Architectures whose query and key rows llama.cpp keeps in another order, for its rotary positions."""


def export_gguf(lm: LanguageModel, source: Path, neurons: NeuronSet, operation: Operation, out: Path | str) -> Path:
    """Copy the model's GGUF file with the neurons' rows set to zero; load the copy again and compare its weights.

    Args:
        lm: the model, loaded from `source` in float32.
        source: its GGUF file.
        neurons: the neurons.
        operation: suppression; other factors would need the blocks to be quantised again.
        out: the new file.

    Raises:
        UsageError: another operation, or a file that exists or cannot be written.
        ModelError: the file keeps a projection in another way, or the copy does not have the edited model's weights.
    """
    if operation.factor != 0:
        raise UsageError(
            f"--op {operation.name} cannot be written into quantised blocks; write suppress, or export a folder and convert it"
        )
    if Path(out).exists():
        raise UsageError(f"{out} exists already; choose a new file for --out")
    with atomic_path(out) as staged:
        shutil.copyfile(source, staged)
        _zero(staged, lm, neurons)
        with operation.on(lm, neurons, how="weights"):
            _check(lm, staged)
    return Path(out)


def _zero(path: Path, lm: LanguageModel, neurons: NeuronSet) -> None:
    """Set the neurons' rows to zero in a file."""
    from gguf import GGUFReader

    reader = GGUFReader(path, "r+")
    tensors = {str(tensor.name): tensor for tensor in reader.tensors}
    family = str(reader.fields["general.architecture"].contents())
    for site, indices in neurons.by_site().items():
        rows = _rows(site, indices, lm, family)
        weight = _tensor(tensors, site, lm)
        weight.data[rows] = 0
        bias = tensors.get(f"blk.{site.layer}.{TENSORS[site.module]}.bias")
        if bias is not None:
            bias.data[rows] = 0
    reader.data.flush()


def _tensor(tensors: Mapping[str, Any], site: Site, lm: LanguageModel) -> Any:
    """Return the tensor of a site, whose rows are its neurons."""
    name = f"blk.{site.layer}.{TENSORS.get(site.module, site.module)}.weight"
    found = tensors.get(name)
    if found is None or len(found.data) != lm.sites[site].width or lm.sites[site].stacked:
        what = "no" if found is None else "another form of"
        raise ModelError(f"the GGUF file has {what} {name} for {site.module}; export a folder and convert that")
    return found


def _rows(site: Site, indices: list[int], lm: LanguageModel, family: str) -> np.ndarray:
    """Return the places of neurons in the file's tensor."""
    index = np.asarray(indices)
    if family not in PERMUTED or site.module not in (QUERY, KEY):
        return index
    config = lm.text_config
    heads = config.num_attention_heads if site.module == QUERY else config.num_key_value_heads
    width = lm.sites[site].width // heads
    head, place = index // width, index % width
    return head * width + place % (width // 2) * 2 + place // (width // 2)


def _check(lm: LanguageModel, path: Path) -> None:
    """Load the file as transformers does, and compare every parameter with the edited model's.

    Raises:
        ModelError: they differ.
    """
    with quiet():
        loaded, _ = load_gguf(path)
    theirs = dict(loaded.named_parameters())
    for name, ours in lm.model.named_parameters():
        if name not in theirs or not torch.equal(theirs[name].float(), ours.detach().float().cpu()):
            raise ModelError(
                f"the GGUF file does not have the edited model's {name}; nothing was written; export a folder"
            )
