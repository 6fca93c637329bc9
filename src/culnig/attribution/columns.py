"""What scoring keeps of every prompt of a job, as arrays of a few bytes a prompt."""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

from culnig.data import Item
from culnig.passes.forward import batch_starts
from culnig.prompts import Encoded

Terms = tuple[tuple[float, ...], tuple[float, ...]]
"""Weights w and offsets o of a prompt's options: the calibrated log-probability is w * log P - o."""


class FlatTerms(Sequence[Terms]):
    """The terms of many prompts as numbers side by side."""

    def __init__(self) -> None:
        self._values, self._stops = array("d"), array("q", [0])

    def append(self, terms: Terms) -> None:
        """Add a prompt's terms."""
        for part in terms:
            self._values.extend(part)
        self._stops.append(len(self._values))

    def __len__(self) -> int:
        return len(self._stops) - 1

    @overload
    def __getitem__(self, index: int) -> Terms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Terms]: ...
    def __getitem__(self, index: int | slice) -> Terms | list[Terms]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        values = tuple(self._values[self._stops[number] : self._stops[number + 1]])
        return values[: len(values) // 2], values[len(values) // 2 :]


class Columns:
    """One value a prompt, in the order of the prompts; filled by `add`."""

    def __init__(self, encoded: Iterable[Encoded] = ()) -> None:
        self._countries: dict[str, int] = {}
        self._country, self._gold, self._length, self._tokens, self._answers = (array("i") for _ in range(5))
        self._control, self._in_context = bytearray(), bytearray()
        self._question, self._item = array("Q"), array("Q")
        self.add(encoded)

    def add(self, encoded: Iterable[Encoded]) -> None:
        """Append prompts."""
        for e in encoded:
            self._country.append(self._countries.setdefault(e.item.country, len(self._countries)))
            self._gold.append(e.gold)
            self._length.append(len(e.prompt_ids) + sum(len(answer) - 1 for answer in e.answer_ids))
            self._tokens.append(len(e.prompt_ids))
            self._answers.append(len(e.answer_ids))
            self._control.append(e.item.control)
            self._in_context.append(e.in_context)
            self._question.append(digest_of(question_id(e.item)))
            self._item.append(digest_of(f"{e.item.benchmark}\0{e.item.id}"))

    def __len__(self) -> int:
        return len(self._gold)

    @property
    def groups(self) -> list[str]:
        """The countries, sorted."""
        return sorted(self._countries)

    @property
    def group_of(self) -> np.ndarray:
        """The number of each prompt's country among the groups, int64 [P]."""
        place = {group: number for number, group in enumerate(self.groups)}
        return np.array([place[country] for country in self._countries], dtype=np.int64)[np.array(self._country)]

    @property
    def gold(self) -> list[int]:
        """The index of each prompt's right answer."""
        return self._gold.tolist()

    @property
    def control(self) -> np.ndarray:
        """Whether each prompt's item is a control, bool [P]."""
        return np.array(self._control, dtype=bool)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each prompt with its answers, as `passes.forward.Row` counts them, int32 [P]."""
        return np.array(self._length)

    @property
    def tokens(self) -> np.ndarray:
        """Tokens of each prompt alone, int32 [P]."""
        return np.array(self._tokens)

    @property
    def answers(self) -> np.ndarray:
        """The number of each prompt's answers, int32 [P]."""
        return np.array(self._answers)

    @property
    def in_context(self) -> bool:
        """Whether all answers were tokenised in their place."""
        return all(self._in_context)

    @property
    def questions(self) -> np.ndarray:
        """A number of each prompt's question: its id without the number of its option draw, uint64 [P]."""
        return np.array(self._question)

    @property
    def items(self) -> np.ndarray:
        """A number of each prompt's item, by benchmark and id, uint64 [P]."""
        return np.array(self._item)


class KeyBatches(Sequence[list[int]]):
    """Batches of prompts by their numbers, 4 bytes a prompt.

    They are those of `passes.forward.batches` within each part of the prompts: of similar length, long ones first, and of
    at most `token_budget` padded tokens unless a single prompt has more.
    """

    def __init__(self, order: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> None:
        self._order, self._starts, self._stops = order, starts, stops

    @classmethod
    def of(
        cls, lengths: np.ndarray, keys: Sequence[int] | np.ndarray, parts: Sequence[int], token_budget: int
    ) -> KeyBatches:
        """Make batches.

        Args:
            lengths: [P], tokens of each prompt.
            keys: the numbers of the prompts that are wanted, ascending.
            parts: the number of each part's first prompt, and P; no batch crosses a part.
            token_budget: padded tokens a batch.
        """
        keys, order, starts = np.asarray(keys, dtype=np.int32), [], array("q")
        for first, stop in itertools.pairwise(np.searchsorted(keys, parts).tolist()):
            part = keys[first:stop]
            part = part[np.argsort(-lengths[part], kind="stable")]
            starts.extend(first + start for start in batch_starts(lengths[part].tolist(), token_budget))
            order.append(part)
        begun = np.array(starts, dtype=np.int64)
        return cls(np.concatenate(order), begun, np.append(begun[1:], len(keys)))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> KeyBatches: ...
    def __getitem__(self, index: int | slice) -> list[int] | KeyBatches:
        if isinstance(index, slice):
            return KeyBatches(self._order, self._starts[index], self._stops[index])
        return self._order[self._starts[index] : self._stops[index]].tolist()


def question_id(item: Item) -> str:
    """An item's id without the number of its option draw."""
    return item.id.removesuffix(f"/{item.variant}") if item.variant else item.id


def digest_of(text: str) -> int:
    """Return the first 64 bits of a text's SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
