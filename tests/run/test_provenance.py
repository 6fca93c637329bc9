"""Runs that cannot lie about what they were made from: names, hashes, early errors, resuming."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from filelock import FileLock

import culnig
from culnig.errors import CulnigError, UsageError
from culnig.evaluation.results import read_meta
from culnig.progress import Silent
from culnig.run.checks import check_config
from culnig.run.config import load_config
from culnig.run.pipeline import run
from culnig.studies import test_names as names_of
from tests.helpers.configs import write_config, write_items


class Listening(Silent):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def write_small(folder, reference_dir, **more):
    """A small run: one study, four questions a country."""
    path = write_config(folder, reference_dir)
    for name in ("neur", "test", "ability", "crc"):
        write_items(folder / f"{name}.jsonl", name, 16)
    write_items(folder / "ctrl.jsonl", "neur", 16, control=True)
    config = yaml.safe_load(path.read_text()) | {"studies": ["culture_general"], "random_controls": 1} | more
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module", autouse=True)
def _without_analysis():
    """The steps before the analysis are what is tested here; bootstraps would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("culnig.run.pipeline._Run.finish", lambda self, started: None)
        yield


@pytest.fixture(scope="module")
def finished(_without_analysis, tmp_path_factory, reference_dir):
    folder = tmp_path_factory.mktemp("small")
    path = write_small(folder, reference_dir)
    return path, run(load_config(path), folder / "run")


@pytest.fixture
def copied(finished, tmp_path):
    """A finished run with its item files, to change."""
    path, directory = finished
    folder = tmp_path / "copy"
    shutil.copytree(path.parent, folder)
    for config in (folder / "tiny.yaml", folder / "run" / "config.yaml"):
        config.write_text(config.read_text().replace(str(path.parent), str(folder)))
    assert directory.path == path.parent / "run"
    return folder / "tiny.yaml", folder / "run"


def test_every_output_says_what_it_was_made_from(finished):
    _, directory = finished
    scores, result = (
        directory.scores("neur").meta,
        read_meta(directory.path / "evals" / "test" / "culture-general.parquet"),
    )
    for meta, version in ((scores, "scoring_version"), (result, "evaluation_version")):
        assert {"data_hash", "template_hash", "model_hash", "legacy_model_hash", "prompts", version} <= set(meta)
    marker = json.loads((directory.path / "neurons" / ".culture_general.done").read_text())
    assert set(marker["scores"]) == {"neur", "ctrl", "crc"} and marker["rule_version"] == 1
    assert directory.neurons("culture-general").provenance["rule_version"] == 1


@pytest.mark.parametrize(("changed", "named"), [("neur", "neur.safetensors"), ("test", "none.parquet")])
def test_changed_items_are_noticed_without_the_model(copied, monkeypatch, changed, named):
    path, out = copied
    monkeypatch.setattr("culnig.run.pipeline.load_model", None)
    run(load_config(path), out)  # nothing has changed: the report alone
    write_items(path.parent / f"{changed}.jsonl", "other", 16)
    with pytest.raises(UsageError, match=f"{named} was made from other items .*--redo"):
        run(load_config(path), out)


def test_redo_makes_again_what_differs_alone(copied):
    path, out = copied
    kept = out / "evals" / "ability" / "none.parquet"
    before, stamp = read_meta(out / "evals" / "test" / "none.parquet"), kept.stat().st_mtime_ns
    write_items(path.parent / "test.jsonl", "other", 16)
    run(load_config(path), out, redo=True)
    assert read_meta(out / "evals" / "test" / "none.parquet")["data_hash"] != before["data_hash"]
    assert kept.stat().st_mtime_ns == stamp
    run(load_config(path), out)


def test_redone_scores_give_other_sets_and_results(copied):
    path, out = copied
    before = read_meta(out / "evals" / "test" / "culture-general.parquet")["intervention"]["neurons_hash"]
    write_items(path.parent / "neur.jsonl", "other", 16)
    run(load_config(path), out, redo=True)
    assert read_meta(out / "evals" / "test" / "culture-general.parquet")["intervention"]["neurons_hash"] != before
    run(load_config(path), out)


def test_a_changed_template_is_noticed(tmp_path, reference_dir):
    template = tmp_path / "own.yaml"
    wording = {"id": "a", "text": "w1 {question}", "control": "w1"}
    template.write_text(yaml.safe_dump({"cf": {"wordings": [wording]}}))
    path = write_small(tmp_path, reference_dir, prompts={"formulation": "cf", "template": str(template)})
    run(load_config(path), tmp_path / "run")
    template.write_text(yaml.safe_dump({"cf": {"wordings": [wording | {"text": "w2 {question}"}]}}))
    with pytest.raises(UsageError, match="was made from other prompt templates"):
        run(load_config(path), tmp_path / "run")


