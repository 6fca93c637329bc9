"""Runs whose operation replaces values by means: measured once, kept, checked, and named in the report."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

import culnig
from culnig import Means
from culnig.errors import UsageError
from culnig.progress import Silent
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.run.plan import plan
from tests.helpers.configs import write_config, write_items

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reference_dir):
    """A small run with pmi in its scores, which the means do not depend on; and its config."""
    folder = tmp_path_factory.mktemp("replaced")
    path = write_config(folder, reference_dir)
    for name in ("neur", "test", "ability", "crc"):
        write_items(folder / f"{name}.jsonl", name, 16)
    write_items(folder / "ctrl.jsonl", "neur", 16, control=True)
    config = yaml.safe_load(path.read_text()) | {"studies": ["culture_general", "dose"], "random_controls": 1}
    config["prompts"] |= {"score_calibration": "pmi"}
    config |= {"operation": "mean", "dose": {"factors": [0.0]}}
    path.write_text(yaml.safe_dump(config))
    return path, run(load_config(path), folder / "run")


def test_means_are_kept_and_used(finished, tiny):
    _, directory = finished
    path = directory.means_path("neur")
    means = Means.load(path)
    assert not directory.means_path("ctrl").exists() and means.count == 16
    assert directory.manifest["data"]["means-neur"]["data_hash"] == means.meta["data_hash"]
    result = directory.result("culture", "culture-general")
    assert result.meta["intervention"]["reference_hash"] == means.meta["data_hash"]
    items = culnig.read_items(path.parents[2] / "neur.jsonl")
    again = culnig.mean_values(tiny, items, formulation="cf")
    for module, values in again.values.items():
        np.testing.assert_allclose(means.values[module], values, rtol=1e-5, atol=1e-7)
    with culnig.replace(tiny, directory.neurons("culture-general"), means):
        expected = culnig.evaluate(tiny, culnig.read_items(path.parents[2] / "test.jsonl"), formulation="cf")
    np.testing.assert_allclose(result.rows["p_gold"], expected.rows["p_gold"], rtol=1e-4)
    assert directory.result("culture", "dose-0").meta["intervention"]["operation"] == "scale=0"
    random = directory.result("culture", "random-0").meta["intervention"]
    assert random["operation"] == "mean" and random["reference_hash"] == means.meta["data_hash"]


def test_the_report_says_what_was_done(finished):
    _, directory = finished
    claim = directory.results["culture_general"]["claim"]
    assert claim.startswith("Replacing ") and "by the mean over the cultural items changes its accuracy" in claim
    page = (directory.path / "report.html").read_text()
    assert "under replacement by the mean over the cultural items" in page and "Switching off" not in page


class Steps(Silent):
    def __init__(self):
        self.names = []

    def step(self, name, *args, **more):
        self.names.append(name)
        return super().step(name, *args, **more)


def test_a_second_run_measures_nothing_and_a_lost_file_is_made_again(finished, monkeypatch):
    path, directory = finished
    monkeypatch.setattr("culnig.run.pipeline._Run.finish", lambda self, started: None)
    steps = Steps()
    run(load_config(path), directory.path, reporter=steps)
    assert not any(name.startswith(("measure", "evaluate", "load")) for name in steps.names)
    before = directory.means_path("neur").read_bytes()
    directory.means_path("neur").unlink()
    run(load_config(path), directory.path, reporter=steps)
    assert "measure means of neur" in steps.names and directory.means_path("neur").read_bytes() == before


def test_means_of_something_else_are_refused(finished, tmp_path, monkeypatch):
    path, directory = finished
    monkeypatch.setattr("culnig.run.pipeline._Run.finish", lambda self, started: None)
    file = directory.means_path("neur")
    kept, means = file.read_bytes(), Means.load(file)
    try:
        for wrong, message in (
            ({"data_hash": "other"}, "made from other items"),
            ({"template_hash": "other"}, "made from other prompt templates"),
        ):
            Means(means.values, means.count, means.meta | wrong).save(file)
            with pytest.raises(UsageError, match=message):
                run(load_config(path), directory.path)
        Means(means.values, means.count, means.meta | {"model_hash": "f00d", "legacy_model_hash": "f00d"}).save(file)
        result = directory.result_path(directory.config.test[0], "dose-0")
        result.unlink()
        with pytest.raises(UsageError, match="made from other model"):
            run(load_config(path), directory.path)
        steps = Steps()
        run(load_config(path), directory.path, reporter=steps, redo=True)
        assert "measure means of neur" in steps.names and result.exists()
    finally:
        file.write_bytes(kept)


def test_the_plan_counts_the_means(finished):
    path, _ = finished
    steps = {step.name: step for step in plan(load_config(path), tflops=1.0).steps}
    assert steps["means-neur"].prompts == 16 and steps["means-neur"].conditions == 1


def test_wrong_operations_are_said_early(finished):
    path, _ = finished
    with pytest.raises(UsageError, match=r"unknown operation 'means'; there are suppress"):
        load_config(path, ["operation=means"])
    json.dumps(load_config(path, ["operation=control"]).model_dump(mode="json"))
