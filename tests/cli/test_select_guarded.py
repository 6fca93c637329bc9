"""`culnig select guarded` on the command line."""

from __future__ import annotations

import json

import pytest

from culnig import NeuronSet
from tests.helpers.cli import invoke, use
from tests.helpers.configs import write_items


@pytest.fixture
def files(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n\n".join(f"w{i} w{i + 1} w{i + 3} w{i + 7}" for i in range(12)))
    return {
        "neur": write_items(tmp_path / "neur.jsonl", "neur", 24),
        "ctrl": write_items(tmp_path / "ctrl.jsonl", "neur", 24, control=True),
        "skills": write_items(tmp_path / "skills.jsonl", "skills", 24),
        "texts": texts,
    }


def command(files, reference_dir, out, *more):
    data = ["--culture", files["neur"], "--controls", files["ctrl"], "--texts", files["texts"]]
    small = ["--step", 2, "--max-neurons", 4, "--ranked-on", 8, "--formulation", "cf"]
    return ["select", "guarded", "--model", reference_dir, *data, *small, "--out", out, *more]


def test_it_writes_an_ordered_set_with_its_path(files, reference_dir, tmp_path):
    out = tmp_path / "g.json"
    budget = ["--protect", f"skills={files['skills']}", "--harm", "perplexity=500%,skills=100"]
    done = invoke(*command(files, reference_dir, out, *budget))
    assert done.exit_code == 0, done.output
    chosen = NeuronSet.load(out)
    assert 0 < len(chosen) <= 4 and f"{len(chosen)} neurons" in done.output
    path = chosen.provenance["path"]
    added = [row for row in path if row["added"]]
    assert [row["neurons"] for row in added] == [2, 4][: len(added)]
    assert [row["neurons"] for row in path if row["kept"]][-1] == len(chosen)
    assert {"culture", "skills", "perplexity"} <= {change["name"] for change in chosen.provenance["changes"]}
    assert not list(tmp_path.glob(".*.progress"))


def test_json(files, reference_dir, tmp_path):
    done = invoke(*command(files, reference_dir, tmp_path / "g.json", "--protect", "", "--json"))
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["stopped"] and [each["number"] for each in facts["rounds"]] == list(range(1, len(facts["rounds"]) + 1))


def test_some_countries_against_the_others(files, reference_dir, tmp_path):
    out = tmp_path / "iran.json"
    done = invoke(
        *command(files, reference_dir, out, "--protect", "", "--countries", "Iran,China", "--against-others", "--json")
    )
    assert done.exit_code == 0, done.output
    assert {"culture", "others", "perplexity"} == {c["name"] for c in json.loads(done.stdout)["rounds"][0]["changes"]}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--harm", "perplexity"], "write NAME=NUMBER"),
        (["--protect", "", "--harm", "ability=1"], "nothing of that name is protected; there are perplexity"),
        (["--protect", "ability:dev,ability:test"], "names ability twice"),
        (["--against-others"], "--against-others needs --countries"),
        (["--method", "best"], "--method best: there are greedy"),
        (["--controls", "auto"], "no controls are known for it"),
    ],
)
def test_wrong_uses_are_one_line(files, reference_dir, tmp_path, capsys, monkeypatch, more, said):
    code, _, err = use(capsys, monkeypatch, *command(files, reference_dir, tmp_path / "g.json", *more))
    assert code == 2 and said in " ".join(err.split()) and "Traceback" not in err
