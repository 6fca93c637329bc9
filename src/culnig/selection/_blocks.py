"""Sums by block of items, kept at score time: from them every resampling of items is a weighted sum, without the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from culnig.attribution import Scores
from culnig.errors import DataError, UsageError
from culnig.files import require_file


@dataclass(frozen=True)
class BlockSums:
    """Sums of the weighted per-item scores over blocks of items.

    Attributes:
        sums: module -> [B, L, N].
        count: [B], prompts summed in each block.
        method: name of the scoring method.
        meta: what was scored and how, as in `Scores`.
    """

    sums: dict[str, np.ndarray]
    count: np.ndarray
    method: str
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.count)

    def scores(self, weights: np.ndarray) -> Scores:
        """Scores of the resampled items, as one group.

        Args:
            weights: [B], how often each block was drawn.
        """
        drawn = np.flatnonzero(weights)
        times = np.asarray(weights, dtype=np.float64)[drawn]
        sums = {
            (self.method, module): np.tensordot(times, block[drawn].astype(np.float64), axes=1)[None]
            for module, block in self.sums.items()
        }
        return Scores(sums, np.array([int(self.count @ weights)]), ["all"], self.meta)

    @classmethod
    def load(cls, path: Path | str, method: str | None = None) -> BlockSums:
        """Read the `block/<method>/<module>` tensors and `block_count` of a score file.

        Args:
            path: the score file.
            method: which; None is the only one.

        Raises:
            UsageError: no such file, a file without block sums, or a method that it does not hold (or several, and none
                named).
            DataError: not a score file, or a damaged one.
        """
        from safetensors import SafetensorError, safe_open

        path = require_file(path, "a score file (.safetensors)")
        try:
            with safe_open(str(path), framework="numpy") as archive:
                meta = json.loads((archive.metadata() or {}).get("culnig", "null"))
                names = [key.split("/", 2) for key in archive.keys() if key.startswith("block/")]  # noqa: SIM118
                methods = sorted({name[1] for name in names})
                chosen = _method(path, method, methods)
                sums = {m: archive.get_tensor(f"block/{kind}/{m}") for _, kind, m in names if kind == chosen}
                count = archive.get_tensor("block_count")
        except (SafetensorError, json.JSONDecodeError) as error:
            raise DataError(f"{path}: not a readable score file ({error})") from error
        if not isinstance(meta, dict):
            raise DataError(f"{path}: not a score file: no `culnig` header; `culnig score` writes such files")
        if any(len(block) != len(count) for block in sums.values()):
            raise DataError(f"{path}: damaged: {len(count)} blocks in block_count, other numbers in the tensors")
        order = {module: i for i, module in enumerate(meta.get("modules", []))}
        ordered = dict(sorted(sums.items(), key=lambda pair: order.get(pair[0], len(order))))
        return cls(ordered, count, chosen, meta)


def _method(path: Path, wanted: str | None, methods: list[str]) -> str:
    if not methods:
        raise UsageError(f"{path} holds no sums by block of items; score the items again, keeping them")
    if wanted is None and len(methods) > 1:
        raise UsageError(f"{path} holds block sums of {', '.join(methods)}; say which with --method")
    if wanted is not None and wanted not in methods:
        raise UsageError(f"{path} holds no block sums of '{wanted}'; it holds {', '.join(methods)}")
    return wanted or methods[0]
