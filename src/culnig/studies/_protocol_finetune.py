"""The published fine-tuning, setting by setting: for the table of deviations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from culnig.data import DataConfig, parse_name
from culnig.studies._protocol_tasks import same_task
from culnig.studies.finetune import FinetuneSettings

if TYPE_CHECKING:
    from culnig.studies._settings import RunSettings

TASKS = {"qnli_train": 10_000, "mrpc_train": None, "blend:neur": None}
"""Task -> rows that are drawn of it; None is all."""
TRAINING = {
    "schedule": "constant",
    "warmup_steps": 0,
    "epochs": 1.0,
    "max_steps": None,
    "batch": 4,
    "accumulation": 4,
    "optimizer": "adamw_torch",
    "weight_decay": 0.0,
    "clip": 1.0,
}


def _tested(task: str, test: DataConfig | None) -> str:
    if test is None:
        return "left out"
    return "the task's own test set" if same_task(task, test.items) else test.items


def finetune_rows(config: RunSettings) -> Iterator[tuple[str, Any, Any, str]]:
    """Yield (setting, published, here, why) of the fine-tuning study; a deviation where the two values differ."""
    s = config.section(FinetuneSettings)
    name, split, _ = parse_name(s.task.items)
    task = f"{name}:{split}" if split else name
    published = task if task in TASKS else ", ".join(TASKS)
    yield "finetune.task", published, task, "the paper tunes on QNLI, MRPC and BLEnD"
    if task in TASKS:
        rows = "QNLI is cut to 10,000 drawn rows"
        yield "finetune.task, rows", TASKS[task] or "all", s.task.limit_per_country or "all", rows
    test = config.test_of("task")
    where = "finetune.task, tested on"
    yield (
        where,
        "the task's own test set",
        _tested(s.task.items, test),
        "gain on another task is compared",
    )
    order = "the published lists rank blocks: up_proj and down_proj have the gate's count, o_proj that of q, k and v"
    yield "finetune.rank_by", "block", s.rank_by, order
    for arm in ("top", "bottom"):
        yield f"finetune.arms: {arm}", "tuned", "tuned" if arm in s.arms else "left out", "the claim compares the two"
    yield "finetune.share", 0.1, s.share, "the published lists hold about a tenth of the parameters, in whole blocks"
    rates = s.learning_rates or [s.training.learning_rate]
    yield (
        "finetune.learning_rate",
        "among them",
        "among them" if 3e-5 in rates else str(rates),
        "the paper tunes at 3e-5",
    )
    for setting, value in TRAINING.items():
        reason = "other updates"
        if setting in ("batch", "accumulation"):
            here = s.training.batch * s.training.accumulation
            reason = f"{here} prompts an update, against 16" if here != 16 else "16 prompts an update all the same"
        yield f"finetune.training.{setting}", value, getattr(s.training, setting), reason
    wordings = s.wordings or config.prompts.wordings
    yield "finetune: wordings", 1, wordings, "the published code trains on the first wording alone"
    yield (
        "finetune: weights that train",
        "bfloat16",
        "float32, rounded at the end",
        "an update at 3e-5 is too small for the last place of bfloat16",
    )
