"""A run's folder: where everything is, read back without the model.

config.yaml  manifest.json  results.json  report.html
scores/{neur,ctrl,crc}.safetensors   neurons/<set>.json   evals/<test set>/<condition>.parquet
evals/plain-text/<condition>.parquet (perplexity)
prompts/<test set>.parquet (prompts as the model saw them)
offsets.parquet (what calibrates options)
means/{neur,ctrl}.safetensors (mean values, where the operation replaces values by them)
measured/<study>/... (what a study measures besides)
tuned/<tuning>/{manifest.json,loss.parquet,moved.parquet,...}
tables/<table>.{parquet,csv}         figures/<figure>.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from culnig.data import DataConfig
from culnig.errors import DataError, UsageError
from culnig.files import read_json
from culnig.parsing import NotParsed, parse_yaml
from culnig.run.config import RunConfig, load_config
from culnig.showing import brief, show
from culnig.studies import SavedRun, scored_sets


class RunDirectory(SavedRun):
    """A run's folder."""

    config: RunConfig

    def __init__(self, path: Path | str, config: RunConfig) -> None:
        super().__init__(path, config)

    def _repr_html_(self) -> str:
        return brief("run", self)

    def show(self, study: str | None = None) -> None:
        """Show in Jupyter what a study of the finished run found, as its report does; elsewhere, print it.

        Args:
            study: one of the run's studies; None is the first.

        Raises:
            UsageError: the run is unfinished, or has no such study.
        """
        show("run", self, study=study)

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """Open an existing run.

        Raises:
            UsageError: not a run folder.
        """
        path = Path(path)
        if not (path / "config.yaml").is_file():
            raise UsageError(f"{path} is not a run folder: no config.yaml in it; `culnig run --out {path}` makes one")
        overrides = ["prompts.calibration=none"] if before_calibration(path) else []
        return cls(path, load_config(path / "config.yaml", overrides))

    @property
    def scored(self) -> dict[str, DataConfig]:
        """All sets that the run scores: those of `parts`, and those that its studies score besides."""
        return scored_sets(self.config)

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


def before_calibration(path: Path) -> bool:
    """Return whether a run was begun by a version that knew no calibration; its figures are without."""
    try:
        saved = parse_yaml((path / "config.yaml").read_text(encoding="utf-8"))
    except (NotParsed, UnicodeDecodeError) as error:
        raise DataError(f"{path / 'config.yaml'}: not YAML: {' '.join(str(error).split())}") from error
    return isinstance(saved, dict) and "calibration" not in (saved.get("prompts") or {})
