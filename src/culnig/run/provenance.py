"""What every output of a run was made from, checked when the output is taken up again.

Score files and results carry it in their own description.  Neuron sets, measurements and tunings have none that a run can
rely on, so a small JSON file beside them does: `neurons/.<study>.done`, `measured/<study>/made-of.json`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from culnig.attribution import Scores
from culnig.attribution.means import METHOD as MEANS_METHOD
from culnig.attribution.method import parse_methods, scoring_version
from culnig.data import DataConfig, Item, items_hash, load_texts
from culnig.data.load import OLD_BENCHMARKS
from culnig.errors import UsageError
from culnig.evaluation.results import EVALUATION_VERSION, read_meta
from culnig.files import read_json, sha256_json, write_json
from culnig.intervention import Operation
from culnig.models import LanguageModel
from culnig.models.fingerprint import same_model
from culnig.neurons import NeuronSet
from culnig.prompts import PromptPolicy, recorded, template_hash
from culnig.run.checks import data_of_study
from culnig.run.directory import RunDirectory
from culnig.selection.pools import RULE_VERSION
from culnig.studies import Condition, Study, TestConfig, Tuning

Meta = Mapping[str, Any]
Expected = Callable[[Meta], dict[str, Any]]
"""What a file should say of itself, given what it says of its formulation."""
WHAT = {
    "data_hash": "items",
    "template_hash": "prompt templates",
    "scoring_version": "version of the scoring methods",
    "evaluation_version": "version of the evaluation",
    "rule_version": "version of the selection rules",
    "neurons_hash": "neuron set",
    "operation": "operation",
    "reference_hash": "items of the means that replace values",
    "task_hash": "items to train on",
    "model_hash": "model",
    "scores": "scores",
    "items": "items",
    "prompts": "prompt policy",
    "method": "method",
}
"""Words for what is compared."""
NOT_WRITTEN = {"calibration", "orders"}
"""Fields of a prompt policy that answers written by the model do not have, and that mean values do not depend on."""


def words(fields: Iterable[str]) -> str:
    """Return "items and model" of the names of fields that differ."""
    return " and ".join(WHAT.get(field, field) for field in fields)


def neurons_hash(neurons: NeuronSet) -> str:
    """Return the hash that results record of the set that was changed."""
    return sha256_json([list(neuron) for neuron in neurons])


class Provenance:
    """The checks of one run; each compares what is saved with what the run would make now.

    Args:
        run: the run's folder.
        say: called with a line for the user.
        redo: delete what differs, so that it is made again, where it would be refused otherwise.
    """

    def __init__(self, run: RunDirectory, say: Callable[[str], None], *, redo: bool = False) -> None:
        self.run = run
        self.redo = redo
        self._say = say
        self._items: dict[str, list[Item]] = {}
        self._hashes: dict[Any, dict[str, Any]] = {}
        self._earlier: dict[Any, str] = {}
        self._lacking: set[Path] = set()

    def items(self, data: DataConfig) -> list[Item]:
        """The items of a set, loaded once."""
        key = data.model_dump_json(include=set(DataConfig.model_fields))
        if key not in self._items:
            self._items[key] = data.load(self.run.config.seed, self.run.config.sources)
        return self._items[key]

    def check_scores(self) -> None:
        """Check every score file against its items and templates."""
        for part, data in self.run.scored.items():
            path = self.run.scores_path(part)
            if path.exists():
                self._check(path, Scores.load(path).meta, self.of_part(part, data))
        self.tell_lacking()

    def of_part(self, part: str, data: DataConfig) -> Expected:
        """What the scores of a part would be made from, given what a file says of its formulation."""

        def expected(meta: Meta) -> dict[str, Any]:
            items = self.items(data)
            if part.endswith("ctrl"):
                items = [dataclasses.replace(item, control=True) for item in items]
            wanted = self._of_items((part, "scores"), items, meta["formulation"])
            return wanted | {"scoring_version": scoring_version(parse_methods(self.run.config.scoring))}

        return expected

    def check_means(self, part: str) -> None:
        """Check the means that replace values against the items of their set."""
        path = self.run.means_path(part)

        def expected(meta: Meta) -> dict[str, Any]:
            wanted = self._of_items((part, "means"), self.items(self.run.parts[part]), meta["formulation"])
            return wanted | {"scoring_version": scoring_version(parse_methods(MEANS_METHOD))}

        if path.exists():
            self._check(path, Scores.load(path).meta, expected)

    def check_sets(self, name: str) -> None:
        """Check what a study's neuron sets were selected from; a marker of an earlier version says nothing."""
        marker = self.run.marker_path(name)
        if marker.exists():
            made = _read_marker(marker)
            self._check(marker, made, lambda meta: self.of_sets(), ("scores",))

    def of_sets(self) -> dict[str, Any]:
        """What neuron sets are selected from: every score file, by what it was made from itself."""
        keys = ("data_hash", "template_hash", "model_hash", "method", "prompts")
        metas = {part: Scores.load(self.run.scores_path(part)).meta for part in self.run.scored}
        scores = {part: sha256_json({key: meta.get(key) for key in keys}) for part, meta in metas.items()}
        return {"rule_version": RULE_VERSION, "scores": scores}

    def check_results(self, conditions: Iterable[Condition]) -> None:
        """Check every evaluation and perplexity result against items, templates, text and neuron set."""
        text = self.run.config.guards.text
        for condition in conditions:
            for test in self.run.config.test:
                path = self.run.result_path(test, condition.name)
                if path.exists() and condition.wanted(test, self.run.config):
                    self._check(path, read_meta(path), self._of_result(test, condition))
            path = self.run.text_path(condition.name)
            if text is not None and path.exists():
                self._check(path, read_meta(path), self._of_text(text, condition))
        self.tell_lacking()

    def _of_result(self, test: TestConfig, condition: Condition) -> Expected:
        def expected(meta: Meta) -> dict[str, Any]:
            items = condition.of(self.items(test), test.role)
            wanted = self._of_items((test.label, test.role, condition.countries), items, meta["formulation"])
            return wanted | {"evaluation_version": EVALUATION_VERSION} | self._of_set(condition)

        return expected

    def _of_text(self, text: str, condition: Condition) -> Expected:
        read = {"data_hash": sha256_json(list(load_texts(text))), "evaluation_version": EVALUATION_VERSION}
        return lambda meta: read | self._of_set(condition)

    def _of_set(self, condition: Condition) -> dict[str, Any]:
        if condition.neurons is None:
            return {}
        made = {"neurons_hash": neurons_hash(self._set(condition.neurons)), "operation": condition.operation}
        part = Operation.parse(condition.operation).reference
        return made | ({"reference_hash": Scores.load(self.run.means_path(part)).meta["data_hash"]} if part else {})

    def _set(self, name: str) -> NeuronSet:
        return NeuronSet.load(self.run.neurons_path(name))

    def check_measured(self, name: str, study: Study) -> None:
        """Check what a study measured besides; where nothing is recorded, it is accepted."""
        stamp = self._stamp(name)
        if stamp.is_file():
            self._check(stamp, read_json(stamp, "a record"), lambda meta: self.of_measured(study), ("scores", "items"))

    def record_measured(self, name: str, study: Study, lm: LanguageModel) -> None:
        """Write what a study's measurements were made from."""
        write_json(self._stamp(name), self.of_measured(study) | {"model_hash": lm.fingerprint})

    def of_measured(self, study: Study) -> dict[str, Any]:
        """What a study may measure on: the scores, and the sets of items in its own section."""
        data = data_of_study(self.run.config, study)
        return {
            "scores": self.of_sets()["scores"],
            "items": {where: items_hash(self.items(each)) for where, each in data.items()},
            "evaluation_version": EVALUATION_VERSION,
        }

    def _stamp(self, name: str) -> Path:
        return self.run.measured_path(name) / "made-of.json"

    def check_tuning(self, tuning: Tuning) -> None:
        """Check a tuned model's results against the test items, the items to train on and the set that is watched."""
        for test in self.run.config.test:
            path = self.run.result_path(test, tuning.name)
            if test.role in tuning.roles and path.exists():
                self._check(path, read_meta(path), self._of_tuned(test, tuning))
        self.tell_lacking()
        if self.redo and not any(self.run.result_path(t, tuning.name).exists() for t in self.run.config.test):
            _remove(self.run.tuned_path(tuning.name))

    def _of_tuned(self, test: TestConfig, tuning: Tuning) -> Expected:
        def expected(meta: Meta) -> dict[str, Any]:
            wanted = self._of_items((test.label, test.role, None), self.items(test), meta["formulation"])
            return wanted | {"evaluation_version": EVALUATION_VERSION} | self.of_tuning(tuning)

        return expected

    def of_tuning(self, tuning: Tuning) -> dict[str, Any]:
        """What a model is tuned on, besides its settings."""
        return {
            "task_hash": items_hash(self.items(tuning.config.task)),
            "neurons_hash": neurons_hash(self._set(tuning.watched)),
        }

    def check_model(self, lm: LanguageModel, policy: PromptPolicy, scoring: PromptPolicy) -> None:
        """Check that all scores and results of the untuned model are of this one, and of these prompt policies."""
        prompts, scored = policy.resolved(lm.tokenizer), scoring.resolved(lm.tokenizer)
        own = lm.description
        for path in sorted((self.run.path / "scores").glob("*.safetensors")):
            if path != self.run.per_item_path:
                self._check_model(path, Scores.load(path).meta, own, scored)
        uncalibrated = {key: value for key, value in scored.items() if key not in NOT_WRITTEN}
        for path in sorted((self.run.path / "means").glob("*.safetensors")):
            self._check_model(path, Scores.load(path).meta, own, uncalibrated)
        for path in sorted((self.run.path / "evals").glob("*/*.parquet")):
            meta = read_meta(path)
            if "tuning" not in meta:
                self._check_model(path, meta, own, prompts)
        for path in sorted((self.run.path / "measured").glob("*/made-of.json")):
            self._check_model(path, read_json(path, "a record"), own, {})
        for path in sorted((self.run.path / "tuned").glob("*/manifest.json")):
            self._check_model(path, read_json(path, "a record")["base"], own, {})

    def _check_model(self, path: Path, meta: Meta, own: Meta, prompts: Meta) -> None:
        asked = recorded(meta.get("prompts"))
        # Short answers have a formulation of their own, and no options to calibrate.
        skipped = {"formulation", "template"} | (NOT_WRITTEN if asked.get("formulation") == "short" else set())
        different = [] if same_model(meta, own) else ["model_hash"]
        if any(asked[key] != prompts[key] for key in asked if key in prompts and key not in skipped):
            different.append("prompts")
        if different:
            self._refuse(path, different)

    def _of_items(self, key: Any, items: list[Item], formulation: str) -> dict[str, Any]:
        key = key, formulation
        if key not in self._hashes:
            policy = PromptPolicy.model_validate(
                {"formulation": formulation, "template": self.run.config.prompts.template}
            )
            made = {"data_hash": items_hash(items), "template_hash": template_hash(items, policy)}
            self._earlier[made["data_hash"]] = _earlier_hash(items)
            self._hashes[key] = made
        return self._hashes[key]

    def _check(self, path: Path, meta: Meta, expected: Expected, parts: tuple[str, ...] = ()) -> None:
        if different := self.differing(path, meta, expected, parts):
            self._refuse(path, different)

    def differing(self, path: Path, meta: Meta, expected: Expected, parts: tuple[str, ...] = ()) -> list[str]:
        """Return the fields in which a file's description differs from what is expected.

        Fields in `parts` are mappings, compared where both sides have a key.  A field that the file lacks is no
        difference; `tell_lacking` tells of it.
        """
        meta = {**meta, **(meta.get("intervention") or {})}
        if not meta:
            self._lacking.add(path)
            return []
        different = []
        for key, value in expected(meta).items():
            mine = meta.get(key)
            if mine is None:
                self._lacking.add(path)
            elif key in parts:
                if any(mine[name] != each for name, each in value.items() if name in mine):
                    different.append(key)
            elif mine not in (value, self._earlier.get(value)):
                different.append(key)
        return different

    def _refuse(self, path: Path, different: list[str]) -> None:
        """Delete a file that was made from something else, or stop."""
        what = words(different)
        if not self.redo:
            raise UsageError(
                f"{path} was made from other {what} than the run has now; choose another --out, or add --redo to make"
                " again what differs"
            )
        self._say(f"{path.relative_to(self.run.path)} was made from other {what}: made again")
        folder = path.relative_to(self.run.path).parts[0]
        _remove(path.parent if folder in ("measured", "tuned") else path)
        if folder in ("scores", "neurons"):
            _remove(self.run.path / "neurons")  # all sets: studies share some
        if folder == "measured":
            self.run.per_item_path.unlink(missing_ok=True)

    def tell_lacking(self) -> None:
        """Say once how many files of earlier versions do not tell all that is compared."""
        if self._lacking:
            self._say(
                f"{len(self._lacking)} files of an earlier version, such as {min(self._lacking)}, do not record all that they were made"
                " from; they are accepted"
            )
            self._lacking.clear()


def _earlier_hash(items: Iterable[Item]) -> str:
    """The hash of items whose benchmark has the name that it had in earlier versions."""
    old = {new: name for name, new in OLD_BENCHMARKS.items()}
    return items_hash(dataclasses.replace(item, benchmark=old.get(item.benchmark, item.benchmark)) for item in items)


def _read_marker(path: Path) -> dict[str, Any]:
    """The record in a marker; empty for one of an earlier version."""
    text = path.read_text(encoding="utf-8")
    return read_json(path, "what sets were selected from") if text.strip() else {}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