def test_another_model_in_the_same_folder_is_noticed(tmp_path, reference_dir):
    model = tmp_path / "model"
    shutil.copytree(reference_dir, model)
    path = write_small(tmp_path, model)
    out = tmp_path / "run"
    run(load_config(path), out)
    lm = culnig.load_model(model)
    lm.model.get_output_embeddings().weight.data.mul_(2)
    lm.model.save_pretrained(model)
    (out / "evals" / "test" / "none.parquet").unlink()  # so that the model is needed
    with pytest.raises(UsageError, match="was made from other model"):
        run(load_config(path), out)


def test_files_of_an_earlier_version_are_accepted_with_a_line(copied):
    from culnig.evaluation import EvalResult

    path, out = copied
    (out / "neurons" / ".culture_general.done").write_text("")
    old = out / "evals" / "test" / "none.parquet"
    result = EvalResult.load(old)
    for key in ("template_hash", "legacy_model_hash", "evaluation_version"):
        del result.meta[key]
    result.save(old)
    reporter = Listening()
    run(load_config(path), out, reporter=reporter)
    assert any("2 files of an earlier version" in line for line in reporter.lines)


def test_scores_of_other_items_are_not_taken(copied, tmp_path):
    """The other run's config is the same; its item file has changed since."""
    path, out = copied
    write_items(path.parent / "neur.jsonl", "other", 16)
    config = load_config(path, [f"compute.scores_from={out}"])
    with pytest.raises(UsageError, match="scored neur with other items"):
        run(config, tmp_path / "new")


def test_a_refused_run_changes_nothing(copied):
    path, out = copied

    def state():
        return {p: p.read_bytes() for p in (out / "config.yaml", out / "neurons" / ".culture_general.done")}

    before = state()
    with FileLock(out / ".lock"), pytest.raises(UsageError, match="in use"):
        run(load_config(path, ["seeds=2"]), out)
    assert state() == before


def test_test_sets_of_one_name_are_kept_apart(tmp_path, reference_dir):
    config = yaml.safe_load(write_config(tmp_path, reference_dir).read_text())
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_items(tmp_path / folder / "items.jsonl", folder)
    files = [str(tmp_path / name / "items.jsonl") for name in "ab"]
    plain = write_items(tmp_path / "plain-text.jsonl", "plain")
    config["test"] = [{"role": "culture", "items": f} for f in files]
    config["test"] += [{"role": "ability", "items": "everyday:test"}, {"role": "surface", "items": plain}]
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    names = names_of(load_config(tmp_path / "tiny.yaml"))
    assert len({name.casefold() for name in names.values()} | {"plain-text"}) == 5
    assert names["everyday:test"] == "everyday-test"
    config["test"].reverse()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    assert names_of(load_config(tmp_path / "tiny.yaml")) == names


def _broken(config, folder):
    """Name of an error -> what makes it, and the words of its message."""
    missing = str(folder / "nothing.jsonl")
    return {
        "role": (
            {"test": [t for t in config["test"] if t["role"] != "culture"]},
            "study culture_general needs .* role culture",
        ),
        "task": ({"studies": ["finetune"]}, "study finetune needs a test set of the role task"),
        "short": ({"studies": ["short_answers"]}, "needs a test set of the role short"),
        "study": ({"studies": ["nonsense"]}, "unknown study 'nonsense'"),
        "benchmark": ({"identify": {"neur": {"items": "nonsense:neur"}}}, "identify.neur: no benchmark"),
        "split": ({"identify": {"crc": {"items": "everyday:nonsense"}}}, "identify.crc: .*no split 'nonsense'"),
        "file": ({"test": [config["test"][0] | {"items": missing}]}, "test.0: no such file"),
        "template": ({"prompts": {"template": "nonsense"}}, "no prompt template 'nonsense'"),
        "text": ({"guards": {"text": missing}}, "guards.text: no such file"),
        "model": ({"model": {"name": "nonsense"}}, "no model 'nonsense'"),
        "scores_from": ({"compute": {"scores_from": missing}}, "is not a run folder"),
        "section": (
            {"studies": ["fidelity"], "fidelity": {"items": {"items": missing}}},
            "fidelity.items: no such file",
        ),
    }


@pytest.mark.parametrize("kind", ["role", "task", "short", "study", "benchmark", "split", "file", "template", "text", "model", "scores_from", "section"])  # fmt: skip
def test_config_errors_show_before_a_model_is_loaded(tmp_path, reference_dir, monkeypatch, kind):
    from culnig.run.plan import plan

    path = write_config(tmp_path, reference_dir)
    config = yaml.safe_load(path.read_text())
    change, message = _broken(config, tmp_path)[kind]
    path.write_text(yaml.safe_dump(config | change))
    monkeypatch.setattr("culnig.run.pipeline.load_model", None)
    monkeypatch.setattr("culnig.run.plan.skeleton", None)
    for begin in (lambda c: run(c, tmp_path / "run"), plan):
        with pytest.raises(CulnigError, match=message):
            begin(load_config(path))
    assert not (tmp_path / "run").exists()


def test_embedded_configs_are_found_right():
    check_config(load_config("quickstart"))
