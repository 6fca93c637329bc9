"""Does a text hold an answer?  Cases of our own, judged by hand: the answer as it is, in other forms, and wrong ones."""

from __future__ import annotations

import pytest

from culnig.data.countries import BLEND, resolve
from culnig.data.languages import ANALYSERS, Matcher, fold, matcher, words

CASES = [
    # language, what the model writes, the accepted answer, whether it counts
    ("en", "Porridge.", "porridge", True),
    ("en", "They mostly eat pancakes for breakfast", "pancake", True),
    ("en", "a hotdog with mustard", "Hot Dogs", True),
    ("en", "in the park", "the park", True),
    ("en", "pineapple juice", "apple", False),
    ("en", "at 10 pm", "1", False),
    ("en", "a glass of water", "milk", False),
    ("es", "Unas galletas con leche", "galleta", True),
    ("es", "FÚTBOL", "futbol", True),
    ("es", "Los niños juegan en la calle", "niño", True),
    ("es", "la panadería de la esquina", "pan", False),
    ("es", "arroz con pollo", "pescado", False),
    ("el", "Τρώνε μήλα και ψωμί", "μήλο", True),
    ("el", "ΤΥΡΟΠΙΤΑ", "τυρόπιτα", True),
    ("el", "ένα ποτήρι νερό", "κρασί", False),
    ("id", "Mereka makan nasi goreng.", "nasi goreng", True),
    ("id", "bermain layang-layang", "layang layang", True),
    ("id", "buku-buku pelajaran", "buku", True),
    ("id", "nasinal", "nasi", False),
    ("fa", "کتاب‌ها", "کتاب", True),
    ("fa", "چاي و نان", "چای", True),
    ("fa", "آب", "چای", False),
    ("ar", "يشربون الحليب صباحا", "حليب", True),
    ("ar", "والخبز", "الخبز", True),
    ("ar", "المدرسةُ", "مدرسه", True),
    ("ar", "ماء", "حليب", False),
    ("zh", "他们喜欢吃饺子。", "饺子", True),
    ("zh", "在家看电视", "看电视", True),
    ("zh", "去公园散步", "公园", True),
    ("zh", "一块面包", "面", False),
    ("zh", "喝茶", "咖啡", False),
    ("ko", "떡볶이를 먹어요", "떡볶이", True),
    ("ko", "친구들과 축구를 합니다", "축구", True),
    ("ko", "과일주스입니다.", "과일 주스", True),
    ("ko", "김치볶음밥", "밥", False),
    ("ko", "치킨집에서", "치킨", False),
    ("ha", "Suna cin shinkafa da wake", "shinkafa", True),
    ("ha", "littattafai", "littafi", True),
    ("ha", "kwallon kafa", "ƙwallon ƙafa", True),
    ("ha", "ruwa", "shayi", False),
    ("az", "Səhər çörək və pendir yeyirlər", "pendir", True),
    ("az", "ÇAY", "çay", True),
    ("az", "çaydan", "çay", False),
    ("am", "ዳቦ እና ሻይ", "ሻይ", True),
    ("am", "ዐሳ", "አሣ", True),
    ("am", "ውሃ", "ቡና", False),
    ("as", "মাছ আৰু ভাত", "ভাত", True),
    ("as", "চাহ", "গাখীৰ", False),
    ("su", "Sangu jeung lauk", "lauk", True),
    ("su", "nginum cai teh haneut", "kopi", False),
    ("su", "Di sakola.", "sakola", True),
    ("en", "1.500 metres", "1500", True),
]


@pytest.mark.parametrize(("language", "text", "answer", "right"), CASES)
def test_cases(language, text, answer, right):
    found = matcher(language)
    if "not installed" in found.note:
        pytest.skip(f"{language}: {found.note}")
    assert (found.find(text, ["", "zzzz", answer]) == answer) is right


def test_cases_cover_blend():
    assert len(CASES) >= 50
    assert {language for language, *_ in CASES} == {resolve(country).language for country in BLEND}


def test_without_a_library_words_are_compared_as_written(monkeypatch):
    """The note says so, and what to install."""

    class Missing:
        package = "nowhere-to-be-found"

        def __init__(self, language):
            raise ImportError(self.package)

    monkeypatch.setattr(ANALYSERS, "find", lambda language: Missing)
    plain = Matcher("es")
    assert plain.used == "plain" and "nowhere-to-be-found is not installed: pip install" in plain.note
    assert plain.find("unas galletas", ["galletas"]) and not plain.find("unas galletas", ["galleta"])


def test_every_dictionary_language_is_known_to_the_library():
    pytest.importorskip("simplemma")
    from simplemma.strategies.dictionaries.dictionary_factory import SUPPORTED_LANGUAGES

    from culnig.data.languages.dictionary import Dictionary

    used = {language for language, reader in ANALYSERS.items() if issubclass(reader, Dictionary)}
    assert used and used <= set(SUPPORTED_LANGUAGES)


def test_words_and_folding():
    assert words("It’s 10,000 m — ভাত, déjà!") == ["its", "10000", "m", "ভাত", "déjà"]
    assert [fold(word) for word in ("Déjà", "İYİ", "٣", "भात", "각", "ﬁn", "کتاب‌ها")] == [
        "deja", "iyi", "3", "भात", "각", "fin", "كتابها",
    ]  # fmt: skip
