"""Runs in which the thresholds leave no neuron."""

from __future__ import annotations

import pytest

from culnig.errors import UsageError
from culnig.neurons import NeuronSet
from culnig.run.config import load_config
from culnig.run.directory import RunDirectory
from culnig.run.pipeline import analyse, run
from tests.helpers.configs import write_config


@pytest.fixture(scope="module")
def config_path(tmp_path_factory, reference_dir):
    return write_config(tmp_path_factory.mktemp("config"), reference_dir)


@pytest.fixture(scope="module")
def without_country_sets(config_path, tmp_path_factory):
    """A finished run with z beyond reach."""
    settings = [
        "culture_specific.z=1000",
        "studies=[culture_general, culture_specific, related]",
        "random_controls=1",
        "guards.text=null",
    ]
    return run(load_config(config_path, settings), tmp_path_factory.mktemp("empty") / "run")


def test_no_country_set_holds_a_neuron(without_country_sets):
    """The run finishes, and its sections say why they are empty."""
    done = without_country_sets
    page = (done.path / "report.html").read_text()
    assert page.count("No country set reached the thresholds (culture_specific: t = 0.01, r = 0.01, z = 1000).") == 2
    assert done.results["culture_specific"]["sizes"] == dict.fromkeys(("China", "Iran", "Mexico", "Spain"), 0)
    assert not list((done.path / "evals").rglob("specific-*"))


def test_an_empty_culture_general_set_ends_the_run_before_it_evaluates(config_path, without_country_sets, tmp_path):
    scored = f"compute.scores_from={without_country_sets.path}"
    for study in ("culture_general", "layers", "modules"):
        with pytest.raises(UsageError, match="no neuron reached the thresholds of the culture-general set") as caught:
            run(load_config(config_path, ["culture_general.r=1", scored, f"studies=[{study}]"]), tmp_path / study)
        assert "r = 1" in str(caught.value) and len(str(caught.value).splitlines()) == 1
        assert not (tmp_path / study / "evals").exists()


def test_one_country_set_is_too_few_to_test(config_path, without_country_sets, tmp_path):
    """What was measured is shown; no sentence claims that there is no effect."""
    scored = f"compute.scores_from={without_country_sets.path}"
    done = run(load_config(config_path, [scored, "guards.text=null", "studies=[culture_specific]"]), tmp_path / "run")
    for country in ("China", "Iran", "Mexico"):
        NeuronSet().save(done.neurons_path(f"specific-{country}"))
    (section,) = analyse(RunDirectory.open(done.path))
    assert "tested from 4 on" in section.text[0] and not section.findings


def test_sets_of_equal_size(config_path, tmp_path):
    """Every country's set is cut to the size of the smallest, and has an own-country effect of its own."""
    settings = ["specific_equal=true", "guards.text=null", "studies=[culture_specific]"]
    done = run(load_config(config_path, settings), tmp_path / "run")
    sizes = {name: len(done.neurons(name)) for name in done.set_names("specific-")}
    smallest = min(size for size in sizes.values() if size)
    assert {len(done.neurons(name)) for name in done.set_names("equal-")} == {smallest}
    kinds = {row["sets"] for row in done.results["culture_specific"]["own_country_kinds"]}
    assert kinds == {"random (1 draw)", "equal size"}
