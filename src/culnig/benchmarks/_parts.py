"""Benchmarks of one part: their halves, and what many of their rows have in common.

A benchmark of culture is halved as in the paper: the first half of each country identifies neurons, and the second
tests.  A benchmark of ability gets a half to develop on, such as the data that guarded selection protects.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

from culnig.data.items import Item, Split
from culnig.data.options import first_half
from culnig.data.sources import External, Source
from culnig.data.tables import Row
from culnig.errors import DataError

CULTURE = (
    Split("all", "every row: to evaluate", default=True),
    Split("neur", "first half of each country's rows: to identify neurons"),
    Split("ctrl", "the items of `neur` without the question: control"),
    Split("test", "second half of each country's rows: to evaluate where `neur` was used"),
)
ABILITY = (
    Split("all", "every row: to evaluate", default=True),
    Split("dev", "first half of each topic's rows: to protect, to choose settings"),
    Split("test", "second half of each topic's rows: to evaluate where `dev` was used"),
)
_PARTS = {"all", "neur", "ctrl", "dev", "test"}


def asked(splits: Sequence[Split]) -> tuple[Split, ...]:
    """Return the splits, and each once more as a question with listed options, which mcf needs."""
    listed = (Split(f"asked-{s.name}", f"`{s.name}` as a question with its options, for mcf") for s in splits)
    return (*splits, *listed)


class Parted(External):
    """Base of the benchmarks of one part.  A split is a part (`neur`), a form (`zh`), or a part of a form (`asked-dev`)."""

    splits: tuple[Split, ...] = CULTURE

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        form, _, part = split.rpartition("-")
        if part not in _PARTS:
            form, part = split, "all"
        made = list(self.made(form, seed, source))
        for item, first in zip(made, first_half([self.group(item) for item in made]), strict=True):
            if part != "all" and first == (part == "test"):
                source.account.leave_out("the other half")
            elif part == "ctrl":
                yield dataclasses.replace(item, question="", control=True)
            else:
                yield item

    def group(self, item: Item) -> Hashable:
        """Return the group that is halved."""
        return item.topic if item.country == "none" else item.country

    @abstractmethod
    def made(self, form: str, seed: int, source: Source) -> Iterable[Item]:
        """Make the items of all rows in a form; leave out the others with a reason in `source.account`."""


def numbered(rows: Iterable[Row]) -> Iterator[tuple[int, Row]]:
    """Yield the rows with their numbers within their table, from 0 on."""
    seen: dict[str, int] = {}
    for row in rows:
        number = seen.get(row.table, 0)
        seen[row.table] = number + 1
        yield number, row


def labelled_choices(row: Row, number: int | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return labels and texts of `choices`: the hub's two parallel lists, or the original list of objects.

    Raises:
        DataError: a choice has no label or no text, or there are not as many as there must be.
    """
    choices = row.get("choices")
    pairs: list[tuple[Any, Any]] = []
    if isinstance(choices, dict):
        labels, texts = choices.get("label"), choices.get("text")
        if isinstance(labels, list | tuple) and isinstance(texts, list | tuple) and len(labels) == len(texts):
            pairs = list(zip(labels, texts, strict=True))
    elif isinstance(choices, list | tuple):
        pairs = [(c.get("label"), c.get("text")) for c in choices if isinstance(c, dict)]
    enough = len(pairs) == number if number else len(pairs) > 1
    if not enough or not all(label and str(text or "").strip() for label, text in pairs):
        wanted = number or "at least two"
        raise DataError(f"{row.where}: 'choices' must hold {wanted} labels with their texts, not {choices!r}")
    return tuple(str(label) for label, _ in pairs), tuple(str(text).strip() for _, text in pairs)


def unnested(row: Row) -> Row:
    """Return the row of AI2's original files with its question's stem and choices as columns; any other as it is."""
    nested = row.get("question")
    if not isinstance(nested, dict):
        return row
    return Row(row.where, row.table, {**row.values, **nested, "question": nested.get("stem")})


def texts(row: Row, column: str, number: int | None = None) -> tuple[str, ...]:
    """Return the texts of a column that holds a list.

    Raises:
        DataError: the value is not a list of texts, one is empty, or there are not as many as there must be.
    """
    value = row.get(column)
    if (
        not isinstance(value, list | tuple)
        or len(value) < 2
        or len(value) != (number or len(value))
        or not all(isinstance(text, str) and text.strip() for text in value)
    ):
        raise DataError(f"{row.where}: '{column}' must hold {number or 'at least two'} texts, not {value!r}")
    return tuple(text.strip() for text in value)


def has_answer(row: Row, column: str, source: Source) -> bool:
    """Return whether a row has an answer (neither empty nor -1); count it as left out if not.

    Raises:
        DataError: the column is missing.
    """
    value = row.get(column)
    known = value is not None and str(value).strip() not in ("", "-1")
    if not known:
        source.account.leave_out("no answer is published")
    return known


def distinct(options: Sequence[str], source: Source) -> bool:
    """Return whether all options differ; count the row as left out if not, because cf cannot tell them apart."""
    different = len(set(options)) == len(options)
    if not different:
        source.account.leave_out("an option stands twice")
    return different
