"""Our benchmarks as a task of inspect_ai: the same answers as `culnig eval`."""

from __future__ import annotations

import pytest

import culnig
from culnig import Neuron, NeuronSet
from culnig.errors import UsageError
from culnig.neurons import GATE
from tests.helpers.cli import invoke
from tests.helpers.configs import write_items

pytest.importorskip("inspect_ai")
pytestmark = pytest.mark.slow


def by_inspect(tmp_path, model, neurons=None, **arguments):
    """Evaluate the task; return its log as a result."""
    from inspect_ai import eval as run
    from inspect_ai.model import get_model

    from culnig.integrations.inspect_tasks import items, read_log

    given = get_model(
        f"culnig/{model}", memoize=False, chat_template="off", **({"neurons": str(neurons)} if neurons else {})
    )
    (log,) = run(items(**arguments), model=given, log_dir=str(tmp_path / "logs"), display="none", log_format="json")
    assert log.status == "success", log.error
    return read_log(log.location)


def by_culnig(tmp_path, model, items, formulation, *more):
    path = tmp_path / "ours.parquet"
    invoke(
        "eval",
        "-m",
        model,
        "-i",
        items,
        "--formulation",
        formulation,
        "--chat-template",
        "off",
        "--out",
        path,
        "--json",
        *more,
    )
    return culnig.EvalResult.load(path)


@pytest.fixture
def made(tmp_path, tiny):
    chosen = {Neuron(GATE, layer, index): 1.0 for layer in (1, 2) for index in range(80)}
    NeuronSet(chosen, model_name=tiny.name, provenance={"model_hash": tiny.fingerprint}).save(tmp_path / "g.json")
    return tmp_path / "g.json", write_items(tmp_path / "words.jsonl", "test", 12)


@pytest.mark.parametrize("formulation", ["cf", "mcf"])
@pytest.mark.parametrize("change", [False, True])
def test_by_log_probability(tmp_path, reference_dir, made, formulation, change):
    neurons, items = made
    theirs = by_inspect(
        tmp_path, reference_dir, neurons if change else None, items=items, formulation=formulation, scoring="logprob"
    )
    ours = by_culnig(tmp_path, reference_dir, items, formulation, *(["--neurons", neurons] if change else []))
    for column in ("id", "prediction", "correct", "calibration"):
        assert list(theirs.rows[column]) == list(ours.rows[column])
    assert theirs.rows["p_gold"].to_numpy() == pytest.approx(ours.rows["p_gold"].to_numpy(), abs=1e-5)
    assert culnig.compare(theirs, ours).difference == 0


@pytest.mark.model
def test_by_letter_on_the_embedded_model(tmp_path, smol):
    """The model's one greedy token, read as a letter, is what mcf counts without calibration."""
    chosen = {Neuron(GATE, layer, index): 1.0 for layer in range(2, 12) for index in range(0, 1536, 48)}
    NeuronSet(chosen, model_name=smol.name, provenance={"model_hash": smol.fingerprint}).save(tmp_path / "g.json")
    path = tmp_path / "six.jsonl"
    culnig.write_items(
        culnig.load_items("everyday:test", countries=["China", "USA"], limit_per_country=4, draws=1), path
    )
    theirs = by_inspect(tmp_path, "smollm2-135m", tmp_path / "g.json", items=str(path))
    ours = by_culnig(tmp_path, "smollm2-135m", path, "mcf", "--neurons", tmp_path / "g.json")
    assert list(theirs.rows["prediction"]) == list(ours.rows["prediction"])
    assert list(theirs.rows["correct"]) == list(ours.rows["correct"])


def test_misuse_is_one_line(tmp_path, reference_dir, tiny, made):
    from inspect_ai.model import get_model

    from culnig.integrations.inspect_tasks import items

    with pytest.raises(UsageError, match="needs formulation=mcf"):
        items(items=made[1], formulation="cf")
    with pytest.raises(UsageError, match="unknown model argument colour"):
        get_model(f"culnig/{reference_dir}", memoize=False, colour="red")
    wrong = NeuronSet.load(made[0])
    wrong.provenance["model_hash"] = "0" * 16
    wrong.save(made[0])
    with pytest.raises(UsageError, match="another model"):
        get_model(f"culnig/{reference_dir}", memoize=False, neurons=str(made[0]))
