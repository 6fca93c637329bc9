"""One process trains on its model's device, and process 0 decides when progress is saved."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
import torch

from culnig import distributed
from culnig.finetune.settings import TrainingConfig
from culnig.finetune.trainer import Clock, arguments


@pytest.fixture
def four_gpus(monkeypatch):
    """Four GPUs that are not there."""
    from accelerate.state import AcceleratorState

    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr("accelerate.state.check_cuda_p2p_ib_support", lambda: True)
    yield chosen
    AcceleratorState._reset_state(reset_partial_state=True)


def test_several_visible_gpus_are_not_shared_out(four_gpus, tmp_path):
    made = arguments(
        TrainingConfig(), tmp_path, seed=0, device=torch.device("cuda:2"), autocast="no", validated=False, name="x"
    )
    assert made.n_gpu == 1 and made.train_batch_size == 4
    assert made.device == torch.device("cuda:2") and four_gpus[-1] == torch.device("cuda:2")


@pytest.mark.parametrize("told", [True, False])
def test_saving_is_decided_by_process_0(told, monkeypatch):
    """Whatever this process's clock says."""
    monkeypatch.setattr(distributed, "decided_by_main", lambda choice: told)
    clock = Clock(minutes=0.0 if not told else 1000.0, progress=lambda done: None)
    control = SimpleNamespace(should_save=False)
    clock.on_step_end(None, SimpleNamespace(global_step=1, max_steps=9), control)
    assert control.should_save is told


def test_models_take_turns_in_memory(tmp_path, reference_dir, monkeypatch):
    """While a run tunes, the model it evaluated is gone; when the tuned model is loaded, so is the optimizer."""
    import weakref

    import yaml

    import culnig.run.tuning as step
    from culnig.run import pipeline
    from culnig.run.config import load_config
    from tests.helpers.configs import write_config, write_items

    path = write_config(tmp_path, reference_dir)
    settings = yaml.safe_load(path.read_text())
    task = write_items(tmp_path / "task.jsonl", "task", count=16)
    settings |= {"studies": ["culture_general", "finetune"], "random_controls": 1}
    settings["finetune"] = {"task": {"items": task}, "arms": ["all"], "training": {"max_steps": 2}}
    settings["test"] = [*settings["test"][:2], {"role": "task", "items": task}]
    path.write_text(yaml.safe_dump(settings))
    held, seen = [], []
    load, tune = pipeline.load_model, step.tune
    monkeypatch.setattr(pipeline, "load_model", lambda **o: held.append(load(**o)) or held[-1])

    def tuning(*args, **options):
        models = [weakref.ref(lm.model) for lm in held]
        held.clear()
        gc.collect()
        seen.append([model() for model in models])
        return tune(*args, **options)

    def loading(*args, **options):
        seen.append([o for o in gc.get_objects() if isinstance(o, torch.optim.Optimizer)])
        return load(*args, **options)

    monkeypatch.setattr(step, "tune", tuning)
    monkeypatch.setattr(step, "load_model", loading)
    pipeline.run(load_config(path), tmp_path / "run")
    assert seen[0] == [None] and seen[1] == []
