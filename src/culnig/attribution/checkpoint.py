"""Progress of a scoring job on disk: kept every few minutes, verified, taken up again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from culnig import stopping
from culnig.errors import DataError
from culnig.files import sha256_json
from culnig.sealed import save_tensors, tensor_meta
from culnig.writing import sweep

BATCHES = "batches done"
"""Key of the number of batches that the sums hold."""


class Checkpoint:
    """The sums after so many batches, in full precision, under the fingerprint of the job they belong to.

    A file of another job, or one whose checksum is wrong, is not used: the job starts from its beginning, which costs
    time and no result.

    Attributes:
        path: the file; None keeps nothing.
        job: hash of all that decides the result: model, data, prompts, method, batches.
    """

    def __init__(self, path: Path | str | None, job: dict[str, Any], minutes: float) -> None:
        self.path = Path(path) if path is not None else None
        self.job = sha256_json(json.loads(json.dumps(job, default=str)))
        self.seconds = 60.0 * minutes
        self._last = time.monotonic()

    def restore(self, sums: Mapping[str, torch.Tensor]) -> int:
        """Fill `sums` from the file, in place; returns the number of batches done (0 if there is nothing to use)."""
        from safetensors import SafetensorError, safe_open

        if self.path is None or not self.path.is_file():
            return 0
        try:
            header = tensor_meta(self.path, "the progress of scoring") or {}
            with safe_open(str(self.path), framework="pt") as archive:
                # Sums and their number by one handle: another process may put its own progress in the file's place.
                tensors = {key: archive.get_tensor(key) for key in sums}
                batches = int(archive.get_tensor(BATCHES))
        except (DataError, SafetensorError, OSError):
            return 0
        # Files of version 0.1 lack the key; their work is done again.
        if header.get("job") != self.job:
            return 0
        for key, tensor in tensors.items():
            sums[key].copy_(tensor)
        return batches

    def keep(self, sums: Mapping[str, torch.Tensor], batches: int) -> None:
        """Write the sums if the last time is long enough ago, or a signal has asked for a stop."""
        if self.path is None or (time.monotonic() - self._last < self.seconds and not stopping.requested()):
            return
        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in sums.items()}
        save_tensors(self.path, tensors | {BATCHES: torch.tensor(batches)}, {"job": self.job})
        self._last = time.monotonic()


def checkpoint_of(out: Path | str) -> Path:
    """Where the progress of a score file is kept: beside it, hidden."""
    out = Path(out)
    return out.with_name(f".{out.name}.progress")


def forget(out: Path | str) -> None:
    """Delete the progress of a score file: the result has been saved."""
    for path in checkpoint_of(out).parent.glob(f"{checkpoint_of(out).name}*"):
        path.unlink(missing_ok=True)
    sweep(checkpoint_of(out).parent)
