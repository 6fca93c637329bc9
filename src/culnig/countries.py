"""One table of the countries and regions: canonical name, ISO code, spellings, language, cultural cluster.

Everything that reads a country name goes through `resolve`; nothing else in the package knows a spelling.
Clusters are those of the Inglehart-Welzel cultural map (World Values Survey, wave 7, 2023).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from culnig.errors import UsageError


@dataclass(frozen=True)
class Country:
    """One country or region.

    Attributes:
        name: canonical name, as it stands in scores, neuron sets and reports.
        iso: ISO 3166-1 alpha-3 code; for a region, the ISO 3166-2 code.
        phrase: the name inside an English sentence ("the United Kingdom").
        language: BCP-47 code of the language BLEnD asks in.
        cluster: Inglehart-Welzel cluster.
        stems: lower-case beginnings of words that give the country away (name, demonym).
        aliases: other spellings met in benchmarks.
        kin: places of the same culture, whose answers are never offered as wrong ones.
    """

    name: str
    iso: str
    phrase: str
    language: str
    cluster: str
    stems: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    kin: tuple[str, ...] = ()


def _c(
    name: str, iso: str, language: str, cluster: str, stems: str, aliases: str = "", phrase: str = "", kin: str = ""
) -> Country:
    """A row of the table; lists are separated by bars."""

    def split(text: str) -> tuple[str, ...]:
        return tuple(part for part in text.split("|") if part)

    return Country(name, iso, phrase or name, language, cluster, split(stems), split(aliases), split(kin))


COUNTRIES: tuple[Country, ...] = (
    # BLEnD's sixteen
    _c("Algeria", "DZA", "ar", "African-Islamic", "algeria", "DZ"),
    _c("Assam", "IN-AS", "as", "West & South Asia", "assam", "AS", kin="India"),
    _c("Azerbaijan", "AZE", "az", "West & South Asia", "azerbaijan|azeri", "AZ"),
    _c("China", "CHN", "zh", "Confucian", "china|chinese", "CN"),
    _c("Ethiopia", "ETH", "am", "African-Islamic", "ethiopia", "ET"),
    _c("Greece", "GRC", "el", "Orthodox Europe", "greece|greek|hellenic", "GR"),
    _c("Indonesia", "IDN", "id", "West & South Asia", "indonesia", "ID", kin="West Java"),
    _c("Iran", "IRN", "fa", "African-Islamic", "iran|persia", "IR"),
    _c("Mexico", "MEX", "es", "Latin America", "mexic", "MX"),
    _c("Nigeria", "NGA", "ha", "African-Islamic", "nigeria", "Northern Nigeria|NG|Northern_Nigeria"),
    _c("North Korea", "PRK", "ko", "Confucian", "korea", "KP|DPRK", kin="South Korea"),
    _c("South Korea", "KOR", "ko", "Confucian", "korea", "KR|Republic of Korea|Korea South", kin="North Korea"),
    _c("Spain", "ESP", "es", "Catholic Europe", "spain|spanish", "ES"),
    _c(
        "UK", "GBR", "en", "English-Speaking", "united kingdom|britain|british|england|english",
        "GB|United Kingdom|Great Britain|Britain", "the United Kingdom",
    ),
    _c(
        "USA", "USA", "en", "English-Speaking", "united states|america",
        "US|United States|United States of America", "the United States",
    ),
    _c("West Java", "ID-JB", "su", "West & South Asia", "java|sunda", "JB", kin="Indonesia"),
    # further countries of `everyday`
    _c("Brazil", "BRA", "pt", "Latin America", "brazil", "BR"),
    _c("France", "FRA", "fr", "Catholic Europe", "france|french", "FR"),
    _c("Germany", "DEU", "de", "Protestant Europe", "german", "DE"),
    _c("India", "IND", "hi", "West & South Asia", "india|hindi", "IN", kin="Assam"),
    _c("Italy", "ITA", "it", "Catholic Europe", "ital", "IT"),
    _c("Japan", "JPN", "ja", "Confucian", "japan", "JP"),
    _c("Russia", "RUS", "ru", "Orthodox Europe", "russia", "RU|Russian Federation"),
    _c("Turkey", "TUR", "tr", "African-Islamic", "turkey|turkish|turkiye", "TR|Turkiye|Türkiye"),
)  # fmt: skip

BLEND: tuple[str, ...] = tuple(country.name for country in COUNTRIES[:16])
"""BLEnD's sixteen countries and regions."""

TARGETS: tuple[str, ...] = ("China", "Indonesia", "Iran", "Mexico", "South Korea", "Spain", "UK", "USA")
"""The paper's eight countries with culture-specific neurons."""


def _key(spelling: str) -> str:
    return re.sub(r"[\s_\-.]+", "", spelling).casefold()


@lru_cache(maxsize=1)
def _index() -> dict[str, Country]:
    index: dict[str, Country] = {}
    for country in COUNTRIES:
        for spelling in (country.name, country.iso, country.phrase, *country.aliases):
            index[_key(spelling)] = country
    return index


def find(spelling: str) -> Country | None:
    """The country of a spelling (case, blanks, dashes and underscores do not count), or None."""
    return _index().get(_key(spelling))


def resolve(spelling: str) -> Country:
    """The country of a spelling.

    Raises:
        UsageError: unknown; the message offers the nearest names.
    """
    country = find(spelling)
    if country is None:
        import difflib

        near = difflib.get_close_matches(spelling, [c.name for c in COUNTRIES], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "known: " + ", ".join(c.name for c in COUNTRIES)
        raise UsageError(f"unknown country '{spelling}'; {hint}")
    return country


def canonical(spelling: str) -> str:
    """The canonical name where the spelling is known, else the spelling itself (a user's own group name)."""
    country = find(spelling)
    return country.name if country else spelling
