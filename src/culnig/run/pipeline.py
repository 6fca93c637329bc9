"""`run`: config -> run directory, step by step; a step whose output is already there is not done again."""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from culnig import distributed
from culnig.attribution import score
from culnig.attribution.checkpoint import checkpoint_of, forget
from culnig.data import DataConfig, Item, ItemList, load_texts
from culnig.errors import UsageError
from culnig.evaluation import EvalResult, answer, evaluate, perplexity
from culnig.evaluation.multiple_choice import count_rows
from culnig.files import save_table, sha256_json, write_json, write_text
from culnig.intervention import Operation, scale
from culnig.models import LanguageModel, load_model
from culnig.progress import Reporter, Silent
from culnig.prompts import PromptPolicy
from culnig.run.config import RunConfig
from culnig.run.directory import RunDirectory
from culnig.run.tuning import is_done, take_scores, tune_and_evaluate
from culnig.studies import STUDIES, Condition, MeasurementContext, Measuring, Section, Study, TuningStudy, merged
from culnig.studies.saved import test_name
from culnig.studies.settings import TestConfig
from culnig.versions import versions


def run(config: RunConfig, out: Path | str | None = None, *, reporter: Reporter | None = None) -> RunDirectory:
    """Run the whole pipeline: score, select, evaluate, analyse, report.

    Interrupt it at any moment and call it again with the same folder: finished steps are kept.

    Args:
        config: what to do; `load_config` reads it from YAML.
        out: the run folder; None is runs/<name>.
        reporter: shows progress; None is silent.

    Raises:
        UsageError: the folder belongs to another run or is in use, or a setting makes no sense.
        CulnigError: any step's own error.
    """
    from filelock import FileLock, Timeout

    reporter = reporter or Silent()
    directory = RunDirectory(out or Path("runs") / config.name, config)
    if not distributed.is_main():
        distributed.wait()
        _Run(directory, Silent()).go()
        return directory
    _claim_folder(directory)
    distributed.wait()
    try:
        with FileLock(directory.path / ".lock", timeout=0):
            _Run(directory, reporter).go()
    except Timeout:
        raise UsageError(f"{directory.path} is in use by another run; wait for it, or choose another --out") from None
    return directory


def _claim_folder(directory: RunDirectory) -> None:
    """Write the resolved config, or check that the folder's own is the same."""
    path = directory.path / "config.yaml"
    mine = directory.config.model_dump(mode="json")
    text = yaml.safe_dump(mine, sort_keys=False, allow_unicode=True)
    if not path.exists():
        try:
            directory.path.mkdir(parents=True, exist_ok=True)
            # One probe is clearer than an error from deep inside a step.
            probe = directory.path / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(f"cannot write into {directory.path}: {error.strerror}; choose another --out") from error
        others = [p for p in directory.path.iterdir() if not p.name.startswith(".")]
        if others:
            raise UsageError(f"{directory.path} holds other files ({others[0].name}, ...); choose an empty --out")
        write_text(path, text)
        return
    theirs = RunDirectory.open(directory.path).config.model_dump(mode="json")
    different = _at_odds(mine, theirs)
    if not different and any(mine[key] != theirs[key] for key in GROWING):
        write_text(path, text)  # further studies, seeds or guards of the same run: what is measured stays
        if mine["seeds"] != theirs["seeds"]:  # a seed has sets of its own
            for done in (directory.path / "neurons").glob(".*.done"):
                done.unlink()
    if different:
        raise UsageError(
            f"{directory.path} holds a run with other settings ({', '.join(different)}); choose another --out, or delete it"
        )


GROWING = ("studies", "seeds", "guards")
"""Settings that may change in a folder that holds a run: they add to what is measured."""


