"""The report is written after every stage, and says what is still to come."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from culnig.evaluation import EvalResult
from culnig.run import pipeline
from culnig.run.config import load_config
from culnig.run.stages import finished_sections, stages_of
from tests.helpers.configs import write_config

pytestmark = pytest.mark.slow  # a whole run


@pytest.fixture(scope="module")
def seen(tmp_path_factory, reference_dir):
    """A run, and the page and stages after each writing of its report."""
    config = write_config(tmp_path_factory.mktemp("config"), reference_dir)
    settings = ["studies=[culture_general, culture_specific, neuron_cards]", "neuron_cards.top=3"]
    found, patch = [], pytest.MonkeyPatch()
    for name in ("write_report_so_far", "write_report"):
        write = getattr(pipeline, name)

        def watched(*arguments, write=write, name=name):
            path = write(*arguments)
            found.append((name, path.read_text(), [p.name for p in path.parent.iterdir()]))
            return path

        patch.setattr(pipeline, name, watched)
    folder = tmp_path_factory.mktemp("runs") / "stages"
    directory = pipeline.run(load_config(config, settings), folder)
    patch.undo()
    return directory, found


def stages_in(page):
    return re.findall(r'<li class="(done|)">(.*?): (?:done|still to come)</li>', page)


def test_the_page_grows_with_the_run(seen):
    _, found = seen
    names = [name for name, *_ in found]
    assert names[-1] == "write_report" and names.count("write_report_so_far") >= 4
    done = [sum(state == "done" for state, _ in stages_in(page)) for _, page, _ in found[:-1]]
    assert done == sorted(done) and done[0] >= 1
    first, *_, last_so_far, last = (page for _, page, _ in found)
    assert "This run is not finished" in first and "The verdict" not in first
    assert "The verdict" in last_so_far and "measure neuron_cards" in last_so_far
    assert "not finished" not in last and not stages_in(last)
    assert all("manifest.json" not in there and "results.json" not in there for *_, there in found[:-1])


def test_the_first_answer_comes_before_the_countries(seen):
    """One page has the claim while conditions of later studies are still to come."""
    _, found = seen
    early = [
        page
        for _, page, _ in found
        if "The verdict" in page and re.search(r"evaluate \((\d+) of (\d+) results\): still", page)
    ]
    assert early and "Culture-specific neurons</h3>" not in early[0]


def test_a_finished_run_has_no_stage_to_come_but_the_last(seen):
    directory, _ = seen
    assert [name for name, done in stages_of(directory) if not done] == ["analyse and write the report"]
    assert [section.study for section in finished_sections(directory)] == [
        "culture_general",
        "neuron_cards",
        "culture_specific",
    ]


def test_prompts_are_saved_as_the_model_saw_them(seen, tiny):
    directory, _ = seen
    test = directory.config.test[0]
    prompts, rows = (
        pd.read_parquet(directory.prompts_path(test)),
        EvalResult.load(directory.result_path(test, "none")).rows,
    )
    assert list(prompts["id"]) == list(rows["id"])
    item = test.load(0)[0]
    assert item.question in prompts["prompt"][0]
    assert [answer.strip() for answer in prompts["answers"][0]] == list(item.options)
