"""One table of the countries and regions: canonical name, ISO code, spellings, language, cultural cluster.

Every module that reads a country name calls `resolve`; no other module in the package knows a spelling.
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
        phrase: the name as it is used inside an English sentence ("the United Kingdom").
        language: BCP-47 code: the language that BLEnD asks in, or a main language of a place that is not in BLEnD.
        cluster: Inglehart-Welzel cluster; empty for a place that is not on the map.
        stems: lower-case beginnings of words that reveal the country (name, demonym).
        aliases: other spellings that benchmarks use.
        kin: places of the same culture; their answers are never offered as wrong ones.
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
    """Make a row of the table; bars separate the entries of a list."""

    def split(text: str) -> tuple[str, ...]:
        return tuple(part for part in text.split("|") if part)

    return Country(name, iso, phrase or name, language, cluster, split(stems), split(aliases), split(kin))


COUNTRIES: tuple[Country, ...] = (
    # the sixteen countries and regions of BLEnD
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
    # further places of CulturalBench, NormAd and the World Values Survey
    _c("Afghanistan", "AFG", "fa", "West & South Asia", "afghan"),
    _c("Andorra", "AND", "ca", "Catholic Europe", "andorra"),
    _c("Argentina", "ARG", "es", "Latin America", "argentin"),
    _c("Armenia", "ARM", "hy", "Orthodox Europe", "armenia"),
    _c("Australia", "AUS", "en", "English-Speaking", "australia|aussie"),
    _c("Austria", "AUT", "de", "Catholic Europe", "austria"),
    _c("Bangladesh", "BGD", "bn", "West & South Asia", "bangladesh"),
    _c("Bolivia", "BOL", "es", "Latin America", "bolivia"),
    _c("Bosnia and Herzegovina", "BIH", "bs", "Orthodox Europe", "bosnia", "Bosnia"),
    _c("Cambodia", "KHM", "km", "West & South Asia", "cambodia|khmer"),
    _c("Canada", "CAN", "en", "English-Speaking", "canad"),
    _c("Chile", "CHL", "es", "Latin America", "chile"),
    _c("Colombia", "COL", "es", "Latin America", "colombia"),
    _c("Croatia", "HRV", "hr", "Catholic Europe", "croat"),
    _c("Cyprus", "CYP", "el", "Orthodox Europe", "cypr"),
    _c("Czechia", "CZE", "cs", "Catholic Europe", "czech", "Czech Republic", "the Czech Republic"),
    _c("Ecuador", "ECU", "es", "Latin America", "ecuador"),
    _c("Egypt", "EGY", "ar", "African-Islamic", "egypt"),
    _c("Fiji", "FJI", "en", "", "fiji"),
    _c("Guatemala", "GTM", "es", "Latin America", "guatemal"),
    _c("Hong Kong", "HKG", "yue", "Confucian", "hong kong", "Hong Kong SAR"),
    _c("Hungary", "HUN", "hu", "Catholic Europe", "hungar"),
    _c("Iraq", "IRQ", "ar", "African-Islamic", "iraq"),
    _c("Ireland", "IRL", "en", "English-Speaking", "ireland|irish", "Republic of Ireland"),
    _c("Israel", "ISR", "he", "African-Islamic", "israel"),
    _c("Jordan", "JOR", "ar", "African-Islamic", "jordan"),
    _c("Kazakhstan", "KAZ", "kk", "Orthodox Europe", "kazakh"),
    _c("Kenya", "KEN", "sw", "African-Islamic", "kenya"),
    _c("Kyrgyzstan", "KGZ", "ky", "West & South Asia", "kyrgyz"),
    _c("Laos", "LAO", "lo", "West & South Asia", "lao"),
    _c("Lebanon", "LBN", "ar", "African-Islamic", "leban"),
    _c("Libya", "LBY", "ar", "African-Islamic", "libya"),
    _c("Macao", "MAC", "yue", "Confucian", "macau|macao|macanese", "Macau|Macau SAR|Macao SAR"),
    _c("Malaysia", "MYS", "ms", "West & South Asia", "malay"),
    _c("Maldives", "MDV", "dv", "African-Islamic", "maldiv", phrase="the Maldives"),
    _c("Malta", "MLT", "mt", "", "malt"),
    _c("Mauritius", "MUS", "en", "", "mauriti"),
    _c("Mongolia", "MNG", "mn", "Confucian", "mongol"),
    _c("Morocco", "MAR", "ar", "African-Islamic", "morocc"),
    _c("Myanmar", "MMR", "my", "West & South Asia", "myanmar|burm", "Burma"),
    _c("Nepal", "NPL", "ne", "West & South Asia", "nepal"),
    _c("Netherlands", "NLD", "nl", "Protestant Europe", "netherlands|dutch", "Holland", "the Netherlands"),
    _c("New Zealand", "NZL", "en", "English-Speaking", "new zealand|kiwi", "Aotearoa"),
    _c("Nicaragua", "NIC", "es", "Latin America", "nicaragua"),
    _c("North Macedonia", "MKD", "mk", "Orthodox Europe", "macedonia", "Macedonia"),
    _c("Northern Ireland", "GB-NIR", "en", "English-Speaking", "irish|ulster", kin="UK|Ireland"),
    _c("Pakistan", "PAK", "ur", "West & South Asia", "pakistan"),
    _c(
        "Palestine", "PSE", "ar", "African-Islamic", "palestin",
        "Palestinian Territories|State of Palestine|Palestinian Territory",
    ),
    _c("Papua New Guinea", "PNG", "tpi", "", "papua"),
    _c("Peru", "PER", "es", "Latin America", "peru"),
    _c("Philippines", "PHL", "tl", "West & South Asia", "philippin|filipin", phrase="the Philippines"),
    _c("Poland", "POL", "pl", "Catholic Europe", "poland|polish"),
    _c("Portugal", "PRT", "pt", "Catholic Europe", "portug"),
    _c("Puerto Rico", "PRI", "es", "Latin America", "puerto ric"),
    _c("Romania", "ROU", "ro", "Orthodox Europe", "romania"),
    _c("Samoa", "WSM", "sm", "", "samoa"),
    _c("Saudi Arabia", "SAU", "ar", "African-Islamic", "saudi"),
    _c("Serbia", "SRB", "sr", "Orthodox Europe", "serb"),
    _c("Singapore", "SGP", "en", "Confucian", "singapor"),
    _c("Slovakia", "SVK", "sk", "Catholic Europe", "slovak", "Slovak Republic"),
    _c("Somalia", "SOM", "so", "", "somali"),
    _c("South Africa", "ZAF", "en", "African-Islamic", "south africa"),
    _c("South Sudan", "SSD", "en", "", "south sudan"),
    _c("Sri Lanka", "LKA", "si", "West & South Asia", "sri lanka|sinhal"),
    _c("Sudan", "SDN", "ar", "", "sudan"),
    _c("Sweden", "SWE", "sv", "Protestant Europe", "swed"),
    _c("Syria", "SYR", "ar", "African-Islamic", "syria"),
    _c("Taiwan", "TWN", "zh", "Confucian", "taiwan", "Taiwan ROC"),
    _c("Tajikistan", "TJK", "tg", "Orthodox Europe", "tajik"),
    _c("Thailand", "THA", "th", "West & South Asia", "thai"),
    _c("Timor-Leste", "TLS", "tet", "", "timor", "East Timor"),
    _c("Tonga", "TON", "to", "", "tonga"),
    _c("Tunisia", "TUN", "ar", "African-Islamic", "tunisia"),
    _c("Ukraine", "UKR", "uk", "Orthodox Europe", "ukrain"),
    _c("Uruguay", "URY", "es", "Latin America", "uruguay"),
    _c("Uzbekistan", "UZB", "uz", "West & South Asia", "uzbek"),
    _c("Venezuela", "VEN", "es", "Latin America", "venezuel"),
    _c("Vietnam", "VNM", "vi", "Confucian", "vietnam", "Viet Nam"),
    _c("Zimbabwe", "ZWE", "sn", "African-Islamic", "zimbabwe"),
    # further places of FORK, INCLUDE and Global-MMLU
    _c("Albania", "ALB", "sq", "", "albania"),
    _c("Bahrain", "BHR", "ar", "", "bahrain"),
    _c("Belarus", "BLR", "be", "Orthodox Europe", "belarus"),
    _c("Belgium", "BEL", "nl", "", "belgi"),
    _c("Bulgaria", "BGR", "bg", "Orthodox Europe", "bulgaria"),
    _c("Cuba", "CUB", "es", "", "cuba"),
    _c("Denmark", "DNK", "da", "Protestant Europe", "denmark|danish"),
    _c("Estonia", "EST", "et", "", "estonia"),
    _c("Finland", "FIN", "fi", "Protestant Europe", "finland|finnish"),
    _c("Georgia", "GEO", "ka", "Orthodox Europe", "georgia"),
    _c("Kuwait", "KWT", "ar", "", "kuwait"),
    _c("Latvia", "LVA", "lv", "", "latvia"),
    _c("Lithuania", "LTU", "lt", "", "lithuania"),
    _c("Norway", "NOR", "no", "Protestant Europe", "norw"),
    _c("Oman", "OMN", "ar", "", "oman"),
    _c("Qatar", "QAT", "ar", "", "qatar"),
    _c("Slovenia", "SVN", "sl", "Catholic Europe", "sloven"),
    _c("Switzerland", "CHE", "de", "Protestant Europe", "switzerland|swiss"),
    _c("United Arab Emirates", "ARE", "ar", "", "emirat", "UAE", "the United Arab Emirates"),
    _c("Yemen", "YEM", "ar", "", "yemen"),
)  # fmt: skip

BLEND: tuple[str, ...] = tuple(country.name for country in COUNTRIES[:16])
"""The sixteen countries and regions of BLEnD."""

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
    """Return the country of a spelling, or None; case, blanks, dashes, dots and underscores do not count."""
    return _index().get(_key(spelling))


def resolve(spelling: str) -> Country:
    """Return the country of a spelling.

    Raises:
        UsageError: the spelling is unknown; the message offers the nearest names.
    """
    country = find(spelling)
    if country is None:
        import difflib

        near = difflib.get_close_matches(spelling, [c.name for c in COUNTRIES], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "known: " + ", ".join(c.name for c in COUNTRIES)
        raise UsageError(f"unknown country '{spelling}'; {hint}")
    return country


def canonical(spelling: str) -> str:
    """Return the canonical name of a known spelling; return any other text (a user's own group name) unchanged.

    Two lower-case letters stay as they are: as a group they name a language (`es`, `uk`), not a country.
    """
    if len(spelling) == 2 and spelling.islower():
        return spelling
    country = find(spelling)
    return country.name if country else spelling
