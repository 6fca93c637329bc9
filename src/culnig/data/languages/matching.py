"""Containment: does a text hold an answer, as whole words or as their lemmas?"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.metadata import version

from culnig.data.languages.base import ANALYSERS, Analyser, Line, Reading, line_of
from culnig.data.languages.normalising import fold, words

ARTICLES = {
    "en": "a an the",
    "es": "el la los las un una unos unas",
    "el": "ο η το οι τα τον την τη του της ενας μια ενα",
    "de": "der die das ein eine",
    "fr": "le la les un une des",
    "it": "il lo la i gli le un una",
    "pt": "o a os as um uma",
}
"""Words that an answer may begin with and a text need not."""


class Plain:
    """Words as they are written, folded; for languages without a library."""

    package = ""

    def __init__(self, language: str) -> None:
        pass

    def __call__(self, text: str) -> Reading:
        line = line_of(map(fold, words(text)))
        return Reading(line, line)


class Matcher:
    """Says whether texts of one language hold answers.

    Attributes:
        language: its code.
        used: the library and its version, or "plain".
        note: why matching is plain; empty where a library is used.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.note = ""
        kind = ANALYSERS.find(language)
        self._read: Analyser = Plain(language)
        if kind is None:
            self.note = "no library for this language"
        else:
            try:
                self._read = kind(language)
            except ImportError:
                self.note = f"{kind.package} is not installed: pip install 'culnig[languages]'"
        self.used = "plain" if self.note else f"{self._read.package} {version(self._read.package)}"
        self._articles = frozenset(map(fold, ARTICLES.get(language, "").split()))
        self.read = lru_cache(maxsize=4096)(self._read)

    def find(self, text: str, answers: Iterable[str]) -> str | None:
        """The first of some spellings that the text holds, or None."""
        found = self.read(text)
        return next((answer for answer in answers if holds(found, self.read(self._bare(answer)))), None)

    def _bare(self, answer: str) -> str:
        """An answer without its leading article, unless nothing else is left."""
        first, *rest = words(answer) or [""]
        return " ".join(rest) if rest and fold(first) in self._articles else answer


@cache
def matcher(language: str) -> Matcher:
    """The matcher of a language, made once."""
    return Matcher(language)


def holds(text: Reading, answer: Reading) -> bool:
    """Whether the answer stands in the text: its words or its lemmas, in order, from the start of a word to the end of one."""
    return any(_in(part, line) for part in set(answer) for line in set(text))


def _in(part: Line, line: Line) -> bool:
    at = line.text.find(part.text) if part.text else -1
    while at >= 0:
        if at in line.starts and at + len(part.text) in line.ends:
            return True
        at = line.text.find(part.text, at + 1)
    return False
