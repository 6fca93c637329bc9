"""Progress of a scoring job on disk: kept every few minutes, verified, taken up again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from culnig.files import atomic_path, sha256_json


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
            with safe_open(str(self.path), framework="pt") as archive:
                header = archive.metadata() or {}
                tensors = {key: archive.get_tensor(key) for key in sums}
        except (SafetensorError, OSError):
            return 0
        if header.get("job") != self.job or header.get("checksum") != _checksum(tensors):
            return 0
        for key, tensor in tensors.items():
            sums[key].copy_(tensor)
        return int(header["batches"])

    def keep(self, sums: Mapping[str, torch.Tensor], batches: int) -> None:
        """Write the sums if the last time is long enough ago."""
        if self.path is None or time.monotonic() - self._last < self.seconds:
            return
        from safetensors.torch import save_file

        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in sums.items()}
        header = {"job": self.job, "batches": str(batches), "checksum": _checksum(tensors)}
        with atomic_path(self.path) as temporary:
            save_file(tensors, str(temporary), metadata=header)
        self._last = time.monotonic()


def checkpoint_of(out: Path | str) -> Path:
    """Where the progress of a score file is kept: beside it, hidden."""
    out = Path(out)
    return out.with_name(f".{out.name}.progress")


def forget(out: Path | str) -> None:
    """Delete the progress of a score file: the result has been saved."""
    for path in checkpoint_of(out).parent.glob(f"{checkpoint_of(out).name}*"):
        path.unlink(missing_ok=True)


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode() + tensors[key].numpy().tobytes())
    return digest.hexdigest()
