"""kiwipiepy: Korean words without their particles and endings."""

from __future__ import annotations

from typing import Any

from culnig.data.languages.base import ANALYSERS, Reading, line_of
from culnig.data.languages.normalising import fold, tidy, words

_NOMINAL = ("N", "XR", "XP", "SL", "SN", "SH", "MM")
_VERBAL = ("VV", "VA", "MA")


@ANALYSERS.register("ko")
class Korean:
    """Words between blanks; the lemma of one is its stem: the noun before particles, a verb's dictionary form."""

    package = "kiwipiepy"

    def __init__(self, language: str) -> None:
        from kiwipiepy import Kiwi

        self._kiwi = Kiwi(num_workers=1)

    def __call__(self, text: str) -> Reading:
        found = words(text)
        stems = self._stems(" ".join(words(tidy(text))))
        return Reading(line_of(map(fold, found)), line_of(fold(stem) for stem in stems))

    def _stems(self, text: str) -> list[str]:
        by_word: dict[int, list[Any]] = {}
        for token in self._kiwi.tokenize(text):
            by_word.setdefault(token.word_position, []).append(token)
        return [_stem(tokens, text) for tokens in by_word.values()]


def _stem(tokens: list[Any], text: str) -> str:
    """Nouns as they are written, up to the last one; else the first verb's or adverb's dictionary form."""
    nominal = [token for token in tokens if token.tag.startswith(_NOMINAL)]
    if nominal:
        return text[tokens[0].start : max(token.start + token.len for token in nominal)]
    return next((token.lemma for token in tokens if token.tag.startswith(_VERBAL)), "")
