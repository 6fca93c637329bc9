"""Plain normalisation, the same for every language: what two spellings of one word have in common."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import groupby

_APOSTROPHES = "'’‘ʼʻ`´"
_JOINERS = "\u200c\u200d"
_NUMBER_GROUPS = re.compile(r"(?<=\d)[.,](?=\d{3}(?!\d))")
_UNMARKED = ("LATIN", "GREEK", "ARABIC")
"""Scripts whose accents and vowel signs are optional; in Indic scripts and Hangul they are letters."""
_SAME = {
    "ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ٱ": "ا", "ە": "ه", "ـ": "",  # Arabic and Persian keyboards
    "ı": "i", "ɓ": "b", "ɗ": "d", "ƙ": "k", "ƴ": "y",  # Azerbaijani, and Hausa typed without hooks
}  # fmt: skip
# Letters of one sound in Amharic, a row of eight orders each, that writers use for one another.
for _from, _to in ((0x1210, 0x1200), (0x1280, 0x1200), (0x1220, 0x1230), (0x12D0, 0x12A0), (0x1340, 0x1338)):
    _SAME |= {chr(_from + order): chr(_to + order) for order in range(8)}


def tidy(text: str) -> str:
    """Compatibility forms composed (NFKC), lower case, apostrophes gone, digit groups joined; accents kept."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return _NUMBER_GROUPS.sub("", "".join(c for c in plain if c not in _APOSTROPHES))


def words(text: str) -> list[str]:
    """The words of a text, tidy but not folded: runs of letters, marks and digits."""
    return ["".join(run) for inside, run in groupby(tidy(text), is_letter) if inside]


def fold(word: str) -> str:
    """A word as it is compared: case, optional accents and interchangeable letters do not count."""
    return "".join(map(_fold_letter, unicodedata.normalize("NFC", word.casefold())))


@lru_cache(maxsize=4096)
def is_letter(char: str) -> bool:
    """Whether a character belongs to a word (Python's own idea of one leaves out Indic vowel signs)."""
    return unicodedata.category(char)[0] in "LMN" or char in _JOINERS


@lru_cache(maxsize=4096)
def _fold_letter(char: str) -> str:
    if char in _JOINERS:
        return ""
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.decimal(char))
    if unicodedata.combining(char):
        # A mark that did not compose: optional where it is an accent, a letter's part elsewhere.
        return "" if unicodedata.name(char, "").startswith(("COMBINING", *_UNMARKED)) else char
    if unicodedata.name(char, "").startswith(_UNMARKED):
        char = "".join(c for c in unicodedata.normalize("NFD", char) if not unicodedata.combining(c))
    return "".join(_SAME.get(c, c) for c in char)
