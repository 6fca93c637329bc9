"""A short measurement on the device: seconds a token and bytes a batch, at two depths of the model's own shape.

A random model with few layers computes what the real one does, so the cost of the real depth is a straight line through
two depths.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from culnig.attribution import score
from culnig.evaluation import answer, evaluate, perplexity
from culnig.evaluation.short_answers import BUDGET as WRITING
from culnig.models import LanguageModel
from culnig.models.skeleton import Skeleton
from culnig.passes.calibration import offsets_of
from culnig.passes.memory import padded_tokens
from culnig.prompts import PromptPolicy, encode, render
from culnig.prompts.calibration import Calibration
from culnig.run._plan_tasks import Kind, Task, batches_of

SMALL_LAYER = 50_000_000
"""Parameters; layers below it are measured at depths 2 and 4, where they no longer fit in a cache, larger ones at 1 and 2."""
SAMPLE_BATCHES = 3


@dataclass(frozen=True)
class Measured:
    """What a task takes.

    Attributes:
        seconds: for all of its batches, each condition counted.
        activations: bytes kept for the backward pass in its largest batch; 0 where there is none.
    """

    seconds: float
    activations: int


def timed_sample(
    skeleton: Skeleton, tasks: Sequence[Task], policy: PromptPolicy, method: str, token_budget: int
) -> list[Measured]:
    """Run a sample of each task at two depths and extrapolate to the model's own."""
    layer = sum(p.numel() for p in skeleton.lm.layers[0].parameters())
    depths = (2, 4) if layer < SMALL_LAYER else (1, 2)
    depth = skeleton.lm.num_layers
    if depth <= depths[1]:
        depths = (max(1, depth // 2), depth)
    at_depth = []
    for layers in depths:
        lm = skeleton.truncated(layers)
        passes = _Passes(lm, policy, method, token_budget)
        at_depth.append([passes.measure(task) for task in tasks])
        del lm, passes
    low, high = at_depth
    steps = (depth - depths[0]) / max(1, depths[1] - depths[0])
    return [
        Measured(
            a.seconds + max(0.0, b.seconds - a.seconds) * steps,
            int(a.activations + (b.activations - a.activations) * steps),
        )
        for a, b in zip(low, high, strict=True)
    ]


class _Passes:
    """A truncated model, ready to be timed."""

    def __init__(self, lm: LanguageModel, policy: PromptPolicy, method: str, token_budget: int) -> None:
        self.lm = lm
        self.policy = policy
        self.plain = policy.model_copy(update={"calibration": "none"})  # offsets are a task of their own
        self.method = method
        self.token_budget = token_budget
        self._warm: set[str] = set()

    def measure(self, task: Task) -> Measured:
        """Seconds of the whole task at this depth, from a sample's tokens; and bytes of its largest batch."""
        wanted = SAMPLE_BATCHES * self.token_budget * task.times / task.padded
        step = max(1, int(1 / wanted))
        sample = task.inputs[::step]
        if task.kind not in self._warm:
            self._run(task.kind, sample[:2], task.kinds)
            self._warm.add(task.kind)
        seconds = min(self._timed(task.kind, sample, task.kinds) for _ in range(2))
        padded = sum(
            map(padded_tokens, batches_of(task.kind, sample, self.lm, self.policy, self.token_budget, task.kinds))
        )
        kept = 0
        if task.kind == "score":
            with _bytes_kept() as total:
                self._run("score", task.largest, ())
            kept = total()
        return Measured(seconds * task.padded / padded, kept)

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
