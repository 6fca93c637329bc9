"""A short measurement on the device: seconds a token and bytes a batch, at two depths of the model's own shape.

A random model of the first layers computes what the real one does, so the cost of the real depth is a straight line
through two depths: in the weights that a token meets, where layers differ, and so in the layers, where they are alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from culnig.attribution import score
from culnig.errors import ModelError
from culnig.evaluation import answer, evaluate, perplexity
from culnig.evaluation.short_answers import BUDGET as WRITING
from culnig.models import LanguageModel
from culnig.models.language_model import kept_per_token
from culnig.models.skeleton import Skeleton, layer_kinds
from culnig.passes.calibration import offsets_of
from culnig.passes.memory import padded_tokens
from culnig.prompts import PromptPolicy, encode, render
from culnig.prompts.calibration import Calibration
from culnig.run._plan_memory import shape_of
from culnig.run._plan_tasks import Kind, Task, batches_of

SMALL_LAYER = 50_000_000
"""Parameters; layers below it are measured at depths 2 and 4, where they no longer fit in a cache, larger ones at 1 and 2."""
LARGEST = 1_500_000_000
"""Parameters of a measured model's layers at most, where layers differ; kinds beyond count by their weights."""
SAMPLE_BATCHES = 3


@dataclass(frozen=True)
class Measured:
    """What a task takes.

    Attributes:
        seconds: for all of its batches, each condition counted.
        activations: bytes kept for the backward pass in the largest scored batch of all tasks; 0 for other tasks.
    """

    seconds: float
    activations: int


def timed_sample(
    skeleton: Skeleton, tasks: Sequence[Task], policy: PromptPolicy, method: str, token_budget: int
) -> list[Measured]:
    """Run a sample of each kind of task at two depths and extrapolate to the model's own."""
    at_depth, sizes, depth = [], [], 0
    for wanted in _depths(skeleton):
        lm = _first_layers(skeleton, max(wanted, depth + 1))
        depth = lm.num_layers
        sizes.append((shape_of(lm).layer_weights, kept_per_token(lm)))
        at_depth.append(_Passes(lm, policy, method, token_budget).measure(tasks))
        del lm
    low, high = at_depth
    whole = (shape_of(skeleton.lm).layer_weights, kept_per_token(skeleton.lm))
    work, kept = (_steps(sizes[0][i], sizes[1][i], whole[i]) for i in (0, 1))
    return [
        Measured(
            a.seconds + max(0.0, b.seconds - a.seconds) * work,
            int(a.activations + (b.activations - a.activations) * kept),
        )
        for a, b in zip(low, high, strict=True)
    ]


