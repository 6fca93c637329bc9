"""A data set of the user's own, described in YAML."""

from __future__ import annotations

import json
import random

import pandas as pd
import pytest
import yaml

from culnig import load_items
from culnig.data.lint import lint
from culnig.errors import DataError, UsageError
from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.cli import invoke
from tests.helpers.configs import WORDS

TWELVE_LINES = """\
name: lakes
file: lakes.csv
id: number
question: "{place} {ask}"
options: [first, second, third]
answer: right
group: religion
topic: theme
control: {drop: [ask]}
splits:
  neur: {theme: [food, work]}
  test: {theme: sport}
"""


def write_lakes(folder, count=96):
    rng = random.Random(0)
    rows = []
    for n in range(count):
        options = rng.sample(WORDS, 3)
        row = {"number": n, "place": WORDS[n % 7], "ask": " ".join(rng.sample(WORDS, 4)), "right": options[n % 3]}
        row |= dict(zip(("first", "second", "third"), options, strict=True))
        groups = ("es", "Old Believers", "uk", "none of them")
        rows.append(row | {"religion": groups[n % 4], "theme": ("food", "work", "sport")[n // 4 % 3]})
    pd.DataFrame(rows).to_csv(folder / "lakes.csv", index=False)
    (folder / "lakes.yaml").write_text(TWELVE_LINES)
    return folder / "lakes.yaml", rows


def describe(folder, **changes):
    path = folder / "own.yaml"
    base = {"name": "own", "file": "rows.jsonl", "question": "q", "options": "o", "answer": "a"}
    path.write_text(yaml.safe_dump({k: v for k, v in (base | changes).items() if v is not None}))
    return path


def write_rows(folder, *rows):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_twelve_lines_run_end_to_end(tmp_path, reference_dir):
    assert len(TWELVE_LINES.splitlines()) == 12
    path, rows = write_lakes(tmp_path)
    crc = tmp_path / "crc.jsonl"
    crc.write_text("".join(json.dumps(_reading(n, rows)) + "\n" for n in range(24)))
    config = {
        "model": {"name": str(reference_dir)},
        "prompts": {"formulation": "cf"},
        "identify": {"neur": {"items": f"{path}:neur"}, "ctrl": {"items": f"{path}:ctrl"}, "crc": {"items": str(crc)}},
        "test": [{"role": "culture", "items": f"{path}:test"}, {"role": "ability", "items": f"{path}:neur"}],
        "culture_general": {"t_attn": 0.01},
        "culture_specific": {"t": 0.01, "z": 0.2},
        "random_controls": 2,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    done = run(load_config(tmp_path / "run.yaml"), tmp_path / "out")
    assert done.results["culture_general"]["neurons"] > 0 and (tmp_path / "out/report.html").exists()
    assert {p.name for p in (tmp_path / "out/evals").iterdir()} == {"lakes-test", "lakes-neur", "plain-text"}
    assert done.scores("neur").groups == ["Old Believers", "es", "none of them", "uk"]
    assert {p.stem for p in (tmp_path / "out/neurons").glob("specific*")} >= {"specific-es", "specific-Old Believers"}
    recorded = done.manifest["data"]["neur"]["rows"]
    assert (recorded["rows"], recorded["left_out"]) == (96, {"in other splits": 32})


def _reading(n, rows):
    group = rows[n]["religion"]
    options = [rows[n][column] for column in ("first", "second", "third")]
    return {"id": f"c{n}", "benchmark": "crc", "country": group, "question": "w1 w2", "options": options, "answer": 1}


def test_the_yaml_goes_wherever_items_go(tmp_path, reference_dir):
    path, _ = write_lakes(tmp_path)
    out = tmp_path / "e.parquet"
    named = ["--model", reference_dir, "--items", f"{path}:test", "--formulation", "cf", "--countries", "es,uk"]
    done = invoke("eval", *named, "--out", out, "--json")
    assert json.loads(done.stdout)["rows"] == 16
    assert set(pd.read_parquet(out)["country"]) == {"es", "uk"}
    with pytest.raises(UsageError, match="has no items of France; it has: Old Believers, es"):
        load_items(f"{path}:test", countries=["fr"])
    assert "Old Believers" in invoke("data", "show", f"{path}:ctrl", "-n", 7).output
    assert lint(str(path)) == [] and invoke("data", "check", path).exit_code == 0


def test_controls(tmp_path):
    write_rows(tmp_path, {"q": "Why {here}?", "p": "Rome", "o": ["x", "y"], "a": "y"})

    def control(**changes):
        items = load_items(f"{describe(tmp_path, **changes)}:ctrl")
        assert [(i.control, i.gold, i.options) for i in items] == [(True, "y", ("x", "y"))]
        return items[0].question

    assert control(control={"drop": "question"}) == ""
    assert control(question="In {p}\nQ: {q}", control={"drop": ["q"]}) == "In Rome\nQ:"
    assert control(control={"template": "Something about {p}"}) == "Something about Rome"
    ready = {"question": None, "options": None, "prompt": "q", "choices": ["x", "y"], "prefix": ">"}
    item = load_items(str(describe(tmp_path, **ready)))[0]
    assert (item.prompt, item.target, item.prefix, item.options) == ("Why {here}?", "y", ">", ("x", "y"))


@pytest.mark.parametrize(
    ("given", "answer_as"), [("y", "text"), ("B", "letter"), (1, "index"), ("2", "number")], ids=str
)
def test_answers(tmp_path, given, answer_as):
    write_rows(tmp_path, {"q": "Why?", "o": {"A": "x", "B": "y"}, "a": given, "land": "great_britain"})
    (item,) = load_items(str(describe(tmp_path, answer_as=answer_as, country="land")))
    assert item.gold == "y" and item.country == "UK" and item.id == "1" and item.shuffle


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ({"a": "z"}, {}, r"rows.jsonl:2: unknown answer 'z' in 'a'; as text it is one of x, y"),
        ({"q": ""}, {}, r"rows.jsonl:2: 'q' is empty"),
        ({"q": "<b>Why</b>"}, {}, r"rows.jsonl:2: HTML \(<b>\) in 'q'"),
        ({"o": ["x", "y &amp; z"], "a": "x"}, {}, r"rows.jsonl:2: HTML \(&amp;\) in the options"),
        ({"o": ["x", "x"]}, {}, r"rows.jsonl:2: needs at least two options"),
        ({"o": "x"}, {}, r"rows.jsonl:2: 'o' must hold a list of options"),
        ({}, {"group": "where"}, r"rows.jsonl:1: no column 'where'; there are: q, o, a, g, n"),
        ({"g": "Atlantis"}, {"country": "g"}, r"rows.jsonl:2: unknown country 'Atlantis'"),
        ({"n": 1}, {"id": "n"}, r"rows.jsonl:2: the id '1' occurs twice; first at .*rows.jsonl:1"),
        ({}, {"colour": "red"}, r"own.yaml: colour: Extra inputs"),
        ({}, {"file": None}, r"own.yaml: give either file or hub"),
        ({}, {"control": {"drop": ["zz"]}}, r"own.yaml: control drops zz, which the question's text does not hold"),
        ({}, {"control": {}}, r"own.yaml: control: give either drop or template"),
        ({}, {"splits": {"ctrl": {"g": "x"}}}, r"own.yaml: splits: 'ctrl' is made by the control recipe"),
        ({}, {"splits": {"neur": {"g": "nowhere"}}}, r"no rows in the split 'neur' \(2 rows of"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, row, settings, message):
    good = {"q": "Why?", "o": ["x", "y"], "a": "y", "g": "Iran", "n": 1}
    write_rows(tmp_path, good, good | {"n": 2} | row)
    with pytest.raises(DataError, match=message):
        load_items(str(describe(tmp_path, **settings)))


def test_missing_files(tmp_path):
    with pytest.raises(UsageError, match=r"no such file: nothing\.yaml"):
        load_items("nothing.yaml:neur")
    with pytest.raises(UsageError, match=r"no such file: .*rows.jsonl \(the rows that .*own.yaml names"):
        load_items(str(describe(tmp_path)))
