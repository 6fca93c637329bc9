"""A first config: four answers become a commented YAML file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from culnig.data import BENCHMARKS
from culnig.data.user_data import read_user_benchmark
from culnig.errors import UsageError
from culnig.models.places import check_place
from culnig.studies import RunSettings

GOALS = {
    "find": ["culture_general"],
    "countries": ["culture_general", "culture_specific"],
    "where": ["culture_general", "culture_specific", "layers", "modules"],
}
"""What a user wants to know -> the studies that answer it."""
GOAL_TEXTS = {
    "find": "one set of neurons, suppressed and compared with random sets",
    "countries": "the same, and a set for each country",
    "where": "the same, and where in the model they are",
}
SIZES = {"quick": (30, 5), "full": (None, 10)}
"""How thorough -> items of a country (None is all), random sets."""
SPLITS = ("neur", "ctrl", "test")
ASKED = ("name", "model", "identify", "test", "studies", "random_controls")


@dataclass(frozen=True)
class Answers:
    """The four answers.

    Attributes:
        model: alias, GGUF file, folder or hub id.
        questions: a benchmark's name, or the YAML file of a data set of one's own; it has the splits neur, ctrl and test.
        goal: a key of `GOALS`.
        size: a key of `SIZES`.
    """

    model: str = "smollm2-135m"
    questions: str = "everyday"
    goal: str = "countries"
    size: str = "quick"

    def check(self) -> None:
        """Check that the model and the splits can be found.

        Raises:
            UsageError: a goal, size, model, benchmark or split that does not exist.
        """
        if self.goal not in GOALS:
            raise UsageError(f"unknown goal '{self.goal}'; there are {', '.join(GOALS)}")
        if self.size not in SIZES:
            raise UsageError(f"unknown size '{self.size}'; there are {', '.join(SIZES)}")
        check_place(self.model)
        own = self.questions.endswith((".yaml", ".yml"))
        found = read_user_benchmark(self.questions) if own else BENCHMARKS.get(self.questions)
        have = [split.name for split in found.splits]
        if lacking := [name for name in SPLITS if name not in have]:
            raise UsageError(
                f"{self.questions} has no split {', '.join(lacking)} (it has {', '.join(have)}): neurons are found on neur and"
                " its controls ctrl, and tested on test"
            )


def starting_config(answers: Answers, name: str = "my-run") -> str:
    """Return the text of a config; what was not asked stands below as comments with its default.

    Raises:
        UsageError: as `Answers.check`.
    """
    answers.check()
    limit, controls = SIZES[answers.size]
    part = (f", limit_per_country: {limit}" if limit else "") + (", draws: 1" if limit else "")
    lines = [
        "# A run of culnig:  culnig plan THIS.yaml (time and memory),  culnig run THIS.yaml --out runs/NAME",
        "# `culnig run` goes on where it was interrupted.  Settings below that begin with # have their defaults.",
        f"name: {name}",
        "",
        "# The model: an alias (culnig models list), a GGUF file, a folder, or a hub id.",
        f"model: {{name: {_yaml(answers.model)}}}",
        "",
        "# What neurons are found on: questions about culture, the same without the question, and passages that name countries.",
        "identify:",
        f"  neur: {{items: {_yaml(f'{answers.questions}:neur')}{part}}}",
        f"  ctrl: {{items: {_yaml(f'{answers.questions}:ctrl')}{part}}}",
        '  crc: {items: "country_rc:neur"}',
        "  # Not in the paper: neurons that plain language needs are left out.  Delete the line to do without.",
        '  ability: {items: "ability:dev"}',
        "",
        "# What is tested.  culture should fall; ability and facts should stay; surface guards the reading of country names.",
        "test:",
        f"  - {{role: culture, items: {_yaml(f'{answers.questions}:test')}{part}}}",
        "  - {role: ability, items: ability}",
        '  - {role: facts, items: "facts:test"}',
        '  - {role: surface, items: "country_rc:test"}',
        "",
        f"# The questions to the run: {GOAL_TEXTS[answers.goal]}.  All studies: culnig run --help.",
        f"studies: [{', '.join(GOALS[answers.goal])}]",
        f"random_controls: {controls}  # random sets of the same modules and layers to compare with",
        "",
        "# Further settings, with their defaults:",
        *_further(RunSettings),
    ]
    return "\n".join(lines) + "\n"


def _further(kind: type[BaseModel]) -> list[str]:
    """Return a commented line for each setting that was not asked for."""
    lines = []
    for name, field in kind.model_fields.items():
        if name in ASKED:
            continue
        default = field.get_default(call_default_factory=True)
        if default is PydanticUndefined:
            continue
        told = f"  # {field.description}" if field.description else ""
        lines.append(f"# {name}: {_yaml(default)}{told}")
    return lines


def _yaml(value: Any) -> str:
    """Return a value in YAML's flow form, which JSON is."""
    return json.dumps(value.model_dump(mode="json") if isinstance(value, BaseModel) else value, ensure_ascii=False)
