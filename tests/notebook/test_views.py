"""What `show()` draws: the report's figures, the numbers of the thing, and text of anyone's as text."""

from __future__ import annotations

import sys
from html import escape
from types import SimpleNamespace

import numpy as np
import pytest

from culnig.errors import UsageError
from culnig.evaluation import EvalResult, compare_by
from culnig.neurons import Neuron, NeuronSet
from culnig.notebook import view_neurons, view_result, view_run, view_scores
from culnig.run.config import load_config
from culnig.run.directory import RunDirectory
from tests.helpers.configs import write_config
from tests.helpers.results import made
from tests.helpers.scores import make

HOSTILE = "<img src=x onerror=alert(1)>"
GATE, QUERY = "mlp.gate_proj", "self_attn.q_proj"


@pytest.fixture
def neurons():
    return NeuronSet({Neuron(GATE, 2, 5): 3.0, Neuron(GATE, 2, 1): 2.0, Neuron(QUERY, 0, 4): 1.0}, model_name="tiny")


@pytest.fixture
def results():
    rng = np.random.default_rng(0)
    before, after = made(rng.random(60) < 0.8), made(rng.random(60) < 0.5)
    countries = [("China", "Iran", HOSTILE)[i % 3] for i in range(60)]
    return tuple(EvalResult(r.rows.assign(country=countries), r.meta) for r in (before, after))


@pytest.fixture(scope="module")
def run(tmp_path_factory, reference_dir):
    from culnig.run import pipeline

    folder = tmp_path_factory.mktemp("shown")
    config = load_config(write_config(folder, reference_dir), ["studies=[culture_general]", "guards.text=null"])
    return pipeline.run(config, folder / "run")


@pytest.fixture
def kernel(monkeypatch):
    """What a notebook's kernel would show, in order; figures arrive as plotly's MIME bundle."""
    shown = []
    fake = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    display = SimpleNamespace(
        HTML=lambda text: SimpleNamespace(data=text), display=lambda thing: shown.append(thing.data)
    )
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr("plotly.graph_objects.Figure.show", lambda self: shown.append(self))
    return shown


def test_neurons_are_counted_where_they_sit(neurons):
    scores = make(0, layers=4, count=10)
    seen, whole = view_neurons(neurons), view_neurons(neurons, of=scores)
    assert [len(view.figures) for view in (seen, whole)] == [1, 2]
    (_, figure) = whole.figures[0]
    grid = dict(zip(figure.data[0].y, np.asarray(figure.data[0].z), strict=True))
    assert grid["gate_proj"].tolist() == [0, 0, 2, 0] and grid["q_proj"].tolist() == [1, 0, 0, 0]
    assert list(whole.tables["The first 25"]["neuron"]) == [5, 1, 4]


def test_neurons_of_another_model_are_refused(neurons):
    with pytest.raises(UsageError, match="2 layers x"):
        view_neurons(neurons, of=make(0, layers=2))
    with pytest.raises(UsageError, match="not str"):
        view_neurons(neurons, of="smollm2-135m")


def test_an_empty_set_is_shown_without_a_figure():
    view = view_neurons(NeuronSet())
    assert not view.figures and "0 neurons" in view.plain()


def test_scores_show_the_neurons_with_the_highest_difference():
    neur, ctrl = make(1), make(2)
    view = view_scores(neur, ctrl=ctrl, share=0.05, count=3)
    difference = {m: neur.total(m) / neur.count.sum() - ctrl.total(m) / ctrl.count.sum() for m in (GATE, QUERY)}
    table = view.tables["The highest 3"]
    first = table.iloc[0]
    assert first["score"] == pytest.approx(difference[first["module"]][first["layer"], first["neuron"]])
    assert first["score"] >= max(d.max() for d in difference.values()) - 1e-9
    assert np.asarray(view.figures[0][1].data[0].z).sum() == 10 + 4 + 2 + 2  # of 200, 80, 40 and 40


@pytest.mark.parametrize("share", [0, 1.5, -1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(UsageError, match="share"):
        view_scores(make(1), share=share)


def test_a_result_is_shown_by_country(results):
    view = view_result(results[0])
    table = view.tables["By country"].set_index("country")
    assert table.loc["Iran", "accuracy"] == pytest.approx(results[0].rows.query("country == 'Iran'")["correct"].mean())
    assert (table["low"] <= table["accuracy"]).all() and (table["accuracy"] <= table["high"]).all()
    with pytest.raises(UsageError, match="no column 'county'"):
        view_result(results[0], by="county")


def test_a_change_is_that_of_compare(results):
    before, after = results
    view = view_result(after, before=before)
    expected = compare_by(after, before, "country").set_index("country")["difference"]
    shown = view.tables["By country"].set_index("country")["difference"]
    assert shown.to_dict() == pytest.approx(expected.to_dict()) and len(view.figures[0][1].data) == 3


@pytest.mark.slow
def test_a_run_shows_its_report(run):
    view = view_run(run)
    saved = run.results["culture_general"]["claim"]
    assert saved in view.text and len(view.figures) == 4 and "Accuracy by condition" in view.tables
    assert escape(saved) in run._repr_html_()
    with pytest.raises(UsageError, match="it has culture_general"):
        view_run(run, "dose")


def test_an_unfinished_run_says_so(tmp_path):
    run = RunDirectory(tmp_path, load_config("quickstart"))
    with pytest.raises(UsageError, match="unfinished"):
        run.show()
    assert "unfinished" in run._repr_html_()


def test_show_prints_outside_a_notebook(neurons, capsys):
    neurons.show()
    assert "3 neurons of tiny" in capsys.readouterr().out


def test_show_displays_in_a_notebook(neurons, kernel, capsys):
    neurons.show()
    head, caption, figure, table = kernel
    assert "3 neurons of tiny" in head and "Where the neurons sit" in caption and "<table" in table
    assert figure.layout.paper_bgcolor == "#ffffff" and not capsys.readouterr().out


def test_text_of_anyone_is_escaped(results, kernel):
    results[1].show(before=results[0])
    hostile = NeuronSet({Neuron(HOSTILE, 0, 0): 1.0}, model_name=HOSTILE)
    hostile.show()
    scores = make(1, groups=("China", HOSTILE), model=HOSTILE)
    scores.show()
    briefs = [thing._repr_html_() for thing in (hostile, scores, results[0])]
    texts = [*(part for part in kernel if isinstance(part, str)), *briefs]
    assert sum("&lt;img" in text for text in texts) >= 6 and not any("<img" in text for text in texts)
