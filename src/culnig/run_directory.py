"""A run's folder: where everything is, read back without the model.

config.yaml  manifest.json  results.json  report.html
scores/{neur,ctrl,crc}.safetensors   neurons/<set>.json   evals/<test set>/<condition>.parquet
evals/plain-text/<condition>.parquet (perplexity)
measured/<study>/... (what a study measures besides)
tuned/<tuning>/{manifest.json,loss.parquet,moved.parquet,...}
tables/<table>.{parquet,csv}         figures/<figure>.json
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from culnig.attribution import Scores
from culnig.benchmarks import parse_name
from culnig.config import DataConfig, RunConfig, TestConfig, load_config
from culnig.errors import UsageError
from culnig.evaluation import EvalResult, TextResult
from culnig.files import read_json
from culnig.neurons import NeuronSet


class RunDirectory:
    """Paths and saved results of one run."""

    def __init__(self, path: Path | str, config: RunConfig) -> None:
        self.path = Path(path)
        self.config = config

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """Open an existing run.

        Raises:
            UsageError: not a run folder.
        """
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise UsageError(f"{path} is not a run folder: no config.yaml in it; `culnig run --out {path}` makes one")
        return cls(path, load_config(path / "config.yaml"))

    @property
    def parts(self) -> dict[str, DataConfig]:
        """The sets that are scored: neur, ctrl, crc, general if the config has it, and those of the study `overlap`."""
        return scored_parts(self.config)

    def scores_path(self, part: str) -> Path:
        return self.path / "scores" / f"{part}.safetensors"

    def neurons_path(self, name: str) -> Path:
        return self.path / "neurons" / f"{name}.json"

    def result_path(self, test: TestConfig, condition: str) -> Path:
        return self.path / "evals" / test_name(test) / f"{condition}.parquet"

    @property
    def per_item_path(self) -> Path:
        """Scores of the study `instance`, item by item."""
        return self.path / "scores" / "per-item.safetensors"

    def text_path(self, condition: str) -> Path:
        """Perplexity results of a condition."""
        return self.path / "evals" / "plain-text" / f"{condition}.parquet"

    def measured_path(self, study: str) -> Path:
        """Folder of what a study has measured besides evaluations."""
        return self.path / "measured" / study

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

    @property
    def manifest(self) -> dict[str, Any]:
        return read_json(self.path / "manifest.json", "a run's manifest")

    @property
    def results(self) -> dict[str, Any]:
        """Study -> its claim and numbers."""
        return read_json(self.path / "results.json", "a run's results")

    def check_finished(self) -> None:
        """Check that every step has been done.

        Raises:
            UsageError: the run was interrupted; the message says how to go on.
        """
        if not (self.path / "manifest.json").is_file():
            raise UsageError(
                f"{self.path} is an unfinished run; go on with `culnig run {self.path / 'config.yaml'} --out {self.path}`"
            )


def scored_parts(config: RunConfig) -> dict[str, DataConfig]:
    """The sets that a run scores, by the names of their score files; those of controls end in `ctrl`."""
    sets = {"neur": config.identify.neur, "ctrl": config.identify.ctrl, "crc": config.identify.crc}
    if config.identify.general:
        sets["general"] = config.identify.general
    if "overlap" in config.studies:
        for name, found in config.overlap.benchmarks.items():
            sets |= {overlap_part(name, "neur"): found.neur, overlap_part(name, "ctrl"): found.ctrl}
    return sets


def overlap_part(benchmark: str, part: str) -> str:
    """Name of the score file of one benchmark of the study `overlap`."""
    return f"overlap-{re.sub(r'[^A-Za-z0-9._-]+', '-', benchmark)}-{part}"


def test_name(test: TestConfig) -> str:
    """Folder name of a test set's results: its name and split, without folders and the place of its rows."""
    name, split, _ = parse_name(test.items)
    stem = Path(name).stem if "/" in name else name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{stem}-{split}" if split else stem)
