"""Steps of a run around fine-tuning: tune a model, evaluate it, see what moved; and scores taken from another run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culnig import distributed
from culnig.attribution import Scores
from culnig.errors import UsageError
from culnig.evaluation import evaluate
from culnig.evaluation.multiple_choice import count_rows
from culnig.files import atomic_path
from culnig.finetune import tune
from culnig.finetune.movement import row_changes, summary
from culnig.finetune.tuning import forget_state
from culnig.models import LanguageModel, load_model
from culnig.passes.calibration import load_offsets
from culnig.passes.memory import free_unused
from culnig.progress import Reporter
from culnig.prompts import PromptPolicy
from culnig.run.directory import RunDirectory
from culnig.run.provenance import Provenance, words
from culnig.sealed import save_rows
from culnig.studies import Tuning

MOVED = "moved.parquet"


def is_done(run: RunDirectory, tuning: Tuning) -> bool:
    """Whether a tuning's results are all there."""
    paths = [run.result_path(test, tuning.name) for test in run.config.test if test.role in tuning.roles]
    return all(path.is_file() for path in [*paths, run.tuned_path(tuning.name) / MOVED])


def tune_and_evaluate(
    run: RunDirectory,
    tuning: Tuning,
    policy: PromptPolicy,
    reporter: Reporter,
    made_of: Mapping[str, Any],
) -> None:
    """Tune, evaluate on the test sets of the tuning's roles, and compare rows with the base model's.

    `made_of` is recorded in the results: what they were made from, besides settings and test items.
    The caller should hold no model: the optimizer, the tuned model and the base model take their turns in memory.
    """
    folder = run.tuned_path(tuning.name)
    if (folder / "manifest.json").is_file() and not (folder / "model").is_dir() and distributed.is_main():
        shutil.rmtree(folder)  # tuned and removed, but its results have been deleted since
    distributed.wait()
    shorter = run.tuned_path(tuning.after) if tuning.after else None
    model = tune(tuning.config, folder, reporter=reporter, after=shorter, to_go_on=tuning.to_go_on) / "model"
    if shorter and distributed.is_main():
        forget_state(shorter)
    free_unused()
    m = run.config.model
    tuned = load_model(
        model, dtype=m.dtype, device=m.device, trust_remote_code=m.trust_remote_code, device_map=m.device_map
    )
    if run.offsets_path.is_file():
        load_offsets(tuned, run.offsets_path, of_base=True)
    work = [
        (test, test.load(run.config.seed, run.config.sources)) for test in run.config.test if test.role in tuning.roles
    ]
    total = sum(count_rows(items, policy) for _, items in work)
    with reporter.step(f"evaluate {tuning.name}", total, "prompts") as progress:
        for test, items in work:
            budget = run.config.compute.token_budget
            result = evaluate(tuned, items, policy=policy, token_budget=budget, progress=progress)
            result.meta |= {"tuning": tuning.config.model_dump(mode="json"), **made_of}
            if distributed.is_main():
                result.save(run.result_path(test, tuning.name))
    if distributed.is_main():
        # Rows are compared on the CPU, so the base model need not go to a GPU.
        base = load_model(**m.model_dump() | {"device": "cpu", "device_map": None})
        moved = summary(row_changes(base, tuned), run.neurons(tuning.watched), base.shapes)
        save_rows(folder / MOVED, moved)
        if not run.config.keep_tuned:
            shutil.rmtree(model)
    distributed.wait()


def take_scores(run: RunDirectory, part: str, model: LanguageModel, provenance: Provenance) -> None:
    """Copy one part's scores from the run that `compute.scores_from` names.

    Raises:
        UsageError: no such run, or its scores are of another model, other items, templates, prompts or method.
    """
    folder = Path(str(run.config.compute.scores_from))
    other = RunDirectory.open(folder)
    path = other.scores_path(part)
    scores = Scores.load(path)
    different = ["scoring"] if run.config.scoring != other.config.scoring else []
    mine, theirs = (each.config.prompts.scoring_policy(model.formulation) for each in (run, other))
    different += ["prompts"] if mine != theirs else []
    different += provenance.differing(path, scores.meta, provenance.of_part(part, run.scored[part]))
    provenance.tell_lacking()
    if different:
        raise UsageError(f"{folder} scored {part} with other {words(different)}; leave compute.scores_from out")
    if not model.is_model(scores.meta["model_hash"]):
        raise UsageError(f"{folder} scored another model ({scores.meta['model']}, hash {scores.meta['model_hash']})")
    with atomic_path(run.scores_path(part)) as temporary:
        shutil.copyfile(path, temporary)
