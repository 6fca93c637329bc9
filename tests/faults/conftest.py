"""Jobs on the tiny model in forked processes, made once."""

from __future__ import annotations

import os
import sys

import pytest

from tests.faults import forked, jobs

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The jobs of all verbs, and of three runs."""
    os.environ["OMP_NUM_THREADS"] = "1"
    forked.warm_up()
    folder = tmp_path_factory.mktemp("faults") / "inputs"
    return {job.name: job for job in jobs.make(folder, ("culture_general", "finetune", "instance"))}
