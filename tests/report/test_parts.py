"""The parts of the page: verdict, questions, tables as CSV, tabs, the map, and what is compressed into it."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import re
from importlib import resources

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from culnig.data.countries import COUNTRIES
from culnig.errors import UsageError
from culnig.evaluation import EvalResult
from culnig.evaluation.judging import option_probabilities
from culnig.report.embedding import CARTESIAN, packed, packed_json, plotly_for
from culnig.report.page import cards_of, write_page
from culnig.report.questions import block_of
from culnig.report.tables import csv_of, table_block
from culnig.report.verdict import verdict_of
from culnig.studies import STUDIES, TABS, Section, placed
from culnig.studies._tile_map import PLACES, code_of, places_of, tile_map
from culnig.studies.culture_general import CultureGeneralStudy


def unpacked(text):
    return gzip.decompress(base64.b64decode(text))


def change(a, b, low, high, **more):
    return {
        "a": a,
        "b": b,
        "difference": a - b,
        "low": low,
        "high": high,
        "p": 0.01,
        "p_floor": 0.0004,
        "draws": 5,
    } | more


def numbers(culture, versus, facts=None, facts_versus=None, guard="intact"):
    """The numbers of a study of culture and, if given, facts."""
    drop, against = {"culture": culture}, {"culture": versus}
    tests = {
        "everyday:test": {"role": "culture", "drop": culture, "against_random": versus, "random_drops": [-0.01, 0.0]}
    }
    if facts:
        drop["facts"], against["facts"] = facts, facts_versus
        tests["facts:test"] = {"role": "facts", "drop": facts, "against_random": facts_versus, "random_drops": [0.0]}
    guards = {"culture-general": {"verdict": guard, "guards": []}}
    return {
        "neurons": 10, "neurons_in_model": 1000, "drop": drop, "against_random": against,
        "random_drops": {"culture": [-0.01, 0.0]}, "tests": tests, "guards": guards,
    }  # fmt: skip


FALLS, STAYS = change(0.4, 0.6, -0.25, -0.15), change(0.6, 0.61, -0.03, 0.02)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (numbers(FALLS, FALLS), "by more than under random neurons. The guards find the model itself intact"),
        (numbers(FALLS, FALLS, guard="damaged"), "the model itself is damaged, so the loss is not of culture alone"),
        (numbers(FALLS, FALLS, guard="open"), "leave open whether the model itself suffered"),
        (numbers(STAYS, STAYS), "no loss of culture"),
        (numbers(FALLS, STAYS), "does not show that it fell by more than under random neurons"),
        (numbers(FALLS, FALLS, FALLS, FALLS), "but facts fell too."),
        (numbers(FALLS, FALLS, STAYS, STAYS), "by more than under random neurons. The guards"),
        (numbers(FALLS, FALLS, FALLS, STAYS), "by more than under random neurons. The guards"),
    ],
)
def test_the_verdict_follows_the_intervals(given, says):
    assert says in verdict_of(given, "m", "suppress", {}).verdict


def test_what_was_not_measured_is_not_told_as_an_outcome():
    """As in the first answer of a run, which has the culture test set alone."""
    given = numbers(FALLS, FALLS, guard="open")
    given["guards"]["culture-general"]["guards"] = [{"name": "plain text", "state": "not measured"}]
    made = verdict_of(given, "m", "suppress", {})
    assert made.verdict.endswith("Whether the model itself suffered was not measured.")
    assert made.reasons["What stayed"] == ["Only culture was asked."]


def test_the_sentence_and_reasons_hold_the_numbers():
    made = verdict_of(
        numbers(FALLS, change(0.4, 0.58, -0.2, -0.1), STAYS, STAYS), "m", "suppress", {"facts": 0.9, "facts:test": 0.07}
    )
    assert made.sentence == (
        "Without 10 of its 1,000 neurons, m gets 40 of 100 questions about culture right, instead of 60."
        " Without as many random neurons, it gets 58 right."
    )
    fell, stayed = made.reasons["What fell"], made.reasons["What stayed"]
    assert len(fell) == len(stayed) == 1 and "−20.0 points" in fell[0] and "7.0 points or more" in stayed[0]
    assert any("2 random sets" in text for text in made.reasons["What it does not show"])
    assert "Doubling" in verdict_of(numbers(FALLS, FALLS), "m", "enhance", {}).sentence


def test_every_study_stands_on_a_tab_and_a_wrong_one_is_named():
    for name in STUDIES.names():
        section = placed(name, STUDIES.get(name), Section("t"))
        assert section.tab in TABS and section.study == name
    study = CultureGeneralStudy()
    study.tab = "nowhere"
    with pytest.raises(UsageError, match="asks for the tab 'nowhere'"):
        placed("mine", study, Section("t"))


def test_sections_figures_and_tables_stand_on_their_tabs(tmp_path):
    figure = go.Figure(go.Bar(x=[1], y=[2]), layout={"meta": {"tab": "where"}})
    table = pd.DataFrame({"country": ["Iran"], "module": ["m"], "layer": [3], "neuron": [17], "score": [0.5]})
    section = Section(
        "Mine", ["text of mine"], figures=[("drawn", figure)], tables={"a": table, "b": table, "kept": table}
    )
    section.tab, section.places, section.titles = "sure", {"b": "neurons"}, {"a": "Table A", "b": "Table B"}
    facts = {"title": "t", "name": "n", "run": [], "config": ""}
    page = write_page(tmp_path / "p.html", [section], TABS, lambda most: {}, **facts).read_text()
    panels = {part.split('"')[0]: part for part in re.split(r'<section class="panel" id="', page)[1:]}
    assert "text of mine" in panels["sure"] and "Table A" in panels["sure"] and "Table B" not in panels["sure"]
    assert "Table B" in panels["neurons"] and 'data-neuron="m.3.17"' in panels["neurons"]
    assert "drawn" in panels["where"] and "kept" not in "".join(panels[tab] for tab in ("sure", "neurons", "where"))
    data = re.search(r'id="data">([^<]*)<', page)[1]
    assert set(json.loads(unpacked(data))["tables"]) == {"a", "b"}


def test_csv_holds_full_precision_and_no_formulas():
    frame = pd.DataFrame({"=a": ["=1+1", "-2", "+x", "@y", 'a,"b"\n'], "n": [-1 / 3, 2.0, np.nan, 1e-12, 5.0]})
    rows = list(csv.reader(io.StringIO(csv_of(frame))))
    assert rows[0] == ["'=a", "n"] and [row[0] for row in rows[1:]] == ["'=1+1", "'-2", "'+x", "'@y", 'a,"b"\n']
    assert float(rows[1][1]) == -1 / 3 and rows[3][1] == ""
    assert table_block("t", "T", frame)["rows"][0][1]["value"] == -1 / 3


def result(correct, gold=0):
    logprobs = [np.log([0.7, 0.2, 0.1]) if right else np.log([0.2, 0.7, 0.1]) for right in correct]
    rows = pd.DataFrame(
        {"id": [f"q{i}" for i in range(len(correct))], "benchmark": "b", "wording": "w", "country": "Iran"}
    )
    rows = rows.assign(topic="t", gold=gold, correct=correct, prediction=[0 if right else 1 for right in correct])
    rows = rows.assign(
        p_gold=[0.7 if right else 0.2 for right in correct], option_logprobs=logprobs, calibration="none"
    )
    return EvalResult(rows, {"formulation": "cf"})


def test_a_block_of_questions_holds_the_saved_rows():
    untouched = result([True, True, False, True])
    main = result([False, True, True, True])
    prompts = pd.DataFrame(
        {"prompt": ["ask"], "answers": [["x", "y", "z"]]}, index=pd.MultiIndex.from_tuples([("b", "q1", "w")])
    )
    some = EvalResult(result([False, False]).rows.iloc[1:], {})
    block = block_of(untouched, {"culture-general": main, "random-0": some}, prompts, 10)
    assert block["untouched"]["right"] == [1, 1, 0, 1] and block["conditions"]["culture-general"]["right"] == [
        0,
        1,
        1,
        1,
    ]
    assert block["conditions"]["random-0"]["right"] == [None, 0, None, None] and block["random"] == ["random-0"]
    assert block["untouched"]["options"][0] == [0.7, 0.2, 0.1] and "options" not in block["conditions"]["random-0"]
    assert block["prompts"] == ["", "ask", "", ""] and block["options"][1] == ["x", "y", "z"]
    assert block["main"] == "culture-general" and block["leftOut"] == 0
    json.dumps(block, allow_nan=False)


def test_too_many_questions_leave_those_that_change():
    correct = np.ones(200, dtype=bool)
    after = correct.copy()
    after[[7, 90, 150]] = False
    block = block_of(
        result(correct),
        {"m": result(after)},
        pd.DataFrame({"prompt": [], "answers": []}, index=pd.MultiIndex.from_tuples([], names=["b", "i", "w"])),
        20,
    )
    assert len(block["ids"]) == 20 and block["leftOut"] == 180 and {"q7", "q90", "q150"} <= set(block["ids"])


def test_probabilities_are_those_the_rows_were_judged_by():
    rows = result([True, False]).rows
    assert np.allclose(option_probabilities(rows, mcf=False)[1], [0.2, 0.7, 0.1])
    half = rows.assign(option_logprobs=[np.log([0.35, 0.1, 0.05])] * 2)
    assert np.allclose(option_probabilities(half, mcf=True)[0], [0.35, 0.1, 0.05])
    assert np.allclose(option_probabilities(half, mcf=False)[0], [0.7, 0.2, 0.1])


def test_cards_of_several_studies_join_with_the_resamples():
    base = Section("a", cards=[{"key": "m.0.1", "rank": 2, "score": 1.0}, {"key": "m.0.2", "rank": 1, "score": 2.0}])
    more = Section("b", cards=[{"key": "m.0.1", "rank": 2, "score": 1.0, "promoted": []}])
    table = pd.DataFrame(
        {"method": "culnig", "module": "m", "layer": 0, "neuron": [1], "frequency": [0.75], "chosen": True}
    )
    found = cards_of([base, more, Section("c", tables={"stability-frequency": table})])
    assert [card["key"] for card in found] == ["m.0.2", "m.0.1"]
    assert found[1] == {"key": "m.0.1", "rank": 2, "score": 1.0, "promoted": [], "frequency": 0.75}


def test_every_country_has_a_square_of_its_own():
    names = [country.name for country in COUNTRIES]
    places = places_of([*names, "Atlantis"])
    assert len(set(places.values())) == len(names) + 1
    assert all(code_of(name) in PLACES for name in names)
    assert places["Assam"] != places["India"] and places["West Java"] != places["Indonesia"]
    assert places["Atlantis"][0] > max(row for row, _ in PLACES.values())


def test_the_map_shows_each_change():
    table = pd.DataFrame(
        {"country": ["Iran", "Assam"], "difference": [-0.2, 0.1], "low": [-0.3, -0.1], "high": [-0.1, 0.2]}
    )
    figure = tile_map(table)
    shown = {
        name: z
        for names, line in zip(figure.data[1].customdata, figure.data[1].z, strict=True)
        for name, z in zip(names, line, strict=True)
        if name
    }
    assert shown == pytest.approx({"Iran": -20, "Assam": 10}) and len(figure.layout.shapes) == 1


def test_the_bundle_is_the_published_one_and_larger_charts_get_all_of_plotly():
    code = (resources.files("culnig.report") / "vendor" / "plotly-cartesian.min.js").read_bytes()
    assert hashlib.sha256(code).hexdigest() == "79542150855a52c567260e3137095dbe2b744e6d702a5cabe67da246942fba7a"
    assert unpacked(plotly_for({"scatter", "heatmap"})) == code and len(unpacked(plotly_for({"scatter3d"}))) > 2 * len(
        code
    )
    assert {"bar", "heatmap", "histogram", "scatter"} <= CARTESIAN
    assert "MIT" in (resources.files("culnig.report") / "vendor" / "plotly-LICENSE").read_text()


def test_packing_comes_back():
    assert json.loads(unpacked(packed_json({"a": ["</script>", 1.5]}))) == {"a": ["</script>", 1.5]}
    assert not re.search(r"[<>&]", packed(bytes(range(256)))) and packed(b"x") == packed(b"x")


def test_depth_stands_beside_the_published_set():
    from culnig.neurons import GATE, Neuron, NeuronSet
    from culnig.studies.layers import beside_published, site_table

    neurons = NeuronSet([Neuron(GATE, 0, 1), Neuron(GATE, 2, 1), Neuron(GATE, 2, 2), Neuron("self_attn.q_proj", 1, 0)])
    figure = beside_published(site_table(neurons, {GATE: (4, 8), "self_attn.q_proj": (4, 8)}))
    own, published = figure.data
    assert list(own.x) == pytest.approx([0, 1 / 3, 2 / 3, 1]) and list(own.y) == pytest.approx([1, 0, 2, 0])
    assert published.y[0] == pytest.approx(48 * 785 / 8087) and published.x[0] == pytest.approx(13 / 47)


def test_published_findings_stand_beside():
    from culnig.neurons import GATE, Neuron, NeuronSet
    from culnig.studies._layers_published import published_beside
    from culnig.studies.layers import site_table

    neurons = NeuronSet([Neuron(GATE, 0, 1), Neuron(GATE, 2, 1), Neuron(GATE, 2, 2), Neuron("self_attn.q_proj", 1, 0)])
    shapes = {GATE: (6, 8), "self_attn.q_proj": (6, 8)}
    table, (told,) = published_beside(site_table(neurons, shapes), 400)
    rows = table.set_index("fact")
    own, published = rows["this run"], rows["published"]
    assert own.iloc[0] == "1.00%" and own.iloc[1] == "the MLP holds 75%, attention 25%"
    assert own.iloc[2] == "first third of the layers 50%, middle third 50%, last third 0%"
    assert own.iloc[3] == "layers 2 of 6, with 50% of the set"
    assert published.iloc[3] == "gemma-3-12b-it: layers 7, 9, 10, 11, 12, 13, 14 of 48, with 48% of the set"
    assert own.iloc[4] == "5 of 6, of them 2 in the last third" and own.iloc[5] == "4 of 6, of them 2 in the last third"
    assert "arXiv 2510.08284" in told and "agrees with the finding" in told
