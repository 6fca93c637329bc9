"""A model that is sharded over the processes of a job gives what a whole one gives in as many processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from culnig.errors import UsageError
from culnig.models import load_model

FAMILIES = ("llama", "gemma3", "gpt2", "mixtral", "deepseek_v3", "nemotron_h", "deepseek_v3:bfloat16", "untied")
"""Tied and untied heads, a decoder inside an image-text model, transposed weights, experts, layers of several kinds; weights of two dtypes, a config that is wrong."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Family -> what `tests.helpers.sharded` found in two processes."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.helpers.sharded"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, *launch, str(tmp_path_factory.mktemp("models")), *FAMILIES]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["family"]: line for line in lines}


@pytest.mark.distributed
@pytest.mark.parametrize("family", FAMILIES)
def test_sharded_model_is_the_whole_one(family, outcomes):
    found = outcomes[family]
    assert found["scores"] and found["rows"] and found["checkpoint"] and found["resumed"]
    assert found["kept"] == pytest.approx(0.5, abs=0.05)
    assert "device map fsdp" in found["refused"]


def test_sharding_needs_several_processes(reference_dir):
    with pytest.raises(UsageError, match="torchrun"):
        load_model(reference_dir, device_map="fsdp")
