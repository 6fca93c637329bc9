"""hausastemmer: Hausa words without their affixes."""

from __future__ import annotations

from culnig.data.languages.base import ANALYSERS, Reading, line_of
from culnig.data.languages.normalising import fold, words


@ANALYSERS.register("ha")
class Hausa:
    """Words, and their stems."""

    package = "hausastemmer"

    def __init__(self, language: str) -> None:
        import hausastemmer

        self._stem = hausastemmer.stem

    def __call__(self, text: str) -> Reading:
        found = words(text)
        return Reading(line_of(map(fold, found)), line_of(fold(self._stem(word)) for word in found))
