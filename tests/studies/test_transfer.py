"""The study `transfer`, on the tiny model: every cell from the saved rows again, and what is known by the other wording."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from culnig.errors import UsageError
from culnig.evaluation import EvalResult
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.statistics.tests import adjust
from culnig.studies import STUDIES, SavedRun, scored_sets
from culnig.studies.transfer import TransferSettings, known
from culnig.studies.transfer.sets import OWN, homes, random_names, sets
from tests.helpers.configs import write_config, write_items

FOUND = {"a b": "transfer-a-b", "own": "culture-general"}
"""What neurons are found on -> its condition."""


def _config(folder, reference_dir):
    """The tiny run with two wordings, a second culture test set that names countries in half its questions, and ability."""
    path = write_config(folder, reference_dir)
    config = yaml.safe_load(path.read_text())
    second = folder / "second.jsonl"
    write_items(second, "second")
    rows = [json.loads(line) for line in second.read_text().splitlines()]
    for row in rows[::2]:
        row["question"] = f"{row['country']} {row['question']}"
    second.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = write_items(folder / "a.jsonl", "a"), write_items(folder / "a-ctrl.jsonl", "a", control=True)
    config["test"].append({"role": "culture", "items": str(second)})
    config |= {"studies": ["transfer"], "guards": {"text": None, "reading": "main"}}
    config["prompts"]["wordings"] = 2
    config["transfer"] = {
        "benchmarks": {
            "own": {part: dict(config["identify"][part]) for part in ("neur", "ctrl")},
            "a b": {"neur": {"items": other[0]}, "ctrl": {"items": other[1]}, "test": str(second)},
        }
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def config_path(tmp_path_factory, reference_dir):
    return _config(tmp_path_factory.mktemp("transfer"), reference_dir)


@pytest.fixture(scope="module")
def finished(config_path, tmp_path_factory):
    return run(load_config(config_path), tmp_path_factory.mktemp("run") / "run")


def table(run_directory, name):
    return pd.read_parquet(run_directory.path / "tables" / f"{name}.parquet")


def rows_of(finished, label, condition):
    (test,) = (test for test in finished.config.test if test.label == label)
    return finished.result_on(test, condition).rows.set_index(["id", "wording"]).sort_index()


def known_of(untouched):
    """The rows of items that are right in the other of two wordings, step by step."""
    answers = {key: bool(right) for key, right in untouched["correct"].items()}
    other = {"qa-1": "qa-2", "qa-2": "qa-1"}
    return pd.Series({(item, wording): answers[item, other[wording]] for item, wording in answers})


@pytest.mark.slow
def test_cells_are_means_of_saved_rows(finished):
    cells = table(finished, "transfer-cells")
    assert set(cells["test"]) == {test.label for test in finished.config.test if test.role != "surface"}
    assert set(cells["wording"]) == {"all", "qa-1", "qa-2"} and set(cells["items"]) == {"all", "known"}
    for cell in cells[cells["metric"] != "contrast_margin"].to_dict("records"):
        untouched = rows_of(finished, cell["test"], "none")
        masked = rows_of(finished, cell["test"], FOUND[cell["found on"]])
        controls = random_names(FOUND[cell["found on"]], finished.config)
        others = ["none"] if cell["against"] == "untouched" else controls
        other = np.mean([rows_of(finished, cell["test"], o)[cell["metric"]].astype(float) for o in others], axis=0)
        taken = pd.Series(True, untouched.index) if cell["items"] == "all" else known_of(untouched)
        if cell["wording"] != "all":
            taken &= untouched.index.get_level_values("wording") == cell["wording"]
        difference = (masked[cell["metric"]].astype(float) - other)[taken.reindex(untouched.index)]
        assert cell["rows"] == len(difference)
        assert cell["difference"] == pytest.approx(difference.mean())
        assert cell["low"] <= cell["difference"] + 1e-12 and cell["difference"] <= cell["high"] + 1e-12


@pytest.mark.slow
def test_the_contrast_margin_is_of_the_rows_that_name_a_country(finished):
    cells = table(finished, "transfer-cells")
    margins = cells[cells["metric"] == "contrast_margin"]
    (label,) = set(margins["test"])
    assert label.endswith("second.jsonl")
    whole = margins[(margins["items"] == "all") & (margins["wording"] == "all") & (margins["against"] == "untouched")]
    assert len(whole) == 2 and (whole["rows"] == 48).all()  # 24 of 48 items, two wordings
    for cell in whole.to_dict("records"):
        masked, untouched = (rows_of(finished, label, name) for name in (FOUND[cell["found on"]], "none"))

        def margin(row):
            z = np.array(row["option_logprobs"]) - np.array(row["contrast_offsets"])
            return z[row["gold"]] - np.delete(z, row["gold"]).mean()

        named = untouched["contrast_offsets"].notna()
        expected = (masked[named].apply(margin, axis=1) - untouched[named].apply(margin, axis=1)).mean()
        assert cell["difference"] == pytest.approx(expected)


@pytest.mark.slow
def test_p_values_are_corrected_over_the_cells_of_a_matrix(finished):
    cells = table(finished, "transfer-cells")
    for _, part in cells.groupby(["items", "wording", "against", "metric"]):
        assert part["p_adjusted"].tolist() == pytest.approx(list(adjust(part["p"], "holm")))


@pytest.mark.slow
def test_random_sets_match_theirs(finished):
    shapes = {"own": finished.neurons("culture-general"), "a b": finished.neurons("transfer-a-b")}
    for label, chosen in shapes.items():
        controls = [finished.neurons(name) for name in random_names(FOUND[label], finished.config)]
        assert len(controls) == 2 and len(controls[0] & controls[1]) < len(chosen)
        for control in controls:
            assert control.counts() == chosen.counts() and not len(control & chosen)


@pytest.mark.slow
def test_what_the_run_finds_itself_is_not_scored_twice(finished):
    stems = {path.stem for path in (finished.path / "scores").glob("*.safetensors")}
    assert stems == {"neur", "ctrl", "crc", "transfer-a-b-neur", "transfer-a-b-ctrl"}
    evaluated = {path.stem for path in (finished.path / "evals").glob("second/*.parquet")}
    random = {f"random-{i}" for i in range(2)} | {f"random-transfer-a-b-{i}" for i in range(2)}
    assert evaluated == {"none", *FOUND.values(), *random}
    planned = STUDIES.get("transfer").planned(finished.config, [])
    assert {c.name for c in planned} == {c.name for c in STUDIES.get("transfer").conditions(finished)} == evaluated


@pytest.mark.slow
def test_the_report_shows_matrix_and_overlap(finished):
    numbers = finished.results["transfer"]
    (pair,) = numbers["overlap"]
    assert pair["jaccard"] == pytest.approx(
        finished.neurons("culture-general").jaccard(finished.neurons("transfer-a-b"))
    )
    assert numbers["neurons"] == {label: len(finished.neurons(name)) for label, name in FOUND.items()}
    figure = json.loads((finished.path / "figures" / "1-1.json").read_text())
    (heat,) = (trace for trace in figure["data"] if trace["type"] == "heatmap")
    assert heat["y"] == list(FOUND) and len(heat["x"]) == 3
    assert len(figure["layout"]["shapes"]) == 1, "the cell of the benchmark's own test set is framed"
    matrix = table(finished, "transfer-correct-random")
    assert len(matrix) == 12 and matrix.iloc[0, 3].count("(") == 1
    assert "Transfer between benchmarks" in (finished.path / "report.html").read_text()


def made(correct, wording, ids=None):
    """An untouched result with these answers in these wordings; ids are the same for each wording unless given."""
    ids = ids or [f"i{k}" for k in range(len(correct) // len(set(wording)))] * len(set(wording))
    return EvalResult(pd.DataFrame({"benchmark": "b", "id": ids, "wording": wording, "correct": correct}))


def test_known_by_the_other_wording():
    result = made([True, True, False, False, True, False], ["x"] * 3 + ["y"] * 3)
    assert known(result).tolist() == [False, True, False, True, True, False]


def test_known_in_one_wording_by_the_rows_themselves():
    assert known(made([True, False, True], ["x"] * 3)).tolist() == [True, False, True]


def test_orders_of_options_are_one_wording():
    """An item of which more than half of the orders are right is known; half is not enough."""
    result = made([True, True, False] * 2, ["x/0", "x/1", "x/2"] * 2, ["i"] * 3 + ["j"] * 3)
    assert known(result).all()
    halves = made([True, False, True, True], ["x/0", "x/1", "y/0", "y/1"], ["i"] * 4)
    assert known(halves).tolist() == [True, True, False, False]


def test_an_item_without_the_other_wording_is_not_known():
    result = made([True, True, True], ["x", "y", ""], ["i", "i", "j"])
    assert known(result).tolist() == [True, True, False]


def test_own_test_sets(config_path):
    config = load_config(config_path)
    second = next(test.label for test in config.tests_of("culture") if test.label.endswith("second.jsonl"))
    assert sets(config) == FOUND and homes(config) == {"own": None, "a b": second}
    named = load_config("transfer")
    assert sets(named)["everyday"] == "culture-general" and set(sets(named)) == {
        "everyday",
        "blend_built",
        "culturalbench",
    }
    assert homes(named) == {name: f"{name}:test" for name in sets(named)}
    without = named.model_copy(
        update={
            "transfer": TransferSettings(benchmarks={"b": {"neur": {"items": "x.jsonl"}, "ctrl": {"items": "y.jsonl"}}})
        }
    )
    assert sets(without) == {OWN: "culture-general", "b": "transfer-b"}
    assert homes(without) == {OWN: "everyday:test", "b": None}


def test_an_unknown_test_set_is_an_error(config_path, tmp_path):
    config = load_config(config_path, ["transfer.benchmarks.a b.test=nowhere:test"])
    with pytest.raises(
        UsageError, match=r"transfer\.benchmarks\.a b\.test: the run has no culture test set 'nowhere:test'"
    ):
        scored_sets(config)
    assert SavedRun(tmp_path, config).parts  # the settings themselves are read


@pytest.mark.parametrize(("names", "said"), [(["a b", "a-b"], "share one score file"), ([OWN], "rename the benchmark")])
def test_names_that_clash(names, said):
    entry = {"neur": {"items": "x.jsonl"}, "ctrl": {"items": "y.jsonl"}}
    with pytest.raises(ValueError, match=said):
        TransferSettings(benchmarks=dict.fromkeys(names, entry))
