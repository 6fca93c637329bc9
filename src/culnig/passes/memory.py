"""Fitting into memory: work that the device does not hold is halved."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch

from culnig.passes.forward import Row

T = TypeVar("T")


def padded_tokens(rows: Sequence[Row]) -> int:
    """Return the number of tokens that rows fill in a batch, padding included."""
    return len(rows) * max(row.length for row in rows)


class Fitting(Generic[T]):
    """Runs batches, halving what the device's memory does not hold, and remembers what it holds.

    Args:
        run: takes members of a batch; where it raises torch.OutOfMemoryError, running its halves must give the whole result.
        size: the memory that members need, in any unit; tokens of rows unless given.
    """

    def __init__(self, run: Callable[[Sequence[T]], None], size: Callable[[Sequence[T]], int] | None = None) -> None:
        self._run = run
        self._size: Callable[[Sequence[Any]], int] = size or padded_tokens
        self._most: int | None = None

    def __call__(self, members: Sequence[T]) -> None:
        size = self._size(members)
        if self._most is None or size <= self._most or len(members) == 1:
            try:
                self._run(members)
                return
            except torch.OutOfMemoryError:
                if len(members) == 1:
                    raise
                self._most = size // 2
            give_back_memory()
        self(members[: len(members) // 2])
        self(members[len(members) // 2 :])


def free_unused() -> None:
    """Free models and optimizers that nothing uses any more; a trainer and its parts refer to each other."""
    gc.collect()
    give_back_memory()


def give_back_memory() -> None:
    """Return the accelerator's cached memory, so that an allocation of another size finds room."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.accelerator.is_available() and hasattr(torch.accelerator, "empty_cache"):  # since PyTorch 2.9
        torch.accelerator.empty_cache()
