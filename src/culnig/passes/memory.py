"""Fitting into memory: batches that the device does not hold are halved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from culnig.passes.forward import Row


class Fitting:
    """Runs batches, halving what the device's memory does not hold, and remembers what it holds.

    Args:
        run: takes rows; where it raises torch.OutOfMemoryError it must have changed nothing.
    """

    def __init__(self, run: Callable[[Sequence[Row]], None]) -> None:
        self._run = run
        self._most: int | None = None

    def __call__(self, rows: Sequence[Row]) -> None:
        tokens = len(rows) * max(row.length for row in rows)
        if self._most is None or tokens <= self._most or len(rows) == 1:
            try:
                self._run(rows)
                return
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
                self._most = tokens // 2
            torch.cuda.empty_cache()
        self(rows[: len(rows) // 2])
        self(rows[len(rows) // 2 :])
