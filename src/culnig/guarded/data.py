"""What a guarded selection looks at: items to search by, others to check by, and texts that the model wrote itself."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from culnig.attribution.columns import question_id
from culnig.data import Item
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.passes.generation import sample_texts
from culnig.prompts.calibration import prior_items

OWN_TEXTS = 96
"""Texts that are sampled from the model where none are given; half of them are for checking."""
OWN_TOKENS = 96
MIXING = 0x9E3779B1
"""An odd number near 2^32 by the golden ratio, for multiplicative hashing (Knuth, TAOCP 3, 6.4)."""
HALF = 1_000_003
"""Added to the seed where a half is drawn, so that a half has nothing to do with the split into search and check."""


@dataclass(frozen=True)
class Part:
    """Items of one data set: those that rounds rank by, and those that rounds are checked on; no question is in both."""

    search: list[Item]
    check: list[Item]


@dataclass(frozen=True)
class GuardedData:
    """The development data of a guarded selection; test sets have no place here.

    Attributes:
        culture: what should fall.
        controls: what culture is contrasted with, for ranking alone.
        protect: name -> what should stay.
        texts: texts to rank by and to check by.
    """

    culture: Part
    controls: list[Item]
    protect: dict[str, Part]
    texts: tuple[list[str], list[str]]


def guarded_data(
    lm: LanguageModel,
    culture: Iterable[Item],
    *,
    controls: Iterable[Item] | str = (),
    protect: Mapping[str, Iterable[Item]] | None = None,
    texts: Sequence[str] | None = None,
    checked: int = 240,
    seed: int = 0,
) -> GuardedData:
    """Split the development data into a part to search by and a part to check by.

    A third of the culture questions and half of each protected set's are for checking; a hash of the question decides.

    Args:
        lm: the model, which writes the texts where none are given.
        culture: items of what should fall.
        controls: items to contrast them with; "countries" asks the same questions about other countries.
        protect: name -> items of what should stay.
        texts: texts whose loss should stay; None samples them from the model, so no data are needed in any language.
        checked: items of each data set to check by, at most.
        seed: seed of the samples.

    Raises:
        UsageError: a data set without enough questions to split, or too few texts.
    """
    parts = {name: _split(name, list(items), 0.5, checked, seed) for name, items in (protect or {}).items()}
    main = _split("culture", list(culture), 1 / 3, checked, seed)
    if controls == "countries":
        twins = [asked[0] for item in main.search if (asked := prior_items(item, "contrast"))]
        if not twins:
            raise UsageError("no culture item names its country, so none can be asked about another; give controls")
        contrast = twins
    elif isinstance(controls, str):
        raise UsageError(f"controls {controls!r}: give items, or 'countries'")
    else:
        wanted = {question_id(item) for item in main.search}
        given = list(controls)
        paired = [item for item in given if question_id(item) in wanted]
        contrast = paired or given
    own = list(texts) if texts is not None else sample_texts(lm, OWN_TEXTS, OWN_TOKENS, seed=seed)
    if len(own) < 4:
        raise UsageError(f"{len(own)} texts are too few to search and to check by; give four at least")
    return GuardedData(main, contrast, parts, (own[0::2], own[1::2]))


def half_of(items: Iterable[Item], seed: int) -> list[Item]:
    """Return the items of a random half of the questions; a seed gives the same half always."""
    return [item for item in items if _unit(question_id(item), HALF + seed) < 0.5]


def name_countries(items: Iterable[Item]) -> bool:
    """Return whether any item can be asked about another country, so that controls can be `countries`."""
    return any(prior_items(item, "contrast") for item in items)


def _split(name: str, items: list[Item], share: float, checked: int, seed: int) -> Part:
    """Split by question, so that the draws of a question stay together."""
    check = [item for item in items if _unit(question_id(item), seed) < share]
    search = [item for item in items if _unit(question_id(item), seed) >= share]
    if not check or not search:
        raise UsageError(f"{name}: {len(items)} items are too few to search and to check by; give more")
    return Part(search, sample(check, checked, seed))


def sample(items: list[Item], number: int, seed: int) -> list[Item]:
    """Return a seeded sample, in the items' order."""
    if len(items) <= number:
        return items
    chosen = np.random.default_rng(seed).choice(len(items), size=number, replace=False)
    return [items[i] for i in sorted(chosen)]


def _unit(text: str, seed: int) -> float:
    """Return a number in [0, 1) that a text and a seed decide."""
    # CRC-32 is linear: with the seed in the text, all seeds would give one split or its complement.  A product mixes.
    return zlib.crc32(f"0/{text}".encode()) * (2 * seed * MIXING + 1) % 2**32 / 2**32
