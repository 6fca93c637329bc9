"""A run's configuration: the settings that every study sees, and a section for each study that has settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import create_model

from culnig.run.old_names import translate
from culnig.settings import embedded_names, read_settings
from culnig.studies import STUDIES, RunSettings

CONFIGS = Path(__file__).parent / "configs"
"""The embedded configs."""

if TYPE_CHECKING:

    class RunConfig(RunSettings):
        """Everything about a run."""

else:

    def _with_sections() -> type[RunSettings]:
        """`RunSettings` with the sections of all registered studies, those of installed packages included."""
        sections: dict[str, Any] = {}
        for _, study in STUDIES.items():
            if kind := getattr(study, "settings", None):
                sections[study.section] = (kind, kind())
        made = create_model("RunConfig", __base__=RunSettings, __module__=__name__, **sections)
        made.__doc__ = "Everything about a run."
        return made

    RunConfig = _with_sections()


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's config.

    Args:
        path: a YAML file, the name of an embedded config (`quickstart`), or None for the quickstart.
        overrides: `a.b=value` settings, values as YAML.

    Raises:
        UsageError: no such file, an override that is no setting, or a field that is wrong.
        DataError: not YAML.
    """
    return read_settings(
        RunConfig, "quickstart" if path is None else path, overrides, embedded=CONFIGS, translate=translate
    )


def embedded() -> list[str]:
    """Names of the embedded configs."""
    return embedded_names(CONFIGS)
