"""Memory of the machine, where the modules of POSIX are missing."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch
from typer.testing import CliRunner

from culnig.machine import peak_memory, total_memory


@pytest.fixture
def windows(monkeypatch):
    """No `resource`, no `os.sysconf`, and a process that knows its own peak."""
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.delattr(os, "sysconf", raising=False)
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=123_000_000))
    monkeypatch.setattr(psutil, "Process", lambda: process)


def test_the_peak_is_at_least_what_is_held_now():
    now = psutil.Process().memory_info().rss
    assert 0.9 * now < peak_memory() < total_memory()  # the kernel counts pages of threads late


def test_a_plan_needs_no_module_of_posix(windows):
    from culnig.run._plan_memory import available_bytes, program_bytes

    cpu = torch.device("cpu")
    assert program_bytes(cpu) == peak_memory() == 123_000_000
    assert available_bytes(cpu) == total_memory() == psutil.virtual_memory().total


def test_the_doctor_needs_no_module_of_posix(windows, tmp_path, monkeypatch):
    from culnig.cli._app import app

    monkeypatch.setenv("CULNIG_CACHE", str(tmp_path))
    facts = json.loads(CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False).output)
    assert facts["memory_gb"] == round(psutil.virtual_memory().total / 1e9, 1)
