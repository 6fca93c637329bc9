"""What a file in this folder registers: an analyser, which cuts a text of a language into words and lemmas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from culnig.registry import Registry


class Line(NamedTuple):
    """Words written together, and where one may begin or end.

    Attributes:
        text: the folded words without blanks, so that "hot dog" and "hotdog" are alike.
        starts, ends: places in `text` where a word begins, and where one ends.
    """

    text: str
    starts: frozenset[int]
    ends: frozenset[int]


class Reading(NamedTuple):
    """A text as it is compared: its words as written, and its lemmas (the same line where none are known)."""

    words: Line
    lemmas: Line


class Analyser(Protocol):
    """Cuts texts of a language; its constructor imports the library and raises ImportError without it."""

    package: str
    """The library's name on PyPI."""

    def __init__(self, language: str) -> None: ...

    def __call__(self, text: str) -> Reading:
        """Read a text."""
        ...


ANALYSERS: Registry[type[Analyser]] = Registry("language", "culnig.data.languages", "culnig.languages")


def line_of(words: Iterable[str]) -> Line:
    """A line of folded words."""
    text, starts, ends = "", set(), set()
    for word in words:
        if word:
            starts.add(len(text))
            text += word
            ends.add(len(text))
    return Line(text, frozenset(starts), frozenset(ends))