def _at_odds(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Settings that a folder's measurements do not have."""
    different = [key for key in mine if key not in (*GROWING, "compute") and mine[key] != theirs[key]]
    if mine["seeds"] < theirs["seeds"]:
        different.append("fewer seeds")
    if theirs["guards"]["text"] not in (None, mine["guards"]["text"]):
        different.append("guards.text")
    return different


class _Run:
    """One execution of the pipeline; the model is loaded when the first step needs it."""

    def __init__(self, directory: RunDirectory, reporter: Reporter) -> None:
        self.dir = directory
        self.config = directory.config
        self.reporter = reporter
        self.studies: list[tuple[str, Study]] = sorted(
            ((name, STUDIES.get(name)) for name in self.config.studies), key=lambda pair: pair[1].order
        )
        self._model: LanguageModel | None = None
        self._seconds: dict[str, float] = {}

    def go(self) -> None:
        started = time.monotonic()
        self.score()
        distributed.wait()
        self.select()
        self.evaluate()
        self.measure()
        distributed.wait()
        self.tune()
        distributed.wait()
        if distributed.is_main():
            self.finish(started)
        distributed.wait()

    def finish(self, started: float) -> None:
        """Analysis and report: no model, one process."""
        sections = analyse(self.dir)
        self._seconds["total"] = time.monotonic() - started
        self.write_manifest()
        write_report(self.dir, sections)

    @property
    def model(self) -> LanguageModel:
        if self._model is None:
            m = self.config.model
            with self.reporter.step("load the model"):
                self._model = load_model(**m.model_dump(), say=self.reporter.say)
        return self._model

    @property
    def policy(self) -> PromptPolicy:
        return PromptPolicy(**self.config.prompts.resolved(self.model.formulation))

    def score(self) -> None:
        for part, data in self.dir.scored.items():
            path = self.dir.scores_path(part)
            if path.exists():
                continue
            if self.config.compute.scores_from:
                if distributed.is_main():
                    take_scores(self.dir, part, self.model)
                distributed.wait()
                continue
            items = self._items(data)
            model, policy = self.model, self.policy
            total = len(items) * (policy.wordings if isinstance(policy.wordings, int) else 1)
            with self.reporter.step(f"score {part}", total, "prompts") as progress:
                begun = time.monotonic()
                scores = score(
                    model,
                    items,
                    policy=policy,
                    method=self.config.scoring,
                    blocks=self.config.blocks,
                    control=True if part.endswith("ctrl") else None,
                    token_budget=self.config.compute.token_budget,
                    checkpoint=checkpoint_of(path),
                    checkpoint_minutes=self.config.compute.checkpoint_minutes,
                    progress=progress,
                )
                if distributed.is_main():
                    scores.save(path)
                    forget(path)
                self._seconds[f"score {part}"] = time.monotonic() - begun
            _give_back_memory()

    def _items(self, data: DataConfig) -> list[Item]:
        items = data.load(self.config.seed, self.config.sources)
        if isinstance(items, ItemList):
            self.reporter.say(f"{data.items}: {len(items):,} items of {items.account}")
        return items

    def select(self) -> None:
        for name, study in self.studies if distributed.is_main() else []:
            done = self.dir.path / "neurons" / f".{name}.done"
            if done.exists():
                continue
            with self.reporter.step(f"select {name}"):
                for set_name, neurons in study.select(self.dir).items():
                    neurons.save(self.dir.neurons_path(set_name))
            done.parent.mkdir(parents=True, exist_ok=True)  # a study may make no sets
            done.touch()
        distributed.wait()

    def evaluate(self) -> None:
        conditions = merged(condition for _, study in self.studies for condition in study.conditions(self.dir))
        jobs = [
            (test, condition)
            for test in self.config.test
            for condition in conditions.values()
            if condition.wanted(test, self.config) and not self.dir.result_path(test, condition.name).exists()
        ]
        if jobs:
            items = {test_name(test): self._items(test) for test in self.config.test}
            work = [(test, condition, condition.of(items[test_name(test)], test.role)) for test, condition in jobs]
            total = sum(count_rows(part, self._policy_of(test)) for test, _, part in work)
            begun = time.monotonic()
            with self.reporter.step(f"evaluate {len(conditions)} conditions", total, "prompts") as progress:
                for test, condition, part in work:
                    self._evaluate_one(test, condition, part, progress)
            self._seconds["evaluate"] = time.monotonic() - begun
        self._read_text(list(conditions.values()))

    def _policy_of(self, test: TestConfig) -> PromptPolicy:
        """The run's policy; where the model writes its answers, the same with the formulation for that."""
        return self.policy.for_writing if test.role == "short" else self.policy

    def measure(self) -> None:
        """What studies need the model for besides evaluations."""
        for name, study in self.studies:
            if isinstance(study, Measuring) and not study.measured(self.dir):
                begun = time.monotonic()
                budget = self.config.compute.token_budget
                context = MeasurementContext(self.model, self.policy, self._items, self.reporter, budget)
                study.measure(self.dir, context)
                _give_back_memory()
                self._seconds[f"measure {name}"] = time.monotonic() - begun
                distributed.wait()

    def _evaluate_one(self, test: TestConfig, condition: Condition, items: list[Item], progress: Any) -> None:
        budget = self.config.compute.token_budget
        with self._under(condition) as intervention:
            options: dict[str, Any] = {"policy": self._policy_of(test), "token_budget": budget, "progress": progress}
            result: EvalResult
            if test.role == "short":
                result = answer(self.model, items, **options)
            else:
                result = evaluate(self.model, items, **options)
        result.meta |= intervention
        if distributed.is_main():
            result.save(self.dir.result_path(test, condition.name))
        _give_back_memory()

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
        with scale(self.model, neurons, Operation.parse(condition.operation).factor):
            yield {
                "intervention": {
                    "neurons": condition.neurons,
                    "count": len(neurons),
                    "operation": condition.operation,
                    "neurons_hash": sha256_json([list(neuron) for neuron in neurons]),
                }
            }

    def tune(self) -> None:
        """Tune what the studies ask for; each tuned model is evaluated and, unless it is to be kept, removed."""
        tunings = [t for _, study in self.studies if isinstance(study, TuningStudy) for t in study.tunings(self.dir)]
        for tuning in tunings:
            if not is_done(self.dir, tuning):
                begun = time.monotonic()
                tune_and_evaluate(self.dir, tuning, self.model, self.policy, self.reporter)
                self._seconds[f"tune {tuning.name}"] = time.monotonic() - begun

    def write_manifest(self) -> None:
        """What was run, on what, with what; nothing of the environment that could be a secret."""
        path = self.dir.path / "manifest.json"
        earlier = self.dir.manifest if path.exists() else {}
        neur = self.dir.scores("neur").meta
        write_json(
            path,
            {
                "format": 1,
                "finished": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
                "config_hash": sha256_json(self.config.model_dump(mode="json")),
                "model": {key: neur[key] for key in ("model", "model_hash", "revision", "dtype")},
                "prompts": neur["prompts"],
                "seed": self.config.seed,
                "data": {part: _data_entry(self.dir.scores(part).meta) for part in self.dir.scored}
                | {test_name(t): self._test_entry(t) for t in self.config.test}
                | self._text_entry(),
                "machine": {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()},
                "versions": versions(),
                "seconds": {**earlier.get("seconds", {}), **{k: round(v, 1) for k, v in self._seconds.items()}},
            },
        )

    def _test_entry(self, test: TestConfig) -> dict[str, Any]:
        path = self.dir.result_path(test, "none")
        meta = self.dir.result_on(test, "none").meta if path.exists() else {}
        entry = {"items": test.items, "role": test.role, "data_hash": meta.get("data_hash")}
        return entry | ({"rows": meta["rows"]} if meta.get("rows") else {})

    def _text_entry(self) -> dict[str, Any]:
        result = self.dir.text("none")
        return {"plain-text": {"items": result.meta["text"], "data_hash": result.meta["data_hash"]}} if result else {}


def _give_back_memory() -> None:
    """Have glibc hand freed memory back; over a long run it otherwise holds on to half a gigabyte and more."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _data_entry(meta: dict[str, Any]) -> dict[str, Any]:
    entry = {"data_hash": meta["data_hash"], "items": meta["num_items"], "prompts": meta["num_prompts"]}
    return entry | ({"rows": meta["rows"]} if meta.get("rows") else {})


def analyse(directory: RunDirectory) -> list[Section]:
    """Every study's section, from saved files; tables and numbers are written beside them."""
    sections = []
    numbers: dict[str, Any] = {}
    studies = sorted(((name, STUDIES.get(name)) for name in directory.config.studies), key=lambda pair: pair[1].order)
    for name, study in studies:
        section = study.analyse(directory)
        numbers[name] = {"claim": section.claim, **section.numbers}
        for table, frame in section.tables.items():
            save_table(directory.path / "tables" / table, frame)
        sections.append(section)
    write_json(directory.path / "results.json", numbers)
    return sections


def write_report(directory: RunDirectory, sections: list[Section]) -> Path:
    """Write report.html and figures/."""
    from culnig.report import render_report

    return render_report(directory, sections, directory.manifest)
