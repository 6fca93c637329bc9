"""jieba: where a Chinese word may begin and end."""

from __future__ import annotations

import logging

from culnig.data.languages.base import ANALYSERS, Line, Reading
from culnig.data.languages.normalising import fold, is_letter, tidy


@ANALYSERS.register("zh")
class Chinese:
    """Words, long ones and the shorter ones of the dictionary within them; there is nothing to lemmatise."""

    package = "jieba"

    def __init__(self, language: str) -> None:
        import jieba

        jieba.setLogLevel(logging.WARNING)
        self._tokenize = jieba.tokenize

    def __call__(self, text: str) -> Reading:
        text = tidy(text)
        squeezed, place = "", []
        for char in text:
            place.append(len(squeezed))
            squeezed += fold(char) if is_letter(char) else ""
        place.append(len(squeezed))
        starts, ends = set(), set()
        for word, start, stop in self._tokenize(text, mode="search"):
            if any(map(is_letter, word)):
                starts.add(place[start])
                ends.add(place[stop])
        line = Line(squeezed, frozenset(starts), frozenset(ends))
        return Reading(line, line)
