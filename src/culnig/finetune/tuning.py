"""`tune`: make a tuned checkpoint, its loss curve and a record of the tuning from a config."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from culnig import distributed
from culnig.errors import CulnigError, DataError, UsageError
from culnig.files import (
    check_writable,
    read_json,
    save_table,
    sha256_json,
    write_json,
    write_text,
)
from culnig.finetune.examples import describe, examples
from culnig.finetune.updates import Update, merge, prepare
from culnig.models import LanguageModel, load_model
from culnig.models.checkpoint_files import sign
from culnig.models.loading import quiet
from culnig.parsing import NotParsed, parse_yaml
from culnig.progress import Reporter, Silent
from culnig.versions import versions
from culnig.writing import explained_writing, scratch_folder, staged_folder

if TYPE_CHECKING:
    from culnig.finetune.settings import FinetuneConfig

Rows = list[dict[str, list[int]]]
MODEL, CONFIG, MANIFEST, LOSS = "model", "config.yaml", "manifest.json", "loss"
CHECKPOINTS = "checkpoints"


@distributed.guard()
def tune(
    config: FinetuneConfig,
    out: Path | str | None = None,
    *,
    reporter: Reporter | None = None,
    after: Path | None = None,
    to_go_on: bool = False,
) -> Path:
    """Fine-tune a model; after an interruption, the same call continues from its last checkpoint.

    The folder gets `model/` (which plain transformers loads), `loss.parquet` and `loss.csv`, `config.yaml` (resolved)
    and `manifest.json` (the update, seeds, hashes, versions).

    Args:
        config: the settings; `load_finetune_config` reads them from YAML.
        out: the folder; None is runs/<name>.
        reporter: shows progress; None is silent.
        after: folder of a shorter fine-tuning with the same settings, made with `to_go_on`; its updates are not done again.
        to_go_on: keep the state after the last update (weights and optimizer), for a longer fine-tuning.

    Returns:
        The folder.

    Raises:
        UsageError: the folder belongs to another fine-tuning, or nothing would be trained.
        CulnigError: a step failed, or the loss is no number.
    """
    reporter = reporter or Silent()
    folder = Path(out or Path("runs") / config.name)
    if distributed.is_main():
        _check_folder(folder, config)
    distributed.wait()
    if (folder / MANIFEST).is_file():
        reporter.say(f"{folder} is finished already")
        return folder
    begun = time.monotonic()
    with reporter.step("load the model"):
        lm = _load(config, reporter)
    base_hash = lm.fingerprint
    trainer, update, facts = _train(config, lm, folder, reporter, after, to_go_on)
    if distributed.is_main():
        loss_table(trainer.state.log_history, folder / LOSS)
    update.to_stored()
    with reporter.step("write the checkpoint"), quiet():
        _save(trainer, update, lm, folder, {"model": lm.name, "model_hash": base_hash, "update": update.facts})
    if distributed.is_main():
        record = _record(config, lm, base_hash, update, facts, trainer, time.monotonic() - begun)
        write_json(folder / MANIFEST, record)
        if not to_go_on:
            forget_state(folder)
    distributed.wait()
    return folder


def forget_state(folder: Path) -> None:
    """Delete the checkpoints of a fine-tuning."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _check_folder(folder: Path, config: FinetuneConfig) -> None:
    """Check that a folder is new, or belongs to the same fine-tuning."""
    mine = config.model_dump(mode="json")
    path = folder / CONFIG
    check_writable(path)
    if path.is_file():
        try:
            theirs = parse_yaml(path.read_text(encoding="utf-8"))
        except (NotParsed, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
        theirs = _completed(theirs if isinstance(theirs, dict) else {})
        if different := [key for key in mine if mine[key] != theirs.get(key)]:
            raise UsageError(
                f"{folder} holds a fine-tuning with other settings ({', '.join(different)}); choose another --out, or delete it"
            )
    elif others := [path for path in folder.iterdir() if not _begun(path)] if folder.exists() else []:
        raise UsageError(f"{folder} holds other files ({others[0].name}, ...); choose an empty --out")


def _begun(path: Path) -> bool:
    """Whether a fine-tuning that was killed before it wrote its config left this behind."""
    return path.name.startswith(".") or (path.name == CHECKPOINTS and path.is_dir() and not any(path.iterdir()))


def _completed(saved: dict[str, Any]) -> dict[str, Any]:
    """Return saved settings with those that earlier versions did not have at their defaults."""
    from pydantic import ValidationError

    from culnig.finetune.settings import FinetuneConfig

    try:
        return FinetuneConfig.model_validate(saved).model_dump(mode="json")
    except ValidationError:
        return saved


def _load(config: FinetuneConfig, reporter: Reporter) -> LanguageModel:
    m = config.model
    if m.device_map == "fsdp":
        raise UsageError("fine-tuning trains a whole model in each process; use model.device_map=auto, not fsdp")
    return load_model(**m.model_dump() | {"merge_adapter": True}, say=reporter.say)


def _train(
    config: FinetuneConfig,
    lm: LanguageModel,
    folder: Path,
    reporter: Reporter,
    after: Path | None = None,
    to_go_on: bool = False,
) -> tuple[Any, Update, dict[str, Any]]:
    """Train to the end, from the last checkpoint if there is one, or from that of a shorter fine-tuning."""
    from transformers import set_seed

    from culnig.finetune.trainer import Clock, last_checkpoint, only

    policy = config.prompts.policy(lm.formulation)
    seed = config.seed if config.data_seed is None else config.data_seed
    rows = examples(lm, config.task.load(seed, config.sources), policy)
    held_out = examples(lm, config.validate_on.load(seed, config.sources), policy) if config.validate_on else None
    set_seed(config.seed)  # adapters start from random numbers
    update = prepare(lm, config.update)
    with quiet():
        trainer = _trainer(config, lm, update, folder, rows, held_out)
        if distributed.is_main():  # only now, so that a wrong setting can be corrected in the same folder
            write_text(
                folder / CONFIG, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
            )
        distributed.wait()
        updates = _steps(len(rows), config)
        places = [place / CHECKPOINTS for place in (folder, after) if place]
        start = next(filter(None, (last_checkpoint(place, before=updates) for place in places)), None)
        distributed.wait()
        if distributed.is_main():
            only(start, folder / CHECKPOINTS)
        distributed.wait()
        if start:
            reporter.say(f"going on from update {start.name.rpartition('-')[2]}")
        with reporter.step(f"fine-tune {config.name}", updates, "updates") as progress:
            trainer.add_callback(Clock(config.training.checkpoint_minutes, progress, at_end=to_go_on))
            with explained_writing(folder / CHECKPOINTS):
                trainer.train(resume_from_checkpoint=str(start) if start else None)
    lm.weights_changed()
    if broken := [k for k in update.kept if not k.intact()]:
        raise CulnigError(f"{len(broken)} parameters lost rows that should have been kept; this is a fault of culnig")
    return trainer, update, {"data": describe(rows), "prompts": policy.resolved(lm.tokenizer)}


def _trainer(
    config: FinetuneConfig, lm: LanguageModel, update: Update, folder: Path, rows: Rows, held_out: Rows | None
) -> Any:
    """Return the Trainer, or raise a one-line error about a setting that it does not accept."""
    from culnig.finetune.trainer import AnswerTrainer, RowKeeper, arguments

    args = arguments(
        config.training,
        folder / CHECKPOINTS,
        seed=config.seed,
        device=lm.device,
        autocast=update.autocast,
        validated=held_out is not None,
        name=config.name,
    )
    try:
        trainer = AnswerTrainer(
            update.model,
            args,
            pad_id=lm.tokenizer.pad_token_id or 0,
            train_dataset=rows,
            eval_dataset=held_out,
            processing_class=lm.tokenizer,
            callbacks=[RowKeeper(update.kept)],
        )
    except (ValueError, RuntimeError, ImportError) as error:
        raise UsageError(f"training: {' '.join(str(error).split())[:240]}") from error
    # With these no process holds a whole weight, so rows cannot be written back.
    if update.kept and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        raise UsageError(
            "protect and only need whole weights on each device: not with FSDP or DeepSpeed; use plain DDP"
        )
    return trainer


def _steps(rows: int, config: FinetuneConfig) -> int:
    """Return the number of updates of the whole training, as the Trainer counts them."""
    t = config.training
    if t.max_steps:
        return t.max_steps
    batches = -(-rows // (t.batch * distributed.size()))
    return math.ceil(t.epochs * max(1, -(-batches // t.accumulation)))


def _save(trainer: Any, update: Update, lm: LanguageModel, folder: Path, origin: dict[str, Any]) -> None:
    """Write `model/`, with adapters merged and with the tokenizer; it is either complete or absent."""
    adapters = hasattr(update.model, "merge_and_unload")
    with (staged_folder if distributed.is_main() else scratch_folder)(folder / MODEL) as staged:
        if adapters:
            model = merge(update)
            if distributed.is_main():
                model.save_pretrained(staged)
        else:
            trainer.save_model(str(staged))  # gathers the shards of FSDP and DeepSpeed
            (staged / "training_args.bin").unlink(missing_ok=True)
        if distributed.is_main():
            lm.tokenizer.save_pretrained(staged)
            sign(staged, {**origin, "formulation": lm.formulation})
    distributed.wait()


def loss_table(history: list[dict[str, Any]], stem: Path) -> pd.DataFrame:
    """Return the Trainer's log as a table with one row for each update; save it as Parquet and CSV.

    Columns: step, epoch, loss (mean over the update's answer tokens), grad_norm (before clipping), learning_rate, and
    eval_loss at the ends of epochs if there is a validation set.
    """
    keep = ["step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss"]
    rows = [{key: row[key] for key in keep if key in row} for row in history if "loss" in row or "eval_loss" in row]
    table = pd.DataFrame(rows, columns=keep).groupby("step", as_index=False).first()
    save_table(stem, table)
    return table


def _record(
    config: FinetuneConfig,
    lm: LanguageModel,
    base_hash: str,
    update: Update,
    facts: dict[str, Any],
    trainer: Any,
    seconds: float,
) -> dict[str, Any]:
    return {
        "format": 1,
        "config_hash": sha256_json(config.model_dump(mode="json")),
        "base": {"model": lm.name, "model_hash": base_hash, "revision": lm.revision, "dtype": str(lm.dtype)},
        "update": update.facts,
        **facts,
        "seed": config.seed,
        "updates": trainer.state.global_step,
        "seconds": round(seconds, 1),
        "versions": versions(),
    }


def manifest(folder: Path | str) -> dict[str, Any]:
    """Return the record of a finished fine-tuning.

    Raises:
        UsageError: the folder has none.
    """
    return read_json(Path(folder) / MANIFEST, "the record of a fine-tuning")