def _depths(skeleton: Skeleton) -> tuple[int, int]:
    """Return the two depths to measure: the deeper one has every kind of layer, unless that is too much of the model."""
    layer = max(sum(p.numel() for p in each.parameters()) for each in skeleton.lm.layers)
    low, high = (2, 4) if layer < SMALL_LAYER else (1, 2)
    kinds, depth = layer_kinds(skeleton.lm), skeleton.lm.num_layers
    whole = next(n for n in range(1, depth + 1) if set(kinds[:n]) == set(kinds))
    reach = next((n for n in range(depth, 0, -1) if sum(_size(k) for k in kinds[:n]) <= LARGEST), 1)
    high = max(high, min(whole + 1, reach))
    low = max(low, high // 2) if high > 4 else low
    return (low, high) if depth > high else (max(1, depth // 2), depth)


def _first_layers(skeleton: Skeleton, wanted: int) -> LanguageModel:
    """Return a random model of so many first layers, or of as few more as can be made: some must end with a kind of layer.

    Raises:
        ModelError: none can be made.
    """
    depth = skeleton.lm.num_layers
    for layers in range(min(wanted, depth), depth):
        try:
            return skeleton.truncated(layers)
        except ModelError:
            continue
    return skeleton.truncated(depth)


def _size(kind: tuple[tuple[str, tuple[int, ...]], ...]) -> int:
    """Return the weights of a kind of layer."""
    return sum(math.prod(shape) for _, shape in kind)


def _steps(low: int, high: int, whole: int) -> float:
    """Return how many steps from the shallow to the deep measurement lead to the whole model."""
    return (whole - low) / (high - low) if high > low else 0.0


class _Passes:
    """A truncated model, ready to be timed."""

    def __init__(self, lm: LanguageModel, policy: PromptPolicy, method: str, token_budget: int) -> None:
        self.lm = lm
        self.policy = policy
        self.plain = policy.model_copy(update={"calibration": "none"})  # offsets are a task of their own
        self.method = method
        self.token_budget = token_budget

    def measure(self, tasks: Sequence[Task]) -> list[Measured]:
        """Return seconds of each task at this depth, and bytes of the largest of all scored batches.

        Tasks of one kind share a sample, so that a config with many test sets is planned as fast as one with few.
        """
        alike: dict[tuple[Kind, tuple[Calibration, ...]], list[Task]] = {}
        for task in tasks:
            alike.setdefault((task.kind, task.kinds), []).append(task)
        rates = {key: self._seconds_a_token(*key, group) for key, group in alike.items()}
        scored = [task for task in tasks if task.kind == "score"]
        largest = max(scored, key=lambda task: padded_tokens(task.batches[0]), default=None)
        return [
            Measured(rates[task.kind, task.kinds] * task.padded, self._bytes_of(task) if task is largest else 0)
            for task in tasks
        ]

    def _seconds_a_token(self, kind: Kind, kinds: tuple[Calibration, ...], tasks: Sequence[Task]) -> float:
        """Return seconds a padded token, from a sample of the tasks' inputs."""
        inputs = [each for task in tasks for each in task.inputs]
        wanted = SAMPLE_BATCHES * self.token_budget
        sample = inputs[:: max(1, int(sum(task.padded / task.times for task in tasks) / wanted))]
        while (padded := self._padded(kind, sample, kinds)) > 2 * wanted and len(sample) > 2:
            sample = sample[
                ::2
            ]  # fewer items share prompts in a sample, so it can be larger than its share of the tasks
        self._run(kind, sample[:2], kinds)  # warms up
        return min(self._timed(kind, sample, kinds) for _ in range(2)) / max(1, padded)

    def _padded(self, kind: Kind, sample: Sequence[Any], kinds: Sequence[Calibration]) -> int:
        """Return the padded tokens of a sample."""
        return sum(map(padded_tokens, batches_of(kind, sample, self.lm, self.policy, self.token_budget, kinds)))

    def _bytes_of(self, task: Task) -> int:
        with _bytes_kept() as total:
            self._run("score", task.largest, ())
        return total()

    def _timed(self, kind: Kind, inputs: Sequence[Any], kinds: Sequence[Calibration]) -> float:
        begun = time.perf_counter()
        self._run(kind, inputs, kinds)
        if self.lm.device.type == "cuda":
            torch.cuda.synchronize(self.lm.device)
        return time.perf_counter() - begun

    def _run(self, kind: Kind, inputs: Sequence[Any], kinds: Sequence[Calibration]) -> None:
        if kind == "score":
            score(self.lm, inputs, policy=self.plain, method=self.method, token_budget=self.token_budget)
        elif kind == "evaluate":
            evaluate(self.lm, inputs, policy=self.plain, token_budget=self.token_budget)
        elif kind == "calibrate":
            self.lm.offsets.clear()
            encoded = encode(render(inputs, self.policy), self.lm.tokenizer, self.policy, self.lm.max_length)
            offsets_of(self.lm, encoded, self.policy, kinds=kinds, token_budget=self.token_budget)
        elif kind == "write":
            answer(self.lm, inputs, policy=self.policy.for_writing, token_budget=max(self.token_budget, WRITING))
        else:
            perplexity(self.lm, inputs, bos=self.policy.bos, token_budget=self.token_budget)


@contextmanager
def _bytes_kept() -> Iterator[Callable[[], int]]:
    """Within the block the bytes that autograd keeps for backward passes are counted, each storage once."""
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter) and not tensor.is_leaf:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: sum(sizes.values())
