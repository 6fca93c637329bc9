"""The embedded data keeps its promises; the linter sees what it should."""

from __future__ import annotations

from collections import Counter

import pytest

from culnig import Item, load_items, read_items, write_items
from culnig.benchmarks.everyday import FILES
from culnig.data.countries import BLEND, TARGETS, canonical, resolve
from culnig.data.lint import lint, lint_control, lint_items
from culnig.data.options import overlap, read_yaml
from culnig.errors import UsageError


@pytest.mark.parametrize("name", ["everyday", "facts", "ability", "school", "country_rc", "entail"])
def test_own_data_passes_the_linter(name):
    assert [p for p in lint(name) if p.error] == []


def test_everyday_is_as_large_as_promised():
    files = FILES["neur"] + FILES["test"]
    questions = [q for f in files for q in read_yaml(f"everyday/{f}.yaml")["questions"]]
    topics = Counter(read_yaml(f"everyday/{f}.yaml")["topic"] for f in files)
    assert len(topics) == 6 and len(questions) >= 60 and sum(len(q["answers"]) for q in questions) >= 800
    neur = load_items("everyday:neur", draws=1)
    per_country = Counter(item.country for item in neur)
    assert set(BLEND) <= set(per_country) and all(per_country[c] >= 28 for c in TARGETS)
    for topic, count in Counter(
        q for q, _ in {(i.topic, i.id.split("/")[0]) for i in load_items("everyday:test")}
    ).items():
        assert count >= 10, topic
    assert {i.topic for i in neur} == {"Food", "Work life", "Sport"}


def test_no_wrong_option_is_right():
    accepted = {
        (q["id"], resolve(c).name): a
        for files in FILES.values()
        for f in files
        for q in read_yaml(f"everyday/{f}.yaml")["questions"]
        for c, a in q["answers"].items()
    }
    for item in (item for split in FILES for item in load_items(f"everyday:{split}")):
        question, country, _ = item.id.split("/")
        wrong = [o for o in item.options if o != item.gold]
        assert len(wrong) == 3 and not any(overlap(o, right) for o in wrong for right in accepted[question, country])


def test_items_are_the_same_for_the_same_seed():
    assert load_items("everyday:test") == load_items("everyday:test")
    assert load_items("everyday:test") != load_items("everyday:test", seed=1)
    positions = Counter(item.answer for item in load_items("everyday:test"))
    assert max(positions.values()) < 1.1 * min(positions.values())


def test_countries_can_be_a_list_by_its_name_or_a_single_country():
    def countries(given):
        return {item.country for item in load_items("everyday:test", countries=given, limit_per_country=1)}

    assert countries("targets") == set(TARGETS)
    assert countries("blend") == set(BLEND)
    assert countries("Iran") == countries(["Iran"]) == {"Iran"}
    assert countries("all") == countries(None) > set(BLEND)


def test_control_goes_with_its_items():
    kw = {"countries": BLEND, "limit_per_country": 30, "draws": 1}
    neur, ctrl = load_items("everyday:neur", **kw), load_items("everyday:ctrl", **kw)
    assert lint_control(neur, ctrl, "x") == [] and all(i.control and not i.question for i in ctrl)
    assert max(Counter(i.country for i in neur).values()) <= 30


def test_general_and_country_rc():
    ability = load_items("ability")
    assert len(ability) >= 400 and len({i.topic for i in ability}) >= 8
    neur, test = load_items("country_rc:neur"), load_items("country_rc:test")
    assert not {i.id.split("/")[0] for i in neur} & {i.id.split("/")[0] for i in test}
    assert all(i.gold in i.question for i in neur + test) and {i.topic for i in neur} == {"plain", "dummy"}
    assert len({i.id.split("/")[0] for i in neur}) >= 25 <= len({i.id.split("/")[0] for i in test})


def test_linter_sees(tmp_path):
    def item(**kw):
        return Item(
            **{
                "id": "1",
                "benchmark": "b",
                "country": "Iran",
                "question": "q",
                "options": ("a", "b"),
                "answer": 0,
                **kw,
            }
        )

    def what(*items):
        return " ".join(p.what for p in lint_items(list(items), "x"))

    assert "occurs twice" in what(item(options=("tea", "Tea")))
    assert "also right" in what(item(options=("black tea", "tea")))
    assert "names the country" in what(item(options=("Iranian rice", "b")))
    assert "ids occur more than once" in what(item(), item())
    lopsided = [item(id=str(i), options=("aaaa", "b", "c", "d")) for i in range(100)]
    assert "in position 0 in 100" in what(*lopsided) and "the longest option" in what(*lopsided)
    few = [item(id=f"s{i}", country="Spain", answer=i % 2) for i in range(30)]
    assert "unequal numbers of items" in what(*lopsided, *few)
    controls = [item(question="", control=True, options=("a", "c"))]
    assert "other options" in lint_control([item()], controls, "x")[0].what
    assert "0 controls" in lint_control([item()], [], "x")[0].what
    assert "still has its question" in lint_control([item()], [item(control=True)], "x")[0].what


def test_item_files_round_trip(tmp_path):
    items = [
        *load_items("everyday:ctrl")[:5],
        Item("p", "b", "Iran", prompt="say A", target="A", options=("A", "B"), answer=0),
    ]
    write_items(items, tmp_path / "items.jsonl")
    assert read_items(tmp_path / "items.jsonl") == items


def test_country_spellings():
    for spelling, name in [
        ("South_Korea", "South Korea"),
        ("US", "USA"),
        ("Northern_Nigeria", "Nigeria"),
        ("great britain", "UK"),
    ]:
        assert resolve(spelling).name == name
    assert canonical("Atlantis") == "Atlantis"
    with pytest.raises(UsageError, match="did you mean Mexico"):
        resolve("Mexiko")
