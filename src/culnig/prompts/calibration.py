"""Calibration: correct an option's log-probability, so that P measures knowledge and not the frequency of words.

With z the calibrated log-probability of an option, P(option) = softmax over the item's options of z:

    none      z = log P(option | prompt)
    length    z = log P(option | prompt) * (mean length of the options / its length), lengths in characters
    pmi       z = log P(option | prompt) - log P(option | the same prompt without the question)
    contrast  z = log P(option | prompt) - mean of log P(option | the same prompt about another country)

`length` orders options as lm-evaluation-harness's `acc_norm` does, and `pmi` as its `acc_mutual_info`.
Sources: Holtzman et al. 2021 (surface form competition) for pmi; METHOD section 11 for contrast.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from culnig.data import Item
from culnig.data.countries import BLEND, Country, find, resolve
from culnig.errors import UsageError

Calibration = Literal["none", "length", "pmi", "contrast"]
CALIBRATIONS: tuple[Calibration, ...] = ("none", "length", "pmi", "contrast")
OTHERS = 3
"""The number of other countries that a question is asked about for `contrast`."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """What calibrates the options of one prompt.

    Attributes:
        lengths: characters of each option; of a label in mcf.
        pmi: log P of each option after the prompt without the question, nats; None if it was not measured or has no
            meaning.
        contrast: mean log P of each option after the prompt about other countries, nats; None as above.
    """

    lengths: tuple[int, ...]
    pmi: tuple[float, ...] | None = None
    contrast: tuple[float, ...] | None = None

    def applied(self, kind: Calibration) -> Calibration:
        """Return the calibration that this prompt gets if `kind` is requested.

        A prompt that names no country gets `pmi` instead of `contrast`.  A ready-made prompt has no separate question
        to remove, so it gets `none` instead of `pmi`.  Results record the applied kind for each row.
        """
        if kind == "contrast" and self.contrast is None:
            kind = "pmi"
        return "none" if kind == "pmi" and self.pmi is None else kind

    def terms(self, kind: Calibration) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the weights w and offsets o of z = w * log P - o, one for each option."""
        ones, zeros = (1.0,) * len(self.lengths), (0.0,) * len(self.lengths)
        applied = self.applied(kind)
        if applied == "length":
            mean = sum(self.lengths) / len(self.lengths)
            return tuple(mean / max(length, 1) for length in self.lengths), zeros
        if applied == "none":
            return ones, zeros
        return ones, (self.pmi if applied == "pmi" else self.contrast) or zeros

    def calibrated(self, logprobs: np.ndarray, kind: Calibration) -> np.ndarray:
        """Return z of each option, float64 [options], from the log-probabilities of the options."""
        weights, offsets = self.terms(kind)
        return np.asarray(logprobs, dtype=float) * weights - offsets


def needed(kind: Calibration) -> tuple[Calibration, ...]:
    """Return the kinds whose offsets a calibration needs; `contrast` falls back on `pmi`."""
    return {"none": (), "length": (), "pmi": ("pmi",), "contrast": ("pmi", "contrast")}[kind]  # type: ignore[return-value]


def measured_for(role: str, kind: Calibration) -> tuple[Calibration, ...]:
    """Return the kinds whose offsets a run measures for a test set; culture needs `contrast` too, for its margin."""
    return ("pmi", "contrast") if role == "culture" and needed(kind) else needed(kind)


def check_calibration(kind: str) -> Calibration:
    """Return the kind, if there is one of that name.

    Raises:
        UsageError: there is no such kind.
    """
    for known in CALIBRATIONS:
        if kind == known:
            return known
    raise UsageError(f"unknown calibration '{kind}'; there are {', '.join(CALIBRATIONS)}")


def prior_items(item: Item, kind: Calibration) -> list[Item]:
    """Return the items whose prompts measure an item's offsets; none if the kind has no meaning for it."""
    if kind == "pmi":
        return [] if item.prompt is not None else [dataclasses.replace(item, question="")]
    if kind == "contrast":
        return [asked for other in _others(item) if (asked := _about(item, other))]
    return []


def _others(item: Item) -> list[Country]:
    """Return other countries for an item's question: three of BLEnD's sixteen, the same for all of its options.

    The order of the sixteen is drawn for the question without its country.  Countries that share a question therefore
    share most of their prompts.
    """
    own = find(item.country)
    if own is None or own.name != item.country:
        return []
    text = item.question if item.prompt is None else item.prompt
    order = random.Random(_pattern(own).sub("{country}", text)).sample(BLEND, len(BLEND))
    return [resolve(name) for name in order if name != own.name and name not in own.kin][:OTHERS]


def _about(item: Item, other: Country) -> Item | None:
    """Return the item about another country; None if its text does not name its own."""
    pattern = _pattern(resolve(item.country))

    def phrase(match: re.Match[str]) -> str:
        return other.phrase[0].upper() + other.phrase[1:] if match[0].startswith("The ") else other.phrase

    if item.prompt is not None:
        changed, count = pattern.subn(phrase, item.prompt)
        return dataclasses.replace(item, prompt=changed) if count else None
    changed, count = pattern.subn(phrase, item.question)
    return dataclasses.replace(item, question=changed) if count else None


@cache
def _pattern(country: Country) -> re.Pattern[str]:
    """Return a pattern of a country's names in a text, with their article.

    Codes of two letters count only if they are English abbreviations (US, UK).
    """
    names = {country.name, country.phrase.removeprefix("the "), *country.aliases}
    spelled = sorted((n for n in names if len(n) > 3 or n in ("US", "UK", "USA")), key=len, reverse=True)
    dotted = [r"U\.S\.A\.", r"U\.S\."] if country.name == "USA" else [r"U\.K\."] if country.name == "UK" else []
    choices = "|".join([*dotted, *map(re.escape, spelled)])
    return re.compile(rf"(?:\b[Tt]he )?(?<!\w)(?:{choices})(?!\w)")


def length_of(answers: Sequence[str]) -> tuple[int, ...]:
    """Return the number of characters of each answer, without the blank that joins it to the prompt."""
    return tuple(len(answer.strip()) for answer in answers)
