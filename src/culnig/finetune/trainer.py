"""transformers' Trainer with our loss, and our steps after every update."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from culnig import distributed, stopping
from culnig.errors import CulnigError, UsageError
from culnig.finetune.examples import answer_positions, collate
from culnig.finetune.kept_rows import Kept
from culnig.finetune.settings import TrainingConfig
from culnig.models.checkpoint_files import is_signed, sign, verify
from culnig.passes.cpu_kernels import fast_linear
from culnig.passes.forward import logits_only_at
from culnig.writing import check_roots


class AnswerTrainer(Trainer):
    """A Trainer whose loss covers only answers; the head computes no other logits."""

    def __init__(self, model: Any, args: TrainingArguments, *, pad_id: int, **options: Any) -> None:
        super().__init__(model=model, args=args, data_collator=lambda rows: collate(rows, pad_id), **options)
        # Our loss divides by the answer tokens of all accumulated batches, and this makes the Trainer count them.
        self.model_accepts_loss_kwargs = True
        self._head = model.get_output_embeddings()
        self.remove_callback(PrinterCallback)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model, as every checkpoint begins; a run folder that was deleted is not made again for it."""
        check_roots(Path(output_dir or self.args.output_dir or "."))
        super().save_model(output_dir, _internal_call)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean cross-entropy of the answers' tokens in float32; training takes all accumulated batches."""
        rows, columns, tokens = answer_positions(inputs["labels"])
        autocast = self.args.bf16 or self.args.fp16
        with logits_only_at(self._head, rows, columns), nullcontext() if autocast else fast_linear(rows.device):
            logits = model(input_ids=inputs["input_ids"], use_cache=False).logits.float()
        loss = torch.nn.functional.cross_entropy(logits, tokens.to(logits.device), reduction="sum")
        if num_items_in_batch is None:
            loss = loss / len(tokens)
        else:
            # The gradients of several processes are averaged, but tokens are counted over all of them.
            processes = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
            loss = loss * processes / num_items_in_batch
        return (loss, {"logits": logits}) if return_outputs else loss


def arguments(
    settings: TrainingConfig,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    autocast: str,
    validated: bool,
    name: str,
) -> TrainingArguments:
    """Return our settings as transformers' TrainingArguments, for one process on one device.

    Raises:
        UsageError: transformers does not accept a field or a value.
    """
    on_cpu = device.type == "cpu"
    precision = autocast if settings.mixed_precision == "no" else settings.mixed_precision
    ours: dict[str, Any] = {
        "output_dir": str(folder),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": settings.warmup_steps,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": settings.batch,
        "per_device_eval_batch_size": settings.batch,
        "gradient_accumulation_steps": settings.accumulation,
        "optim": settings.optimizer,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.clip,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "seed": seed,
        "data_seed": seed,
        "report_to": settings.report_to or "none",
        "run_name": name,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "epoch" if validated else "no",
        "prediction_loss_only": True,
        "save_strategy": "no",  # `Clock` requests checkpoints
        "save_total_limit": 1,
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }
    if clash := sorted(set(ours) & set(settings.arguments)):
        raise UsageError(f"training.arguments: {clash[0]} is set by culnig itself; see the fields of `training`")
    try:
        return _on(device, TrainingArguments(**ours, **settings.arguments))
    except (TypeError, ValueError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"training: transformers does not take these settings: {reason[:240]}") from error


def _on(device: torch.device, made: TrainingArguments) -> TrainingArguments:
    """Keep a single process on its model's device.

    Otherwise the Trainer would move the model to the first GPU and split each batch over all GPUs (DataParallel).
    """
    made.device  # noqa: B018  # the first access chooses it
    if distributed.size() == 1 and device.type == "cuda":
        torch.cuda.set_device(device)
        made.__dict__["_setup_devices"] = device
        made._n_gpu = 1
    return made


class RowKeeper(TrainerCallback):
    """Writes kept rows back after every update."""

    def __init__(self, kept: Sequence[Kept]) -> None:
        self.kept = kept

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restore the kept rows between the update and everything that reads the weights."""
        for kept in self.kept:
            kept.restore()


class Clock(TrainerCallback):
    """Requests a checkpoint at regular intervals, advances the progress bar, and stops if the loss is no number."""

    def __init__(self, minutes: float, progress: Callable[[int], None], at_end: bool = False) -> None:
        self._seconds = minutes * 60
        self._at_end = at_end
        self._last = time.monotonic()
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the updates of an earlier, interrupted run."""
        self._progress(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Advance the progress bar after every update, and request a checkpoint if one is due.

        A checkpoint is due after some time, when a signal has asked for a stop, and at the end if that is asked for.
        """
        with stopping.deferred():
            self._progress(1)
        late = time.monotonic() - self._last >= self._seconds or stopping.requested()
        due = late if state.global_step < state.max_steps else self._at_end
        if distributed.decided_by_main(due):  # all processes take part in saving, but their clocks differ
            self._last = time.monotonic()
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Sign the checkpoint once it is written; stop there if a signal has asked for it."""
        if distributed.is_main():
            sign(Path(args.output_dir) / f"checkpoint-{state.global_step}", {"updates": state.global_step})
        stopping.here()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Raise an error if training has broken down, because nothing after it would be usable."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise CulnigError(
                f"the loss is {loss} after update {state.global_step}; try a lower learning rate or another dtype"
            )


def last_checkpoint(folder: Path, before: int) -> Path | None:
    """Return the newest complete and undamaged checkpoint, or None; `Clock` signs it last.

    Args:
        folder: where the checkpoints are.
        before: number of an update; from its checkpoint and later ones the Trainer would train one update too many.
    """
    found = []
    for path in folder.glob("checkpoint-*"):
        try:
            if is_signed(path):
                verify(path)
                if (number := int(path.name.rpartition("-")[2])) < before:
                    found.append((number, path))
        except (OSError, ValueError, CulnigError):
            continue
    return max(found)[1] if found else None


def only(kept: Path | None, folder: Path) -> None:
    """Delete all checkpoints but one.

    The Trainer keeps the one of the highest number, and deletes its own for one that was never finished.
    """
    for path in folder.glob("checkpoint-*"):
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)
