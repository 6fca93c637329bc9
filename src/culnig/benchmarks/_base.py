"""The item, and what a benchmark has to offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from culnig.registry import Registry


@dataclass(frozen=True, slots=True)
class Item:
    """One question, or one ready-made prompt.

    Attributes:
        id: unique within its data set (prompt wordings of one item share the id).
        benchmark: name of the benchmark.
        country: the group that scores are summed by; canonical where it is a country, any text otherwise.
        question: what is asked; empty for a control.
        options: the answers to choose from.
        answer: index of the gold option; -1 where there are none.
        topic: topic within the benchmark.
        variant: which draw of options.
        control: clamp this item's scores at 0 from below (METHOD section 3).
        prompt: ready-made prompt; if set, question and templates are not used.
        target: the gold answer's text for a ready-made prompt.
        template: name of the prompt template that renders it.
    """

    id: str
    benchmark: str
    country: str
    question: str = ""
    options: tuple[str, ...] = ()
    answer: int = -1
    topic: str = ""
    variant: str = ""
    control: bool = False
    prompt: str | None = None
    target: str | None = None
    template: str = "question"

    @property
    def gold(self) -> str:
        """Text of the gold answer."""
        if self.target is not None:
            return self.target
        return self.options[self.answer]


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a benchmark, and what it is for; the `default` one is meant where no split is named."""

    name: str
    description: str
    default: bool = False


class Benchmark(Protocol):
    """What a file in this folder registers."""

    description: str
    """One line for `culnig data list`."""
    source: str
    """Where the rows come from, and their licence."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """Its parts."""
        ...

    def load(self, split: str, *, seed: int) -> list[Item]:
        """Items of a split, in a fixed order; the same seed gives the same items on every machine."""
        ...


BENCHMARKS: Registry[Benchmark] = Registry("benchmark", "culnig.benchmarks", "culnig.benchmarks")
