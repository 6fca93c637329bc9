"""Steps of a run around fine-tuning: tune a model, evaluate it, see what moved; and scores taken from another run."""

from __future__ import annotations

import shutil
from pathlib import Path

from culnig import distributed
from culnig.attribution import Scores
from culnig.errors import UsageError
from culnig.evaluation import evaluate
from culnig.evaluation.multiple_choice import count_rows
from culnig.files import atomic_path
from culnig.finetune import tune
from culnig.finetune.movement import row_changes, summary
from culnig.models import LanguageModel, load_model
from culnig.progress import Reporter
from culnig.prompts import PromptPolicy
from culnig.run.directory import RunDirectory
from culnig.studies import Tuning

MOVED = "moved.parquet"


def is_done(run: RunDirectory, tuning: Tuning) -> bool:
    """Whether a tuning's results are all there."""
    paths = [run.result_path(test, tuning.name) for test in run.config.test if test.role in tuning.roles]
    return all(path.is_file() for path in [*paths, run.tuned_path(tuning.name) / MOVED])


def tune_and_evaluate(
    run: RunDirectory, tuning: Tuning, base: LanguageModel, policy: PromptPolicy, reporter: Reporter
) -> None:
    """Tune, evaluate on the test sets of the tuning's roles, and compare rows with the base model's."""
    folder = run.tuned_path(tuning.name)
    if (folder / "manifest.json").is_file() and not (folder / "model").is_dir() and distributed.is_main():
        shutil.rmtree(folder)  # tuned and removed, but its results have been deleted since
    distributed.wait()
    model = tune(tuning.config, folder, reporter=reporter) / "model"
    m = run.config.model
    tuned = load_model(model, dtype=m.dtype, device=m.device, trust_remote_code=m.trust_remote_code)
    work = [
        (test, test.load(run.config.seed, run.config.sources)) for test in run.config.test if test.role in tuning.roles
    ]
    total = sum(count_rows(items, policy) for _, items in work)
    with reporter.step(f"evaluate {tuning.name}", total, "prompts") as progress:
        for test, items in work:
            budget = run.config.compute.token_budget
            result = evaluate(tuned, items, policy=policy, token_budget=budget, progress=progress)
            result.meta["tuning"] = tuning.config.model_dump(mode="json")
            if distributed.is_main():
                result.save(run.result_path(test, tuning.name))
    if distributed.is_main():
        moved = summary(row_changes(base, tuned), run.neurons(tuning.watched), base.shapes)
        with atomic_path(folder / MOVED) as temporary:
            moved.to_parquet(temporary, index=False)
        if not run.config.keep_tuned:
            shutil.rmtree(model)
    distributed.wait()


def take_scores(run: RunDirectory, part: str, model: LanguageModel) -> None:
    """Copy one part's scores from the run that `compute.scores_from` names.

    Raises:
        UsageError: no such run, or its scores are of another model, other items, prompts or method.
    """
    folder = Path(str(run.config.compute.scores_from))
    other = RunDirectory.open(folder)
    mine, theirs = (
        {
            "items": getattr(r.config.identify, part).model_dump() if getattr(r.config.identify, part) else None,
            "seed": r.config.seed,
            "prompts": r.config.prompts.model_dump(),
            "method": r.config.scoring,
        }
        for r in (run, other)
    )
    if different := [key for key in mine if mine[key] != theirs[key]]:
        raise UsageError(f"{folder} scored {part} with other {' and '.join(different)}; leave compute.scores_from out")
    scores = Scores.load(other.scores_path(part))
    if scores.meta["model_hash"] != model.fingerprint:
        raise UsageError(f"{folder} scored another model ({scores.meta['model']}, hash {scores.meta['model_hash']})")
    with atomic_path(run.scores_path(part)) as temporary:
        shutil.copyfile(other.scores_path(part), temporary)
