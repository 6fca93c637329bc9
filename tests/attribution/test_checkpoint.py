"""Progress of scoring: its sums and their number belong together, whatever another process writes meanwhile."""

from __future__ import annotations

import torch

from culnig.attribution import checkpoint
from culnig.attribution.checkpoint import Checkpoint


def progress(path, batches):
    Checkpoint(path, {"job": 1}, 0).keep({"s": torch.full((3,), float(batches))}, batches)


def restored(path):
    sums = {"s": torch.zeros(3)}
    return Checkpoint(path, {"job": 1}, 0).restore(sums), float(sums["s"][0])


def test_what_was_kept_is_restored(tmp_path):
    path = tmp_path / "p.progress"
    assert restored(path) == (0, 0.0)
    progress(path, 2)
    assert restored(path) == (2, 2.0)
    assert Checkpoint(path, {"job": 2}, 0).restore({"s": torch.zeros(3)}) == 0


def test_another_process_writes_between_check_and_reading(tmp_path, monkeypatch):
    path = tmp_path / "p.progress"
    progress(path, 2)
    read = checkpoint.tensor_meta

    def overtaken(*args):
        header = read(*args)
        progress(path, 3)
        return header

    monkeypatch.setattr(checkpoint, "tensor_meta", overtaken)
    assert restored(path) == (3, 3.0)
