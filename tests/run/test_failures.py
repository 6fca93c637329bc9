"""A process that fails ends the others within a minute, with its message, at every step of a run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest
import yaml

from culnig.run.config import load_config
from culnig.run.pipeline import run
from tests.helpers.faulty import STEPS
from tests.run.test_pipeline import write_config, write_items

pytestmark = pytest.mark.distributed

LIMIT = 60
"""Seconds that the others have to end after a failure."""
WITHOUT = {
    "claim the folder": ["."],
    "load the model": ["scores/neur.safetensors"],
    "score": ["scores/neur.safetensors"],
    "select": ["neurons/.general.done"],
    "evaluate": ["evals/test/none.parquet"],
    "read text": ["evals/plain-text"],
    "measure": ["measured"],
    "tune": ["tuned", "evals/task/all-0.parquet"],
    "compare tuned rows": ["tuned"],
    "analyse": [],
    "report": [],
}
"""Step -> what is deleted from a finished run, so that the step is the first one to do something."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, reference_dir):
    """A finished run with all kinds of steps, and its config."""
    folder = tmp_path_factory.mktemp("config")
    path = write_config(folder, reference_dir)
    settings = yaml.safe_load(path.read_text())
    task = write_items(folder / "task.jsonl", "task", count=16)
    settings |= {
        "studies": ["general", "instance", "finetune"],
        "finetune": {"task": {"items": task}, "arms": ["all"], "training": {"max_steps": 4}},
        "random_controls": 1,
    }
    settings["test"] = [*settings["test"], {"role": "task", "items": task}]
    path.write_text(yaml.safe_dump(settings))
    return path, run(load_config(path), tmp_path_factory.mktemp("runs") / "tiny").path


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def prepared(step, finished, folder):
    """A copy of the finished run in which the step is to be done again, and the command that does it."""
    config, path = finished
    shutil.copytree(path, folder)
    for name in WITHOUT[step]:
        gone = folder / name
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    return ["-m", "tests.helpers.faulty", step, "run", str(config), "--out", str(folder)]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_failure_of_one_process_ends_torchrun(step, finished, tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, *prepared(step, finished, tmp_path / "run")]
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False, timeout=LIMIT + 120)
    assert done.returncode != 0
    assert f"culnig: broken on purpose at: {step}" in done.stderr, done.stderr[-3000:]
    assert time.monotonic() - begun < LIMIT + 60  # a minute to start


@pytest.mark.parametrize("step", ["select", "score", "tune"])
def test_failure_of_one_process_ends_the_other_without_an_agent(step, finished, tmp_path):
    """As under SLURM: nothing but the processes themselves can end them, and each has a log of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, *prepared(step, finished, tmp_path / "run")]
    processes = [
        subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(RANK=r, LOCAL_RANK=r, WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=port),
        )
        for r in "01"
    ]
    failing = STEPS[step][0]
    first = processes[failing].communicate(timeout=LIMIT + 120)[1]
    second = processes[1 - failing].communicate(timeout=LIMIT)[1]
    assert f"culnig: broken on purpose at: {step}" in first
    assert f"culnig: stopped, because process {failing} failed: broken on purpose at: {step}" in second, second
    assert [process.returncode for process in processes] == [1, 1]
