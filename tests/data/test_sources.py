"""Where rows are looked for, and what is said of broken and of missing ones."""

from __future__ import annotations

import json

import pytest

from culnig import load_items
from culnig.data import parse_name
from culnig.data.lint import lint_items
from culnig.errors import DataError, FetchError, UsageError
from tests.helpers.benchmark_files import blend_row, culture_rows, survey, write_csv, write_questions


def changed(**changes):
    return [blend_row(0), blend_row(1) | changes]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(country="Atlantis"), r"rows.csv:\d+: unknown country 'Atlantis'"),
        (changed(answer_idx="E"), r"rows.csv:\d+: unknown label 'E' in 'answer_idx'; known: A, B, C, D"),
        (changed(MCQID="Q-01_0"), r"rows.csv:\d+: the MCQID 'Q-01_0' occurs twice; first at .*rows.csv:2"),
        (changed(ID="Q-77"), r"rows.csv:\d+: the question Q-77 is not in the questions tables"),
        (changed(prompt="?"), r"rows.csv:\d+: the prompt has no question"),
        (changed(choices="{"), r"rows.csv:\d+: 'choices' is not JSON"),
        (changed(choices='{"A": ""}'), r"rows.csv:\d+: 'choices' must map labels"),
        (changed(prompt=""), r"rows.csv:\d+: 'prompt' is empty"),
        ([{k: v for k, v in blend_row(0).items() if k != "country"}], "rows.csv:2: no column 'country'; there are"),
    ],
)
def test_broken_rows(data, tmp_path, rows, message):
    write_questions(data / "blend")
    with pytest.raises(DataError, match=message):
        load_items(f"blend:neur@{write_csv(tmp_path / 'rows.csv', rows)}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"data_idx\n1\n2\xff\n", r"a.csv:3: not UTF-8 text \(byte 0xff\)"),
        ("a.csv", b"<!DOCTYPE html><html>", r"a.csv:1: this is an HTML page"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", r"a.jsonl:1: this is a Git LFS pointer"),
        ("a.csv", b"", r"a.csv: the file is empty"),
        ("a.csv", b"data_idx,country\n1,UK,3\n", r"a.csv:2: 3 fields, the header has 2"),
        ("a.csv", b"country,country\n1,UK\n", r"a.csv:1: two columns have the same name"),
        ("a.csv", b'data_idx\n"1\n', r"a.csv:2: unexpected end of data"),
        ("a.jsonl", b'{"data_idx": 1}\n{"data_idx"\n', r"a.jsonl:2: not JSON"),
        ("a.json", b'{"1": {"x": 1}, "1": {"x": 2}}', r"a.json row 1: the key '1' occurs more than once"),
        ("a.json", b"[1]", r"a.json row 1: a JSON object is expected"),
        ("a.parquet", b"PAR0", r"a.parquet: not a Parquet file"),
        ("a.xls", b"x", r"a.xls: cannot read '.xls' files; known: .csv"),
    ],
)
def test_broken_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_items(f"culturalbench@{path}")


def test_broken_surveys(data):
    folder = data / "world_values"
    survey(folder, {"Q1": [1] * 10}, ["Great Britain"] * 9 + ["Atlantis"])
    with pytest.raises(DataError, match="unknown country 'Atlantis'"):
        load_items("world_values")
    survey(folder, {"Q1": [1] * 9 + ["x"]}, ["Great Britain"] * 10)
    with pytest.raises(DataError, match=r"full_value_qa.tsv: .*Row #2.*'x'"):
        load_items("world_values")
    survey(folder, {"Q1": [1] * 9 + [1.5]}, ["Great Britain"] * 10)
    with pytest.raises(DataError, match=r"column Q1: the answer 1\.5 is not a whole number"):
        load_items("world_values")
    survey(folder, {"Q1": [1] * 10}, ["Great Britain"] * 10)
    write_csv(folder / "full_value_qa.tsv", [{"D_INTERVIEW": "p0", "Q1": 1}, {"D_INTERVIEW": "who", "Q1": 1}], "\t")
    with pytest.raises(DataError, match=r"full_value_qa.tsv:3: the person who is not in"):
        load_items("world_values")


# where rows are


def test_missing_rows_say_how_to_get_them(data, tmp_path):
    write_questions(data / "blend")
    with pytest.raises(FetchError, match=r"not found in .*blend, and the hub does not provide nayeon212.*hf download"):
        load_items("blend:neur")
    with pytest.raises(
        FetchError,
        match=r"question_metadata.json not found in .*worldvaluessurvey.org.*full_value_qa.tsv, .*world_values",
    ):
        load_items("world_values")
    with pytest.raises(UsageError, match="no such file or folder, and no hub id"):
        load_items("blend:neur@/nowhere/at/all")
    with pytest.raises(FetchError, match=f"CulturalBench-Easy.csv not found in {tmp_path}"):
        load_items(f"culturalbench@{tmp_path}")
    with pytest.raises(UsageError, match="takes no place"):
        load_items("everyday:test@/tmp")
    with pytest.raises(UsageError, match="has no split 'x'; say blend:neur or"):
        load_items("blend:x")
    write_csv(data / "culturalbench/a/CulturalBench-Easy.csv", culture_rows())
    write_csv(data / "culturalbench/b/CulturalBench-Easy.csv", culture_rows())
    with pytest.raises(DataError, match="holds several files of that name"):
        load_items("culturalbench")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("blend:neur", ("blend", "neur", None)),
        ("blend:neur@/a/b:c@d", ("blend", "neur", "/a/b:c@d")),
        ("qnli@owner/name", ("qnli", "", "owner/name")),
        ("/x/my.yaml:neur", ("/x/my.yaml", "neur", None)),
        ("my.yml", ("my.yml", "", None)),
        ("/a@b/items:1.jsonl", ("/a@b/items:1.jsonl", "", None)),
    ],
)
def test_names(text, parts):
    assert parse_name(text) == parts


def test_data_verbs_with_others_benchmarks(data):
    from tests.helpers.cli import invoke

    write_csv(data / "culturalbench/CulturalBench-Easy.csv", culture_rows())
    rows = {row["name"]: row for row in json.loads(invoke("data", "list", "--count", "--json").stdout)}
    assert (rows["culturalbench"]["state"], rows["culturalbench"]["items"]) == ("ready", 8)
    assert rows["mrpc"]["state"] == "missing" and "hf download" in rows["mrpc"]["how"]
    listing = invoke("data", "list").output
    assert "world_values is missing" in listing and "hf download --repo-type dataset nayeon212/BLEnD" in listing
    assert "culturalbench:neur" in listing and "world_values:neur" not in listing  # one line for what is missing
    splits = invoke("data", "list", "world_values").output
    assert "world_values:neur" in splits and "culturalbench" not in splits
    with pytest.raises(UsageError, match="unknown benchmark 'nothing'; there are: "):
        invoke("data", "list", "nothing")
    shown = invoke("data", "show", "culturalbench", "-n", 1, "--formulation", "mcf", "--wordings", "all")
    assert shown.output.count("What 0?") == 4
    assert invoke("data", "check", f"culturalbench@{data / 'culturalbench'}").exit_code == 0


def test_html_in_items_is_seen(data):
    rows = culture_rows()
    rows[3]["prompt_question"] = "What &amp; why?"
    write_csv(data / "culturalbench/CulturalBench-Easy.csv", rows)
    (problem,) = [p for p in lint_items(load_items("culturalbench"), "x") if "HTML" in p.what]
    assert problem.where == "x 3" and "&amp;" in problem.what
