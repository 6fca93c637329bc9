"""`plan`: what a run will take, in items, operations, memory, disk and time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from culnig.attribution.method import parse_methods
from culnig.models.skeleton import Skeleton, skeleton
from culnig.progress import Reporter, Silent
from culnig.prompts import PromptPolicy
from culnig.run._plan_memory import Memory, Shape, available_bytes, memory_of, program_bytes, shape_of
from culnig.run._plan_tasks import Task, tasks_of
from culnig.run._plan_timing import Measured, timed_sample
from culnig.run.checks import check_config
from culnig.run.config import RunConfig
from culnig.studies import STUDIES, Measuring, TuningStudy

UTILISATION = 0.45
"""Share of a device's rated matrix rate that is assumed where nothing is measured."""
FIXED_SECONDS = 15.0
"""Loading, selection, statistics and the report of an embedded run."""
LOAD_RATE = 1e9
"""Bytes of weights a second from a disk."""


@dataclass(frozen=True)
class Step:
    """One line of a plan."""

    name: str
    kind: str
    items: int
    conditions: int
    prompts: int
    tokens: int
    padded_tokens: int
    flops: int
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        model, device, dtype, parameters, neurons: what runs, and where.
        token_budget: padded tokens a batch.
        steps: one for each pass over a set of items.
        flops: floating-point operations of all steps.
        memory: bytes by purpose, at the worst moment.
        available: bytes the device has; None if not known.
        disk: bytes the run folder will take.
        seconds: the whole run; None without a timed sample or a rate.
        advice: what will not fit, and what would.
    """

    model: str
    device: str
    dtype: str
    parameters: int
    neurons: int
    token_budget: int
    steps: list[Step]
    flops: int
    memory: Memory
    available: int | None
    disk: int
    seconds: float | None
    advice: list[str]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"peak": self.memory.peak}


def plan(
    config: RunConfig,
    *,
    tflops: float | None = None,
    memory_gb: float | None = None,
    reporter: Reporter | None = None,
) -> Plan:
    """What `run` will take with this config.  The model's weights are not loaded; a hub model's are not downloaded.

    Time and the memory of activations come from a sample that is timed on the device: a random model of the same shape with
    few layers runs a sample of the items at two depths.

    Args:
        config: the run's config.
        tflops: rated matrix rate of another machine, in TFLOP/s: time is taken from it, and nothing is timed.
        memory_gb: memory of that machine, in GB; None is this one's.
        reporter: shows progress; None is silent.

    Raises:
        CulnigError: what `run` would say of the config's model, data or prompts.
    """
    reporter = reporter or Silent()
    check_config(config)
    with reporter.step("read the model's config and tokenizer"):
        shape = skeleton(config.model, reporter.say)
    program = program_bytes(shape.device)  # before the sample adds to it
    policy = _policy(config, shape)
    budget = config.compute.token_budget or shape.token_budget
    with reporter.step("lay out the batches"):
        tasks = tasks_of(config, shape.lm, policy, budget)
    measured: list[Measured | None] = [None] * len(tasks)
    if tflops is None:
        with reporter.step("time a sample"):
            measured = list(timed_sample(shape, tasks, policy, config.scoring, budget))
    costs = shape_of(shape.lm)
    steps = [_step(task, costs, m, tflops) for task, m in zip(tasks, measured, strict=True)]
    kept = max((m.activations for m in measured if m), default=None)
    memory = memory_of(shape, tasks, program, kept)
    have = int(memory_gb * 1e9) if memory_gb is not None else available_bytes(shape.device)
    timed = [step.seconds for step in steps if step.seconds is not None]
    seconds = sum(timed) + FIXED_SECONDS + shape.weight_bytes / LOAD_RATE if len(timed) == len(steps) else None
    return Plan(
        model=config.model.name,
        device=str(shape.device),
        dtype=config.model.quantize or str(shape.dtype).removeprefix("torch."),
        parameters=shape.parameters,
        neurons=shape.lm.num_neurons,
        token_budget=budget,
        steps=steps,
        flops=sum(step.flops for step in steps),
        memory=memory,
        available=have,
        disk=_disk(shape, tasks),
        seconds=seconds,
        advice=[*_advice(shape, memory, have, budget), *_not_counted(config)],
    )


def _policy(config: RunConfig, shape: Skeleton) -> PromptPolicy:
    return config.prompts.policy(shape.lm.formulation)


def _step(task: Task, costs: Shape, measured: Measured | None, tflops: float | None) -> Step:
    each = costs.scoring if task.kind == "score" else costs.forward
    flops = task.times * sum(each(row) for batch in task.batches for row in batch)
    seconds = measured.seconds if measured else None
    if tflops is not None:
        seconds = flops * task.padded / task.tokens / (tflops * 1e12 * UTILISATION)
    return Step(
        name=task.name,
        kind=task.kind,
        items=len(task.inputs),
        conditions=task.times,
        prompts=task.prompts,
        tokens=task.tokens,
        padded_tokens=task.padded,
        flops=flops,
        seconds=seconds,
    )


def _disk(shape: Skeleton, tasks: list[Task]) -> int:
    """Score files at 4 bytes a neuron and sum, about 150 bytes an evaluated item, and a report."""
    scores = sum(4 * shape.lm.num_neurons * task.sums for task in tasks)
    rows = sum(task.times * len(task.inputs) for task in tasks if task.kind in ("evaluate", "write"))
    return scores + 150 * rows + 6_000_000


def _not_counted(config: RunConfig) -> list[str]:
    """What the times leave out."""
    measuring = [name for name in config.studies if isinstance(STUDIES.get(name), Measuring)]
    lines = [f"not counted: what the study '{name}' measures besides evaluations" for name in measuring]
    tuning = [name for name in config.studies if isinstance(STUDIES.get(name), TuningStudy)]
    lines += [
        f"not counted: the fine-tunings of the study '{name}', and the evaluations of what they give" for name in tuning
    ]
    if len(parse_methods(config.scoring)) > 1:
        lines.append(
            "not counted: passes of scoring methods beyond one forward and one backward (docs/method.md says how many)"
        )
    return lines


def _advice(shape: Skeleton, memory: Memory, have: int | None, budget: int) -> list[str]:
    """Nothing if it fits; else what would, in the order to try."""
    if have is None or memory.peak <= have:
        return []
    lines = [f"will not fit: needs {memory.peak / 1e9:.1f} GB, there are {have / 1e9:.1f} GB"]
    rest = memory.peak - memory.batch
    if rest < have:
        fitting = int(budget * (have - rest) / memory.batch * 0.9)
        lines.append(f"smaller batches would: --set compute.token_budget={max(16, fitting)}")
        return lines
    halved = memory.peak - shape.weight_bytes * (1 - 2 / shape.dtype.itemsize)
    if shape.dtype == torch.float32 and halved < have and not shape.quantize:
        lines.append("half precision would: --set model.dtype=bfloat16")
    elif not shape.quantize and rest - shape.weight_bytes * 0.7 < have:
        lines.append("4-bit weights would: --set model.quantize=4bit (bitsandbytes)")
    lines.append(
        "several devices together may: --set model.device_map=auto, or =fsdp under torchrun, where all compute at once"
    )
    return lines
