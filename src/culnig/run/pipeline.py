"""`run`: config -> run directory, step by step; a step whose output is already there is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from culnig import distributed
from culnig.attribution import Means, mean_values, score
from culnig.attribution.checkpoint import checkpoint_of, forget
from culnig.data import DataConfig, Item, ItemList, load_texts
from culnig.evaluation import EvalResult, answer, evaluate, perplexity
from culnig.evaluation.multiple_choice import count_rows, prompts_seen
from culnig.files import atomic_path, safe_names, write_json
from culnig.finetune.tuning import forget_state
from culnig.intervention import Operation
from culnig.machine import trim_memory
from culnig.models import LanguageModel, load_model
from culnig.passes.calibration import lacks_offsets, load_offsets, offset_keys, offsets_of, save_offsets
from culnig.passes.memory import free_unused
from culnig.progress import Occasionally, Reporter, Silent
from culnig.prompts import PromptPolicy, encode, render
from culnig.prompts.calibration import Calibration, measured_for, needed
from culnig.run.checks import check_config
from culnig.run.claim import claimed
from culnig.run.config import RunConfig
from culnig.run.directory import RunDirectory, before_calibration
from culnig.run.manifest import write_manifest
from culnig.run.provenance import Provenance, neurons_hash
from culnig.run.reporting import analyse, tell_trackers, write_report, write_report_so_far
from culnig.run.stages import stages_of
from culnig.run.tuning import is_done, take_scores, tune_and_evaluate
from culnig.studies import Condition, MeasurementContext, Measuring, TestConfig, TuningStudy, merged, studies_of
from culnig.studies.short_answers import ShortAnswersSettings

__all__ = ["analyse", "run", "write_report"]


@distributed.guard()
def run(
    config: RunConfig, out: Path | str | None = None, *, reporter: Reporter | None = None, redo: bool = False
) -> RunDirectory:
    """Run the whole pipeline: score, select, evaluate, analyse, report.

    Interrupt it at any moment and call it again with the same folder: finished steps are kept, if what they were made
    from is what the run has now.

    Args:
        config: what to do; `load_config` reads it from YAML.
        out: the run folder; None is runs/<name>.
        reporter: shows progress; None is silent.
        redo: make again what was made from other items, templates or another model; without it, that is an error.

    Raises:
        UsageError: the folder belongs to another run or is in use, its files were made from something else, or a
            setting makes no sense.
        CulnigError: any step's own error.
    """
    reporter = reporter or Silent()
    path = Path(out or Path("runs") / config.name)
    if config.prompts.calibration == "auto" and (path / "config.yaml").is_file() and before_calibration(path):
        reporter.say(f"{path} was begun before there was calibration, and goes on without (prompts.calibration=none)")
        config = config.model_copy(update={"prompts": config.prompts.model_copy(update={"calibration": "none"})})
    directory = RunDirectory(path, config)
    check_config(config)
    if not distributed.is_main():
        distributed.wait()
        _Run(directory, Silent(), redo).go()
        return directory
    with claimed(directory):
        distributed.wait()
        _Run(directory, reporter, redo).go()
    return directory


class _Run:
    """One execution of the pipeline; the model is loaded when the first step needs it."""

    def __init__(self, directory: RunDirectory, reporter: Reporter, redo: bool = False) -> None:
        self.dir = directory
        self.config = directory.config
        self.reporter = reporter
        self.studies = studies_of(directory.config)
        self.provenance = Provenance(directory, reporter.say, redo=redo)
        self._model: LanguageModel | None = None
        self._seconds: dict[str, float] = {}
        self._calibrated: set[str] = set()  # without a search's own prompts, which a run that goes on lacks
        self._reported: tuple[tuple[str, bool], ...] = ()

    def go(self) -> None:
        started = time.monotonic()
        if self.provenance.redo:
            _ = self.model  # what another model has made must go before the steps look at what is there
        self._check(self.provenance.check_scores)
        self.score()
        self.report_so_far()
        self.measure(first=True)
        distributed.wait()
        self.select()
        self.report_so_far()
        self.evaluate()
        self.report_so_far()
        self.measure()
        self.report_so_far()
        self.tune()
        distributed.wait()
        if distributed.is_main():
            self.finish(started)
        distributed.wait()

    def _check(self, check: Callable[..., None], *arguments: Any) -> None:
        """Run a check in one process, since it may delete files that the others look for."""
        if distributed.is_main():
            check(*arguments)
        distributed.wait()

    def report_so_far(self) -> None:
        """Write the report of what is there, unless only its last stage is to come; one process."""
        if distributed.is_main():
            # Of its own, since a run directory remembers what it has read, and texts are still to come.
            so_far = RunDirectory(self.dir.path, self.config)
            stages = tuple(stages_of(so_far))
            if stages != self._reported and not all(done for _, done in stages[:-1]):
                write_report_so_far(so_far, stages, self._seconds)
                self._reported = stages
        distributed.wait()

    def finish(self, started: float) -> None:
        """Analysis and report: no model, one process."""
        sections = analyse(self.dir)
        self._seconds["total"] = time.monotonic() - started
        write_manifest(self.dir, self._seconds)
        write_report(self.dir, sections)
        tell_trackers(self.dir)

    @property
    def model(self) -> LanguageModel:
        if self._model is None:
            m = self.config.model
            with self.reporter.step("load the model"):
                self._model = load_model(**m.model_dump(), say=self.reporter.say)
            if distributed.is_main():
                self.provenance.check_model(self._model, self.policy, self.scoring_policy)
            distributed.wait()
            if self.dir.offsets_path.is_file():
                load_offsets(self._model, self.dir.offsets_path)
                self._calibrated.update(self._model.offsets)
        return self._model

    @property
    def policy(self) -> PromptPolicy:
        """How items are put to the model, and how answers are judged."""
        return self.config.prompts.policy(self.model.formulation)

    @property
    def scoring_policy(self) -> PromptPolicy:
        """The same for scores, which have a calibration of their own."""
        return self.config.prompts.scoring_policy(self.model.formulation)

    def score(self) -> None:
        for part, data in self.dir.scored.items():
            path = self.dir.scores_path(part)
            if path.exists():
                continue
            model = self.model  # all processes load it together
            if self.config.compute.scores_from:
                if distributed.is_main():
                    take_scores(self.dir, part, model, self.provenance)
                distributed.wait()
                continue
            items, policy = self._items(data), self.scoring_policy
            self._calibrate(part, items, policy, needed(policy.calibration))
            total = len(items) * (policy.wordings if isinstance(policy.wordings, int) else 1)
            with self.reporter.step(f"score {part}", total, "prompts") as progress:
                begun = time.monotonic()
                scores = score(
                    model,
                    items,
                    policy=policy,
                    method=self.config.scoring,
                    blocks=self.config.blocks,
                    block_groups=self.config.block_groups,
                    control=True if part.endswith("ctrl") else None,
                    token_budget=self.config.compute.token_budget,
                    padded_zeros=self.config.padded_zeros,
                    checkpoint=checkpoint_of(path),
                    checkpoint_minutes=self.config.compute.checkpoint_minutes,
                    progress=progress,
                )
                if distributed.is_main():
                    scores.save(path)
                    forget(path)
                self._seconds[f"score {part}"] = time.monotonic() - begun
            trim_memory()

    def _calibrate(self, name: str, items: list[Item], policy: PromptPolicy, kinds: tuple[Calibration, ...]) -> None:
        """Measure on the untouched model what calibrates the options of a set; kept in the run's folder."""
        if not kinds or policy.offsets_from == "current":
            return
        model = self.model
        encoded = encode(render(items, policy), model.tokenizer, policy, model.max_length)
        self._calibrated.update(offset_keys(encoded, policy))
        if not lacks_offsets(model, encoded, policy, kinds):
            return
        save = partial(save_offsets, model, self.dir.offsets_path, self._calibrated)
        begun = time.monotonic()
        with self.reporter.step(f"calibrate {name}", len(encoded), "prompts") as progress:
            budget = self.config.compute.token_budget
            often = Occasionally(60.0, save)
            offsets_of(model, encoded, policy, kinds=kinds, token_budget=budget, progress=progress, save=often)
        save()
        self._seconds[f"calibrate {name}"] = time.monotonic() - begun

    def _items(self, data: DataConfig) -> list[Item]:
        items = self.provenance.items(data)
        if isinstance(items, ItemList):
            self.reporter.say(f"{data.items}: {len(items):,} items of {items.account}")
        return items

    def select(self) -> None:
        """Make the neuron sets of the studies; only the main process does."""
        for name, _ in self.studies:
            self._check(self.provenance.check_sets, name)
        for name, study in self.studies if distributed.is_main() else []:
            done = self.dir.marker_path(name)
            if done.exists():
                continue
            with self.reporter.step(f"select {name}"):
                sets = study.select(self.dir)
                safe_names([*self.dir.set_names(), *sets])
                for set_name, neurons in sets.items():
                    neurons.save(self.dir.neurons_path(set_name))
            write_json(done, self.provenance.of_sets())
        distributed.wait()

    def reference(self, conditions: Iterable[Condition]) -> None:
        """Measure the means that the conditions put in the place of values; once, on the untouched model."""
        operations = {c.operation for c in conditions if c.neurons is not None}
        for part in sorted({Operation.parse(name).reference or "" for name in operations} - {""}):
            path = self.dir.means_path(part)
            self._check(self.provenance.check_means, part)
            if path.exists():
                continue
            items, policy = self._items(self.dir.parts[part]), self.scoring_policy
            begun = time.monotonic()
            with self.reporter.step(f"measure means of {part}", count_rows(items, policy), "prompts") as progress:
                budget, kept = self.config.compute.token_budget, checkpoint_of(path)
                options: dict[str, Any] = {"token_budget": budget, "checkpoint": kept, "progress": progress}
                means = mean_values(self.model, items, policy=policy, **options)
                if distributed.is_main():
                    means.save(path)
                    forget(path)
            self._seconds[f"means of {part}"] = time.monotonic() - begun
            distributed.wait()

    @cache  # noqa: B019 - one execution lives as long as its process
    def _means(self, part: str) -> Means:
        return Means.load(self.dir.means_path(part))

    def evaluate(self) -> None:
        of_studies = [study.conditions(self.dir) for _, study in self.studies]
        conditions = merged(condition for each in of_studies for condition in each)
        self.reference(conditions.values())
        self._check(self.provenance.check_results, conditions.values())
        jobs = [
            (test, condition)
            for test in self.config.test
            for condition in conditions.values()
            if condition.wanted(test, self.config) and not self.dir.result_path(test, condition.name).exists()
        ]
        first = {condition.name for condition in next(filter(None, of_studies), [])}

        def phase(job: tuple[TestConfig, Condition]) -> int:
            """The study that the report begins with has its answer first, and on culture before all else."""
            return 2 if job[1].name not in first else int(job[0].role != "culture")

        items = {test.label: self._items(test) for test in self.config.test} if jobs else {}
        for number in sorted(set(map(phase, jobs))):
            self._evaluate([job for job in jobs if phase(job) == number], items)
            if number < max(map(phase, jobs)):
                self.report_so_far()
        self._read_text(list(conditions.values()))

    def _evaluate(self, jobs: list[tuple[TestConfig, Condition]], items: dict[str, list[Item]]) -> None:
        """Calibrate the test sets of some evaluations, keep their prompts, and evaluate."""
        for test in {test.label: test for test, _ in jobs}.values():
            if test.role != "short":
                kinds = measured_for(test.role, self.policy.calibration)
                self._calibrate(test.label, items[test.label], self.policy, kinds)
                again = any(test == job[0] and job[1].name == "none" for job in jobs)
                self._save_prompts(test, items[test.label], again)
        work = [(test, condition, condition.of(items[test.label], test.role)) for test, condition in jobs]
        total = sum(count_rows(part, self._policy_of(test)) for test, _, part in work)
        begun, number = time.monotonic(), len({condition.name for _, condition in jobs})
        with self.reporter.step(f"evaluate {number} conditions", total, "prompts") as progress:
            for test, condition, part in work:
                self._evaluate_one(test, condition, part, progress)
        self._seconds["evaluate"] = self._seconds.get("evaluate", 0.0) + time.monotonic() - begun

    def _save_prompts(self, test: TestConfig, items: list[Item], again: bool) -> None:
        """Keep the prompts of a test set as the model sees them, for the report."""
        path = self.dir.prompts_path(test)
        if distributed.is_main() and (again or not path.is_file()):
            with atomic_path(path) as temporary:
                prompts_seen(self.model, items, self.policy).to_parquet(temporary, index=False)

    def _policy_of(self, test: TestConfig) -> PromptPolicy:
        """The run's policy; where the model writes its answers, the same with the formulation for that."""
        return self.policy.for_writing if test.role == "short" else self.policy

    def measure(self, *, first: bool = False) -> None:
        """What studies need the model for besides evaluations; `first` is for those that select from it."""
        for name, study in self.studies:
            if not isinstance(study, Measuring) or getattr(study, "measures_first", False) != first:
                continue
            self._check(self.provenance.check_measured, name, study)
            if not study.measured(self.dir):
                begun = time.monotonic()
                budget = self.config.compute.token_budget
                context = MeasurementContext(
                    self.model, self.policy, self.scoring_policy, self._items, self.reporter, budget
                )
                if distributed.is_main():  # before: a run that is killed in between must not lack it
                    self.provenance.record_measured(name, study, self.model)
                study.measure(self.dir, context)
                trim_memory()
                self._seconds[f"measure {name}"] = time.monotonic() - begun
                distributed.wait()

    def _evaluate_one(self, test: TestConfig, condition: Condition, items: list[Item], progress: Any) -> None:
        budget = self.config.compute.token_budget
        with self._under(condition) as intervention:
            options: dict[str, Any] = {"policy": self._policy_of(test), "token_budget": budget, "progress": progress}
            result: EvalResult
            if test.role == "short":
                writing = self.config.section(ShortAnswersSettings).model_dump()
                result = answer(self.model, items, **writing, **options)
            else:
                kinds = measured_for(test.role, self.policy.calibration)
                result = evaluate(self.model, items, kinds=kinds, **options)
        result.meta |= intervention
        if distributed.is_main():
            result.save(self.dir.result_path(test, condition.name))
        trim_memory()

    def _read_text(self, conditions: list[Condition]) -> None:
        """Perplexity under every guarded condition."""
        source = self.config.guards.text
        todo = [c for c in conditions if c.guarded(self.config) and not self.dir.text_path(c.name).exists()]
        if source is None or not todo:
            return
        paragraphs = load_texts(source)
        begun = time.monotonic()
        with self.reporter.step("read plain text", len(paragraphs) * len(todo), "paragraphs") as progress:
            for condition in todo:
                with self._under(condition) as intervention:
                    budget = self.config.compute.token_budget
                    result = perplexity(
                        self.model, paragraphs, bos=self.policy.bos, token_budget=budget, progress=progress
                    )
                result.meta |= {"text": source} | intervention
                if distributed.is_main():
                    result.save(self.dir.text_path(condition.name))
        self._seconds["plain text"] = time.monotonic() - begun

    @contextmanager
    def _under(self, condition: Condition) -> Iterator[dict[str, Any]]:
        """The model in the state of a condition; yields what results record of it."""
        if condition.neurons is None:
            yield {}
            return
        neurons = self.dir.neurons(condition.neurons)
        operation = Operation.parse(condition.operation)
        means = self._means(operation.reference) if operation.reference else None
        with operation.on(self.model, neurons, means):
            facts = {"neurons": condition.neurons, "count": len(neurons), "operation": condition.operation}
            facts |= {"neurons_hash": neurons_hash(neurons)}
            yield {"intervention": facts | ({"reference_hash": means.meta["data_hash"]} if means else {})}

    def tune(self) -> None:
        """Tune what the studies ask for; each tuned model is evaluated and, unless it is to be kept, removed."""
        tunings = [t for _, study in self.studies if isinstance(study, TuningStudy) for t in study.tunings(self.dir)]
        policy: PromptPolicy | None = None
        for tuning in tunings:
            self._check(self.provenance.check_tuning, tuning)
            if not is_done(self.dir, tuning):
                begun = time.monotonic()
                policy = policy or self.policy
                made_of = self.provenance.of_tuning(tuning)
                self._model = None  # its memory is the tuning's now
                free_unused()
                tune_and_evaluate(self.dir, tuning, policy, self.reporter, made_of)
                self._seconds[f"tune {tuning.name}"] = time.monotonic() - begun
        # A longer tuning that was there already has not taken up the state of a shorter one that was done again.
        for tuning in tunings if distributed.is_main() else []:
            forget_state(self.dir.tuned_path(tuning.name))
