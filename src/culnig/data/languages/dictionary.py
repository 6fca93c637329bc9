"""simplemma: lemmas from dictionaries, for many languages that write blanks between words."""

from __future__ import annotations

from culnig.data.languages.base import ANALYSERS, Reading, line_of
from culnig.data.languages.normalising import fold, words

_AND_TO = "وفبكل"
"""Arabic particles of one letter, written together with the word they stand before."""


@ANALYSERS.register(
    "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "hi", "hu", "hy", "id", "is", "it", "lt", "lv",
    "mk", "ms", "nl", "pl", "pt", "ro", "ru", "sk", "sq", "sv", "sw", "tl", "tr", "uk",
)  # fmt: skip
class Dictionary:
    """Words, and their dictionary forms."""

    package = "simplemma"

    def __init__(self, language: str) -> None:
        import simplemma

        self._language = language
        self._lemmatize = simplemma.lemmatize

    def __call__(self, text: str) -> Reading:
        found = words(text)
        return Reading(line_of(map(fold, found)), line_of(fold(self.lemma(word)) for word in found))

    def lemma(self, word: str) -> str:
        """The dictionary form; the word itself where it is unknown."""
        return self._lemmatize(word, lang=self._language)


@ANALYSERS.register("ar")
class Arabic(Dictionary):
    """The same, with the article and the particles before it taken off first."""

    def lemma(self, word: str) -> str:
        bare = word.removeprefix("ال")
        if bare == word and word[:1] in _AND_TO:
            rest = word[1:]
            bare = rest.removeprefix("ال") if rest.startswith("ال") else word
            bare = word.removeprefix("لل") if word.startswith("لل") else bare
        return super().lemma(bare if len(bare) > 1 else word)
