"""Fit work into memory: a batch that the device cannot hold is halved."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch

from culnig.passes.forward import Packed

T = TypeVar("T")


def padded_tokens(rows: Sequence[Packed]) -> int:
    """Return the number of tokens that rows fill in a batch, padding included."""
    return len(rows) * max(row.length for row in rows)


class Fitting(Generic[T]):
    """Runs batches, halves those that do not fit in the device's memory, and remembers the size that fits.

    Args:
        run: takes members of a batch.  If it raises torch.OutOfMemoryError, running the halves must give the
            whole result.
        size: the memory that members need, in any unit; the default is the padded tokens of rows.
        halves: whether to halve batches; without it the error goes on to the caller.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], None],
        size: Callable[[Sequence[T]], int] | None = None,
        *,
        halves: bool = True,
    ) -> None:
        self._run = run
        self._halves = halves
        self._size: Callable[[Sequence[Any]], int] = size or padded_tokens
        self._most: int | None = None

    def __call__(self, members: Sequence[T]) -> None:
        size = self._size(members)
        if self._most is None or size <= self._most or len(members) == 1:
            try:
                self._run(members)
                return
            except torch.OutOfMemoryError:
                if len(members) == 1 or not self._halves:
                    raise
                self._most = size // 2
            give_back_memory()
        self(members[: len(members) // 2])
        self(members[len(members) // 2 :])


def free_unused() -> None:
    """Free models and optimizers that nothing uses any more; only garbage collection frees a trainer and its parts."""
    gc.collect()
    give_back_memory()


def give_back_memory() -> None:
    """Return the accelerator's cached memory, so that an allocation of another size finds room."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.accelerator.is_available() and hasattr(torch.accelerator, "empty_cache"):  # since PyTorch 2.9
        torch.accelerator.empty_cache()
