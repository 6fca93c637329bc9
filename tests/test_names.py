"""File names of groups and sets."""

from __future__ import annotations

import re

import pytest

from culnig.data.countries import COUNTRIES
from culnig.errors import UsageError
from culnig.files import safe_name, safe_names, unsafe_name


@pytest.mark.parametrize(
    "text",
    [
        "N/A",
        "../..",
        "..",
        ".",
        ".hidden",
        "a\\b",
        "C:",
        "con",
        "CON.x",
        "50%",
        "a%2Fb",
        "",
        "x ",
        "tab\there",
        "e\u0301",
    ],
)
def test_any_text_is_a_file_and_comes_back(text, tmp_path):
    name = safe_name(text)
    assert unsafe_name(name) == text and not re.search(r'[/\\:*?"<>|]', name)
    assert not name.startswith(".") and not name.endswith((".", " ")) and name.casefold() not in ("con", "con.x")
    (tmp_path / f"{name}.json").touch()
    assert [unsafe_name(path.stem) for path in tmp_path.iterdir()] == [text]


def test_present_names_stay():
    for name in [*(c.name for c in COUNTRIES), "specific-South Korea", "sweep-t=0.0025", "random-0", "中国"]:
        assert safe_name(name) == name


def test_names_that_differ_in_case_alone_are_refused():
    with pytest.raises(UsageError, match="'Iran' and 'iran' differ in case alone"):
        safe_names(["Iran", "iran"])


def test_sets_of_odd_groups_are_found_again(tmp_path):
    from culnig.studies.specific import PREFIX, set_names, sizes

    from culnig.neurons import Neuron, NeuronSet
    from culnig.run.config import load_config
    from culnig.studies import SavedRun

    run = SavedRun(tmp_path / "run", load_config(None))
    groups = ["N/A", "../..", "South Korea"]
    for group in groups:
        NeuronSet({Neuron("mlp.gate_proj", 0, 1): 1.0}).save(run.neurons_path(PREFIX + group))
    assert sorted(sizes(run)) == sorted(groups) and len(set_names(run)) == 3
    assert {path.parent for path in (tmp_path).rglob("*.json")} == {tmp_path / "run" / "neurons"}
    assert (tmp_path / "run" / "neurons" / "specific-South Korea.json").is_file()
