"""Prompt templates: YAML files, ours or a user's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from culnig.errors import DataError, UsageError

LABELS = {"letters": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "digits": "123456789", "digits-from-0": "0123456789"}


class Wording(BaseModel):
    """One wording of a prompt."""

    model_config = ConfigDict(extra="forbid")

    id: str
    text: str = Field(description="the prompt; slots {question} and, in mcf, {options}")
    control: str = Field(description="the same prompt for a control item, which has no question; slot {options}")
    labels: Literal["letters", "digits", "digits-from-0"] | list[str] = Field(
        "letters", description="a kind of labels, or the labels themselves: [yes, no]"
    )
    prefix: str = Field("", description="opens the answer: 'Answer:'")
    join: str = Field(" ", description="stands between prefix and answer")

    @property
    def label_texts(self) -> Sequence[str]:
        """The labels, first to last."""
        return LABELS[self.labels] if isinstance(self.labels, str) else self.labels


class WordingList(BaseModel):
    """The wordings of one formulation."""

    model_config = ConfigDict(extra="forbid")

    option: str = Field("{label}. {option}", description="how an option is listed (mcf)")
    wordings: list[Wording] = Field(min_length=1)


class Template(BaseModel):
    """How a question becomes a prompt, in each formulation."""

    model_config = ConfigDict(extra="forbid")

    mcf: WordingList | None = None
    cf: WordingList | None = None
    short: WordingList | None = None


def load_template(name: str) -> Template:
    """Return a template of the package by name, or of a YAML file by path.

    Raises:
        UsageError: no such template.
        DataError: the file is not a template; the message says which field is wrong.
    """
    return _load(
        name, Path(name).stat().st_mtime_ns if name.endswith((".yaml", ".yml")) and Path(name).is_file() else 0
    )


@cache
def _load(name: str, _written: int) -> Template:
    """Read a template, once for each state of its file."""
    import yaml

    folder = resources.files("culnig.prompts") / "templates"
    source = folder / f"{name}.yaml"
    if not source.is_file():
        if not Path(name).is_file():
            have = sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))
            raise UsageError(f"no prompt template '{name}'; there are {', '.join(have)}, or name a YAML file")
        source = Path(name)
    try:
        return Template.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except yaml.YAMLError as error:
        raise DataError(f"{name}: not YAML: {' '.join(str(error).split())}") from error
