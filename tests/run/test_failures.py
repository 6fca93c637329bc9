"""A process that fails ends the others within a minute, with its message, at every step of a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.configs import write_config, write_items
from tests.helpers.pairs import LIMIT, STEPS

pytestmark = pytest.mark.distributed

WITHOUT = {
    "claim the folder": ["."],
    "load the model": ["scores/neur.safetensors"],
    "score": ["scores/neur.safetensors"],
    "select": ["neurons/.culture_general.done"],
    "calibrate": ["offsets.parquet", "evals/test/none.parquet"],
    "evaluate": ["evals/test/none.parquet"],
    "read text": ["evals/plain-text"],
    "measure": ["scores/per-item.safetensors"],
    "tune": ["tuned", "evals/task/all-0.parquet"],
    "compare tuned rows": ["tuned"],
    "analyse": [],
    "report": [],
}
"""Step -> what is deleted from a finished run, so that the step is the first one to do something."""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reference_dir):
    """The config of a run with all kinds of steps, and its folder."""
    folder = tmp_path_factory.mktemp("config")
    path = write_config(folder, reference_dir)
    settings = yaml.safe_load(path.read_text())
    task = write_items(folder / "task.jsonl", "task", count=16)
    settings |= {
        "studies": ["culture_general", "instance", "finetune"],
        "finetune": {"task": {"items": task}, "arms": ["all"], "training": {"max_steps": 4}},
        "random_controls": 1,
        "compute": {"token_budget": 64},  # several batches, so that each process has some
    }
    settings["test"] = [*settings["test"], {"role": "task", "items": task}]
    path.write_text(yaml.safe_dump(settings))
    return path, run(load_config(path), tmp_path_factory.mktemp("runs") / "tiny").path


def job(step, finished, folder):
    """A copy of the finished run in which the step is to be done again, and the command that does it."""
    config, path = finished
    shutil.copytree(path, folder)
    for name in WITHOUT[step]:
        gone = folder / name
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    return {"step": step, "args": ["run", str(config), "--out", str(folder)], "stem": f"{folder}-log"}


@pytest.fixture(scope="module")
def outcomes(finished, tmp_path_factory):
    """Step -> how the two processes ended, and what each wrote."""
    folder = tmp_path_factory.mktemp("faults")
    jobs = [job(step, finished, folder / step.replace(" ", "-")) for step in STEPS]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "tests.helpers.pairs", str(folder / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    logs = [[Path(f"{each['stem']}.{rank}").read_text() for rank in (0, 1)] for each in jobs]
    return dict(zip(STEPS, zip(map(json.loads, done.stdout.splitlines()), logs, strict=True), strict=True))


@pytest.mark.parametrize("step", STEPS)
def test_failure_of_one_process_ends_both(step, outcomes):
    outcome, logs = outcomes[step]
    failing, message = STEPS[step][0], f"broken on purpose at: {step}"
    assert outcome["codes"] == [1, 1], logs
    assert outcome["seconds"] < LIMIT
    assert f"culnig: {message}" in logs[failing]
    assert f"culnig: stopped, because process {failing} failed: {message}" in logs[1 - failing]


def test_torchrun_ends_with_the_message(finished, tmp_path):
    """The same under torchrun, which ends the other process itself where that is slower."""
    this = job("score", finished, tmp_path / "run")
    code = f"from pathlib import Path; from tests.helpers.pairs import worker; worker('score', {this['args']}, Path('{tmp_path}/mark'))"
    (tmp_path / "start.py").write_text(code)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "start.py")]
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode != 0
    assert "broken on purpose at: score" in done.stderr
