"""The loaders on the real files in shared/data, where they are at hand (CULNIG_REAL_DATA says another place).

Every row is accounted for.  The files are other people's and never in this repository; without them nothing is run.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from culnig import load_items
from culnig.data.countries import BLEND

REAL = Path(os.environ.get("CULNIG_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not (REAL / "blend").is_dir(), reason="the real benchmark files are not at hand")


@pytest.fixture(autouse=True)
def _folder(monkeypatch):
    monkeypatch.setenv("CULNIG_DATA", str(REAL))


@pytest.mark.parametrize(
    ("name", "rows", "items", "groups"),
    [
        ("culturalbench", 614, 614, 45),
        ("culturalbench:neur", 614, 296, 45),
        ("culturalbench:test", 614, 318, 45),
        ("commonsenseqa", 600, 600, 1),
        ("commonsenseqa:distinct", 600, 588, 1),
        ("qnli", 1000, 1000, 1),
        ("normad", 3, 3, 1),
        ("fork", 184, 184, 11),
        ("fork:test", 184, 93, 11),
        ("mmlu", 373, 373, 1),
        ("mmlu:dev", 373, 186, 1),
        ("blimp", 400, 400, 1),
        ("blimp:asked-test", 400, 200, 1),
    ],
)
def test_every_row(name, rows, items, groups):
    found = load_items(name)
    assert (found.account.rows, len(found), len({i.country for i in found})) == (rows, items, groups)
    assert len(found) + sum(found.account.left_out.values()) == rows


@pytest.mark.parametrize(("split", "topics"), [("neur", 3), ("test", 3)])
def test_blend_built(split, topics):
    items = load_items(f"blend_built:{split}")
    made = {(i.country, i.id.split("/")[0]) for i in items}
    assert items.account.rows == 8000 == len(made) + sum(items.account.left_out.values())
    assert set(BLEND) == {i.country for i in items} and len({i.topic for i in items}) == topics


@pytest.mark.parametrize("split", ["neur", "test", "en-neur", "en-test"])
def test_blend_short(split):
    items = load_items(f"blend_short:{split}")
    asked = {i.id.rpartition("/")[0] for i in items}
    assert items.account.rows == 8000 == len(asked) + sum(items.account.left_out.values())
    assert len(items) == 2 * len(asked) and set(BLEND) == {i.country for i in items}
    assert len({i.language for i in items}) == (1 if split.startswith("en-") else 13)


def test_official_rows_without_their_answers_give_the_same_items(tmp_path):
    official = REAL / "blend/mcq_official_rows.csv"
    with official.open(newline="", encoding="utf-8") as stream:
        rows = [{k: v for k, v in row.items() if k != "answer_idx"} for row in csv.DictReader(stream)]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for split, count in (("neur", 229), ("test", 171)):
        given, found = load_items(f"blend:{split}@{official}"), load_items(f"blend:{split}@{path}")
        assert given == found and len(given) == count == 400 - sum(given.account.left_out.values())


def test_blend_sample(tmp_path):
    """The sample lacks country and MCQID: the country is the one that the question's text names."""
    names = {"US": "the US", "UK": "the UK", "Northern_Nigeria": "Northern Nigeria", "North_Korea": "North Korea"}
    names |= {c.replace(" ", "_"): c for c in BLEND if c not in ("USA", "UK", "Nigeria", "North Korea")}
    sample = json.loads((REAL / "blend/mcq_sample.json").read_text())
    path = tmp_path / "mc_questions.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["MCQID", "ID", "country", "prompt", "choices", "choice_countries", "answer_idx"])
        for number, row in enumerate(sample):
            question = row["question"].split(" Without any")[0]
            (country,) = [code for code, name in names.items() if name in question]
            writer.writerow(
                [number, row["id"], country, row["question"], json.dumps(row["choices"]), "{}", row["answer"]]
            )
    parts = {split: load_items(f"blend:{split}@{path}") for split in ("neur", "ctrl", "test")}
    beyond = parts["neur"].account.left_out["beyond the first 5 of a country and question"]
    assert len(parts["neur"]) + len(parts["test"]) + beyond == 1000
    assert len(parts["ctrl"]) == len(parts["neur"])
    assert set(BLEND) == set(Counter(i.country for part in parts.values() for i in part))
