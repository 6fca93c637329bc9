"""`python -m bench --gpu` where there is no GPU: its message, and its way on a CPU with a tiny shape."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from bench import __main__ as bench
from bench import processes


def gpu(monkeypatch, *options):
    """Run the command, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["bench", "--gpu", *map(str, options)])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    return ended.value.code


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_there_is_one_line(monkeypatch, capsys):
    assert gpu(monkeypatch) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "no GPU" in message


@pytest.mark.slow
def test_one_json_holds_every_way(monkeypatch, capsys, tmp_path):
    path = tmp_path / "figures.json"
    options = ("--device", "cpu", "--shapes", "trial", "--items", 6, "--repeats", 1, "--json", path)
    assert gpu(monkeypatch, *options) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert row["processes"] == 1 and row["failed"] == {} and row["mfu"] is None
    assert set(row["seconds"]) == set(row["memory"]) == {"forward", "scoring", "straightforward"}
    assert row["items_per_second"]["scoring"] == pytest.approx(6 / row["seconds"]["scoring"])
    assert row["times_faster"] == pytest.approx(row["seconds"]["straightforward"] / row["seconds"]["scoring"])
    assert 0 < row["of_matrix_rate"] < 1 and 0 <= row["padding"] < 1
    assert "the straightforward way" in capsys.readouterr().out


@pytest.mark.distributed
def test_two_processes_score_the_same_items(monkeypatch):
    options = ["--items", "6", "--repeats", "1", "--only", "forward", "scoring"]
    one, two = (processes.measure("trial", number, options) for number in (1, 2))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["tokens"] == two["tokens"] and one["flops"] == two["flops"]
    shared = processes.measure("trial", 2, [*options, "--fsdp"])
    assert shared["sharded"] and shared["flops"] == one["flops"] and set(shared["seconds"]) == {"forward", "scoring"}


@pytest.mark.slow
def test_a_measurement_that_fails_is_one_line():
    with pytest.raises(processes.Failed, match="trail"):
        processes.measure("trail", 1, [])
