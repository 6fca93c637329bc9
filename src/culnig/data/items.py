"""The item, and the interface of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from culnig.registry import Registry


class Answer(NamedTuple):
    """An answer that counts as right to a question without options.

    Attributes:
        texts: its spellings in the question's language.
        english: its spellings in English.
        votes: how many people gave it.
    """

    texts: tuple[str, ...]
    english: tuple[str, ...] = ()
    votes: int = 1


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
        variant: which draw of the options it has.
        control: clamp this item's scores at 0 from below (METHOD section 3).
        prompt: ready-made prompt; if set, question and templates are not used.
        target: the gold answer's text for a ready-made prompt.
        prefix: the beginning of the answer to a ready-made prompt, for example `{"answer_choice":"`.
        template: name of the prompt template that renders it.
        shuffle: whether the options are listed in an order drawn for each prompt wording (mcf).
        scale: lowest and highest number, if the options are the steps of a numeric scale in order.
        answers: all answers that count as right, most votes first; for a short answer, which has no options.
        language: BCP-47 code of the language that a short answer is given in.
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
    prefix: str = ""
    template: str = "question"
    shuffle: bool = False
    scale: tuple[int, int] | None = None
    answers: tuple[Answer, ...] = ()
    language: str = ""

    @property
    def gold(self) -> str:
        """The text of the gold answer."""
        if self.target is not None:
            return self.target
        if self.answers:
            return (*self.answers[0].texts, *self.answers[0].english)[0]
        return self.options[self.answer]


@dataclass
class Account:
    """The source of items, and what became of each row that was read.

    Attributes:
        source: file, folder or hub id.
        rows: rows read.
        left_out: reason -> number of rows that gave no item.
        notes: other counts worth knowing.
    """

    source: str
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, rows: int = 1) -> None:
        """Count rows that give no item, with the reason."""
        if rows:
            self.left_out[reason] = self.left_out.get(reason, 0) + rows

    def note(self, what: str) -> None:
        """Count something worth knowing about a row that gives an item."""
        self.notes[what] = self.notes.get(what, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        return {"source": self.source, "rows": self.rows, "left_out": dict(self.left_out), "notes": dict(self.notes)}

    def __str__(self) -> str:
        out = "".join(f"; {count:,} left out: {reason}" for reason, count in self.left_out.items())
        notes = "".join(f"; {what}: {count:,}" for what, count in self.notes.items())
        return f"{self.rows:,} rows of {self.source}{out}{notes}"


class ItemList(list[Item]):
    """Items with the account of the rows they were made from; other code uses it as a plain list."""

    def __init__(self, items: Iterable[Item], account: Account) -> None:
        super().__init__(items)
        self.account = account


def account_of(items: Iterable[Item]) -> dict[str, Any] | None:
    """Return the account that came with items as a dictionary; None for items without one."""
    account = getattr(items, "account", None)
    return account.to_dict() if account else None


@dataclass(frozen=True, slots=True)
class Split:
    """A part of a benchmark, and its purpose; the `default` one is taken if no split is named."""

    name: str
    description: str
    default: bool = False


class Benchmark(Protocol):
    """The object that a file in `culnig.benchmarks` registers."""

    description: str
    """One line for `culnig data list`."""
    source: str
    """The origin of the rows, and their licence."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """The parts of the benchmark."""
        ...

    def load(self, split: str, *, seed: int) -> list[Item]:
        """Return the items of a split in a fixed order; the same seed gives the same items on every machine."""
        ...


BENCHMARKS: Registry[Benchmark] = Registry("benchmark", "culnig.benchmarks", "culnig.benchmarks")
