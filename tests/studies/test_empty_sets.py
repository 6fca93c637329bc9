"""Runs in which the thresholds leave no neuron."""

from __future__ import annotations

import pytest

from culnig.errors import UsageError
from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.run.test_pipeline import write_config


@pytest.fixture(scope="module")
def config_path(tmp_path_factory, reference_dir):
    return write_config(tmp_path_factory.mktemp("config"), reference_dir)


def test_no_country_set_holds_a_neuron(config_path, tmp_path):
    """The run finishes, and its sections say why they are empty."""
    studies = ["culture_general", "culture_specific", "related"]
    small = ["random_controls=1", "guards.text=null", f"studies={studies}"]
    done = run(load_config(config_path, ["culture_specific.z=1000", *small]), tmp_path / "run")
    page = (done.path / "report.html").read_text()
    assert page.count("No country set reached the thresholds (culture_specific: t = 0.01, r = 0.01, z = 1000).") == 2
    assert done.results["culture_specific"]["sizes"] == dict.fromkeys(("China", "Iran", "Mexico", "Spain"), 0)
    assert not list((done.path / "evals").rglob("specific-*"))


@pytest.mark.parametrize("study", ["culture_general", "layers", "modules"])
def test_an_empty_culture_general_set_ends_the_run_before_it_evaluates(config_path, tmp_path, study):
    with pytest.raises(UsageError, match="no neuron reached the thresholds of the culture-general set") as caught:
        run(load_config(config_path, ["culture_general.r=1", f"studies=[{study}]"]), tmp_path / "run")
    assert "r = 1" in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run" / "evals").exists()


def test_two_country_sets_are_too_few_to_test(config_path, tmp_path):
    """One or two sets are shown; the sentence does not claim that there is no effect."""
    small = ["random_controls=1", "guards.text=null", "studies=[culture_specific]"]
    done = run(load_config(config_path, small), tmp_path / "run")
    for country in ("China", "Iran", "Mexico"):
        path = done.neurons_path(f"specific-{country}")
        done.neurons(path.stem).top(0).save(path)
    from culnig.run.directory import RunDirectory
    from culnig.run.pipeline import analyse

    (section,) = analyse(RunDirectory.open(done.path))
    assert "tested from 3 on" in section.text[0] and not section.findings
