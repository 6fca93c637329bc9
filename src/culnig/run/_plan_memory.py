"""Memory of a run at its worst moment, by purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from culnig.machine import peak_memory, total_memory
from culnig.models import LanguageModel
from culnig.models.language_model import kept_per_token
from culnig.models.sites import experts_met
from culnig.models.skeleton import Skeleton
from culnig.neurons import QUERY, widths_of
from culnig.passes.forward import Packed
from culnig.passes.memory import padded_tokens
from culnig.run._plan_tasks import Task


@dataclass(frozen=True)
class Memory:
    """Bytes by purpose.

    Attributes:
        program: Python and its libraries; on a GPU what CUDA itself takes.
        weights: the model.
        sums: sums of scores by group, and the copies that are made to save them.
        activations: kept from the forward to the backward pass in the largest batch.
        workspace: logits and intermediate results of the largest batch.
    """

    program: int
    weights: int
    sums: int
    activations: int
    workspace: int

    @property
    def batch(self) -> int:
        """What grows with the token budget."""
        return self.activations + self.workspace

    @property
    def peak(self) -> int:
        return self.program + self.weights + self.sums + self.batch


def memory_of(shape: Skeleton, tasks: Sequence[Task], program: int, activations: int | None) -> Memory:
    """The memory of a run.

    Args:
        shape: the model.
        tasks: what passes through it.
        program: see `program_bytes`.
        activations: measured bytes of the largest scored batch; None estimates them from the shapes: every
            projection's output, and as much again.
    """
    largest = max(padded_tokens(batch) for task in tasks for batch in task.batches)
    if activations is None:
        activations = kept_per_token(shape.lm) * shape.dtype.itemsize * largest
    return Memory(
        program=program,
        weights=shape.weight_bytes,
        sums=max(_sums(shape, task) for task in tasks),
        activations=activations,
        workspace=max(_workspace(shape, task) for task in tasks),
    )


def _sums(shape: Skeleton, task: Task) -> int:
    """float64 sums by group and block, their float32 copies by module and the bytes of the file; and a batch's own scores."""
    if task.kind != "score":
        return 0
    neurons = shape.lm.num_neurons
    return neurons * (task.sums * (8 + 4 + 4) + max(map(len, task.batches)) * 8)


def _workspace(shape: Skeleton, task: Task) -> int:
    """Logits in float32 where they are needed, with their gradients, and the widest layer's intermediate results."""
    needed = max(sum(row.needed for row in batch) for batch in task.batches)
    vocabulary = shape.lm.model.get_output_embeddings().weight.shape[0]
    logits = needed * vocabulary * 4 * (4 if task.kind == "score" else 2)
    widest = max(width for _, width in shape.lm.shapes.values())
    return logits + 6 * widest * shape.dtype.itemsize * max(map(padded_tokens, task.batches))


def program_bytes(device: torch.device) -> int:
    """Memory of the process without a model: this one's own."""
    if device.type == "cuda":
        return 600_000_000
    return peak_memory()


def available_bytes(device: torch.device) -> int | None:
    """Memory of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return total_memory() if device.type == "cpu" else None


@dataclass(frozen=True)
class Shape:
    """What the operations of a forward pass depend on.

    Attributes:
        layer_weights: matrix weights that a token meets in all layers together (of experts only those it is routed to).
        head_weights: weights of the output embedding.
        attention: heads times head size, summed over the layers.
    """

    layer_weights: int
    head_weights: int
    attention: int

    def forward(self, row: Packed) -> int:
        """FLOPs of one row: 2 a weight and token, attention over the tokens that each may see, and the head where needed.

        The head is needed behind the prompt and within the answers; at every token of a row without answers, which is read.
        """
        return 2 * (self.layer_weights * row.length + 2 * self.attention * row.pairs + self.head_weights * row.needed)

    def scoring(self, row: Packed) -> int:
        """Forward, and as much again for the gradients of the inputs; weights get none."""
        return 2 * self.forward(row)


def shape_of(lm: LanguageModel) -> Shape:
    """The shape of a model; its weights may be on the meta device."""
    trunk = lm.model.get_submodule(lm.family.layers.rpartition(".")[0])
    inside = {id(module) for layer in lm.layers for module in layer.modules()}
    around = [module for module in trunk.modules() if id(module) not in inside and isinstance(module, nn.Linear)]
    weights = sum(module.weight.numel() for module in around)
    weights += sum(_met(module, lm.text_config) for layer in lm.layers for module in layer.modules())
    return Shape(weights, lm.model.get_output_embeddings().weight.numel(), _attention(lm))


def _met(module: nn.Module, config: Any) -> int:
    """The matrix weights of a module itself that a token meets."""
    routed = experts_met(module, config)
    total = 0
    for parameter in module.parameters(recurse=False):
        if parameter.ndim == 3 and routed:
            total += parameter.numel() * routed // len(parameter)
        elif parameter.ndim in (2, 3):  # of three dimensions: convolutions, and matrices by block
            total += parameter.numel()
    return total


def _attention(lm: LanguageModel) -> int:
    """Heads times head size, summed over the layers that have attention; the mean of queries' and values' where they differ."""
    text = lm.text_config
    queries = sum(widths_of(lm.shapes[QUERY]))
    if not hasattr(text, "kv_lora_rank") or not hasattr(text, "qk_rope_head_dim"):
        return queries
    of_query = text.qk_nope_head_dim + text.qk_rope_head_dim
    return queries * (of_query + text.v_head_dim) // (2 * of_query)
