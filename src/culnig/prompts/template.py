"""Prompt templates: YAML files of the package or of a user."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from culnig.errors import DataError, UsageError
from culnig.parsing import NotParsed, parse_yaml

LATER = {"separator": "\n", "lines": [], "countries": {}, "spelling": "phrase", "drawn_by": "", "draws": "options"}
"""Fields that earlier versions did not have: dumped where they are used, so that hashes of other templates stay."""
LABELS = {"letters": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "digits": "123456789", "digits-from-0": "0123456789"}


class _Dumped(BaseModel):
    """Base: a field of `LATER` is dumped only where it is used."""

    model_config = ConfigDict(extra="forbid")

    @model_serializer(mode="wrap")
    def _used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name not in LATER or value != LATER[name]}


class Wording(_Dumped):
    """One wording of a prompt."""

    id: str
    text: str = Field(
        description="the prompt; slots {question} or its {line1} and {line2}, {country}, {low}, {high}, in mcf {options}"
    )
    control: str = Field(description="the same prompt for a control item, which has no question; slot {options}")
    system: str = Field("", description="system message of this wording, not for controls; slot {country}")
    labels: Literal["letters", "digits", "digits-from-0", "options"] | list[str] = Field(
        "letters",
        description="a kind of labels, or the labels themselves: [yes, no]; options: the options themselves, which then"
        " need not be listed",
    )
    prefix: str = Field("", description="opens the answer: 'Answer:'")
    join: str = Field(" ", description="stands between prefix and answer")
    drawn_by: str = Field("", description="text that draws the order of options together with the item's id")
    draws: Literal["options", "labels"] = Field(
        "options", description="what is drawn: options to show, or their labels"
    )

    def label_texts(self, options: Sequence[str]) -> Sequence[str]:
        """Return the labels, first to last, for some options."""
        if self.labels == "options":
            return options
        return LABELS[self.labels] if isinstance(self.labels, str) else self.labels

    def facts(self) -> dict[str, Any]:
        """Return what decides its prompts; a field that earlier versions did not have only where it is used."""
        return self.model_dump(exclude=None if self.system else {"system"})


class WordingList(_Dumped):
    """The wordings of one formulation."""

    option: str = Field("{label}. {option}", description="how an option is listed (mcf)")
    separator: str = Field("\n", description="stands between two options (mcf)")
    lines: list[str] = Field([], description="what {line1} and {line2} leave off: [Country, Story] for 'Country: ...'")
    countries: dict[str, str] = Field({}, description="what {country} is for a country, where not by the spelling")
    spelling: Literal["phrase", "snake_case"] = Field("phrase", description="the United Kingdom, or united_kingdom")
    wordings: list[Wording] = Field(min_length=1)

    def facts(self) -> dict[str, Any]:
        """Return what decides its prompts."""
        own = self.model_dump(exclude={"wordings"})
        return own | {"wordings": [wording.facts() for wording in self.wordings]}


class Template(BaseModel):
    """The text that turns a question into a prompt, in each formulation."""

    model_config = ConfigDict(extra="forbid")

    mcf: WordingList | None = None
    cf: WordingList | None = None
    short: WordingList | None = None


GROUP = "culnig.templates"
"""Entry points of templates: each loads a `Template`, or the path of a YAML file."""


def load_template(name: str) -> Template:
    """Return a template: one of culnig or of an installed package by its name, or a YAML file by its path.

    `name#wording` is the template with that wording alone in mcf.

    Raises:
        UsageError: the template does not exist.
        DataError: the file is not a template; the message says which field is wrong.
    """
    base, found, wording = name.rpartition("#")
    if found and not Path(name).is_file():
        return _with_one(load_template(base), wording, name)
    is_file = name.endswith((".yaml", ".yml")) and Path(name).is_file()
    return _load(name, Path(name).stat().st_mtime_ns if is_file else 0)


def _with_one(template: Template, wording: str, name: str) -> Template:
    chosen = [each for each in (template.mcf.wordings if template.mcf else []) if each.id == wording]
    if not template.mcf or not chosen:
        raise UsageError(f"the prompt template '{name}' has no such wording in mcf")
    return template.model_copy(update={"mcf": template.mcf.model_copy(update={"wordings": chosen})})


@cache
def _load(name: str, _written: int) -> Template:
    """Find a template, once for each state of its file."""
    own = resources.files("culnig.prompts") / "templates" / f"{name}.yaml"
    if own.is_file():
        return _parse(name, own)
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if name in installed:
        loaded = installed[name].load()
        return loaded if isinstance(loaded, Template) else _parse(name, Path(loaded))
    if Path(name).is_file():
        return _parse(name, Path(name))
    have = ", ".join(template_names())
    raise UsageError(f"no prompt template '{name}'; there are {have}, or name a YAML file")


def template_names() -> list[str]:
    """Return the names of all templates that have one."""
    folder = resources.files("culnig.prompts") / "templates"
    own = [path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml")]
    return sorted({*own, *(point.name for point in entry_points(group=GROUP))})


def _parse(name: str, source: Any) -> Template:
    """Read a template from a file of the package or of the user."""
    try:
        return Template.model_validate(parse_yaml(source.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (NotParsed, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{name}: not YAML: {' '.join(str(error).split())}") from error
