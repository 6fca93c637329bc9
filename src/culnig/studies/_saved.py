"""What a study sees of a run: its settings, and what has been saved so far.  No model is needed."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, cached_property
from pathlib import Path

from culnig.attribution import Scores
from culnig.data import DataConfig, parse_name
from culnig.evaluation import EvalResult, TextResult
from culnig.files import safe_name, sha256_json, unsafe_name
from culnig.neurons import NeuronSet
from culnig.studies._settings import RunSettings, TestConfig

OLD_NAMES = {
    "culture-general": "general",
    "ability": "general",
    "culture_general": "general",
    "culture_specific": "specific",
    "method_comparison": "methods",
}
"""Names of files that changed since version 0.1 -> the old ones, which are read and added to where they are there."""

TEXT = "plain-text"
"""Folder of the perplexity results, beside those of the test sets."""


class SavedRun:
    """Paths and saved results of one run."""

    def __init__(self, path: Path | str, config: RunSettings) -> None:
        self.path = Path(path)
        self.config = config

    @property
    def parts(self) -> dict[str, DataConfig]:
        """The sets that every study may select from: neur, ctrl, crc, and ability if the config has it."""
        return identification_sets(self.config)

    def scores_path(self, part: str) -> Path:
        return _present(self.path / "scores", part, ".safetensors")

    def neurons_path(self, name: str) -> Path:
        """File of a neuron set; `set_names` gives the names back."""
        return _present(self.path / "neurons", name, ".json")

    def set_names(self, prefix: str = "") -> list[str]:
        """Names of the saved neuron sets that begin with a prefix, sorted."""
        names = sorted(unsafe_name(path.stem) for path in (self.path / "neurons").glob("*.json"))
        return [name for name in names if name.startswith(prefix)]

    def result_path(self, test: TestConfig, condition: str) -> Path:
        """Results of a condition on a test set."""
        return _present(_test_folder(self.path / "evals", self.test_names[test.label]), condition, ".parquet")

    @cached_property
    def test_names(self) -> dict[str, str]:
        """Label of each test set -> its name, which is that of its folder of results."""
        return test_names(self.config)

    def means_path(self, part: str) -> Path:
        """Mean values over an identification set, which the run's operation puts in the place of values."""
        return self.path / "means" / f"{part}.safetensors"

    @property
    def per_item_path(self) -> Path:
        """Scores of the study `instance`, item by item."""
        return self.path / "scores" / "per-item.safetensors"

    @property
    def offsets_path(self) -> Path:
        """What calibrates options, of all sets of the run."""
        return self.path / "offsets.parquet"

    def prompts_path(self, test: TestConfig) -> Path:
        """Prompts of a test set as the model saw them, for reading."""
        return self.path / "prompts" / f"{self.test_names[test.label]}.parquet"

    def text_path(self, condition: str) -> Path:
        """Perplexity results of a condition."""
        return _present(self.path / "evals" / TEXT, condition, ".parquet")

    def measured_path(self, study: str) -> Path:
        """Folder of what a study has measured besides evaluations."""
        return _present(self.path / "measured", study)

    def marker_path(self, study: str) -> Path:
        """File that says that a study's neuron sets are there, and what they were made from."""
        return _present(self.path / "neurons", study, ".done", start=".")

    def tuned_path(self, tuning: str) -> Path:
        """Folder of a fine-tuning."""
        return self.path / "tuned" / tuning

    @cache  # noqa: B019 - a run directory lives as long as its process
    def scores(self, part: str, method: str | None = None) -> Scores:
        """Scores of `neur`, `ctrl` or `crc` by one of the config's methods; None is the first."""
        scores = Scores.load(self.scores_path(part))
        return scores.of_method(method or scores.method) if len(scores.methods) > 1 else scores

    @cache  # noqa: B019
    def neurons(self, name: str) -> NeuronSet:
        return NeuronSet.load(self.neurons_path(name))

    @cache  # noqa: B019
    def _result(self, path: Path) -> EvalResult:
        return EvalResult.load(path)

    def result(self, role: str, condition: str) -> EvalResult | None:
        """Results of a condition on the first test set of a role; None if the run has no such test set."""
        test = self.config.test_of(role)
        return self.result_on(test, condition) if test else None

    def result_on(self, test: TestConfig, condition: str) -> EvalResult:
        """Results of a condition on a test set."""
        return self._result(self.result_path(test, condition))

    @cache  # noqa: B019
    def text(self, condition: str) -> TextResult | None:
        """Perplexity results of a condition; None if they were not measured."""
        path = self.text_path(condition)
        return TextResult.load(path) if path.is_file() else None

    def has_result(self, role: str, condition: str) -> bool:
        """Whether a condition was evaluated on the test set of a role."""
        test = self.config.test_of(role)
        return test is not None and self.result_path(test, condition).is_file()


def identification_sets(config: RunSettings) -> dict[str, DataConfig]:
    """The sets that neurons are found on, by the names of their score files; that of controls ends in `ctrl`."""
    sets = {"neur": config.identify.neur, "ctrl": config.identify.ctrl, "crc": config.identify.crc}
    return sets | ({"ability": config.identify.ability} if config.identify.ability else {})


def test_names(config: RunSettings) -> dict[str, str]:
    """Label of each test set -> a name that is safe as a folder, and no other test set of the run has.

    The name is the benchmark and split, or the stem of the file.  Where that is taken, or no name for a folder, six
    digits of the label's hash follow, so that a name depends neither on order nor on the other entry.
    """
    plain = {test.label: _plain_name(test) for test in config.test}
    counts = Counter(name.casefold() for name in [*plain.values(), TEXT])
    return {
        label: name
        if counts[name.casefold()] == 1 and name == safe_name(name)
        else f"{name.strip('.')}-{sha256_json(label)[:6]}"
        for label, name in plain.items()
    }


def _plain_name(test: TestConfig) -> str:
    """The name and split of a test set, without folders and the place of its rows."""
    name, split, _ = parse_name(test.items)
    stem = Path(name).stem if "/" in name else name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{stem}-{split}" if split else stem)


def _present(folder: Path, name: str, suffix: str = "", start: str = "") -> Path:
    """Return the path of a saved file or folder, under its old name where only that is there."""
    path = folder / f"{start}{safe_name(name)}{suffix}"
    old = folder / f"{start}{safe_name(OLD_NAMES.get(name, name))}{suffix}"
    return old if old.exists() and not path.exists() else path


def _test_folder(evals: Path, name: str) -> Path:
    """Return the folder of a test set's results, under its old name where only that is there."""
    first, dash, rest = name.partition("-")
    old = evals / f"{OLD_NAMES.get(first, first)}{dash}{rest}"
    return old if old.exists() and not (evals / name).exists() else evals / name
