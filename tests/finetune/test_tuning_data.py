"""Tuning within a run uses the run's items, places and way of loading; an arm's seed moves order and adapters alone."""

from __future__ import annotations

import pytest
import yaml

from culnig.data import DataConfig
from culnig.errors import UsageError
from culnig.finetune import tuning
from culnig.finetune.settings import FinetuneConfig
from culnig.progress import Silent
from culnig.run.checks import check_config
from culnig.run.config import load_config
from culnig.studies import STUDIES, SavedRun


class Stop(Exception):
    pass


@pytest.mark.parametrize("study", ["finetune", "restore"])
def test_every_arm_gets_the_items_of_the_run(study, tmp_path):
    config = load_config(study, ["seed=3", "seeds=2", "sources={entail: /there}"])
    tunings = STUDIES.get(study).tunings(SavedRun(tmp_path, config))
    assert {t.config.seed for t in tunings} == {3, 4}
    assert {(t.config.data_seed, t.config.sources["entail"]) for t in tunings} == {(3, "/there")}


def test_items_are_drawn_by_the_data_seed_from_the_sources(tiny, tmp_path, monkeypatch):
    asked = []

    def load(self, seed, sources=None):
        asked.append((seed, sources))
        raise Stop

    monkeypatch.setattr(DataConfig, "load", load)
    task = DataConfig(items="entail:train")
    for config in (
        FinetuneConfig(task=task, seed=4, data_seed=3, sources={"entail": "/there"}),
        FinetuneConfig(task=task, seed=4),
    ):
        with pytest.raises(Stop):
            tuning._train(config, tiny, tmp_path, Silent())
    assert asked == [(3, {"entail": "/there"}), (4, {})]


def test_the_model_is_loaded_as_the_config_says(monkeypatch):
    asked = {}
    monkeypatch.setattr(tuning, "load_model", lambda name, **options: asked.update(options, name=name))
    model = {"name": "x/y", "quantize": "4bit", "device_map": "auto", "revision": "abc"}
    tuning._load(FinetuneConfig.model_validate({"task": {"items": "entail:train"}, "model": model}), Silent())
    assert model.items() <= asked.items() and asked["merge_adapter"]


def test_a_folder_of_the_version_before_is_taken_up(tmp_path):
    config = FinetuneConfig(task=DataConfig(items="entail:train"))
    old = {k: v for k, v in config.model_dump(mode="json").items() if k not in ("data_seed", "sources")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    tuning._check_folder(tmp_path, config)
    with pytest.raises(UsageError, match="data_seed"):
        tuning._check_folder(tmp_path, config.model_copy(update={"data_seed": 1}))


def test_weights_of_a_quantised_model_are_refused_early():
    with pytest.raises(UsageError, match="study restore trains weights"):
        check_config(load_config("restore", ["model.quantize=4bit"]))
