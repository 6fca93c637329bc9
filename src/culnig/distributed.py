"""Several processes on one job, by accelerate and torch.distributed; one process is the plain case.

`accelerate launch -m culnig ...` and `torchrun -m culnig ...` start the processes; nothing else is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@lru_cache(maxsize=1)
def _state() -> Any:
    """accelerate's process state; None where there is a single process."""
    if size() <= 1:
        return None
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0")) if size() > 1 else 0


def size() -> int:
    """How many processes there are."""
    return max(1, int(os.environ.get("WORLD_SIZE", "1")))


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def device() -> torch.device | None:
    """The device of this process; None where there is a single one."""
    state = _state()
    return state.device if state else None


def share(parts: Sequence[T]) -> Sequence[T]:
    """This process's part of some work: every size-th."""
    return parts[rank() :: size()]


def wait() -> None:
    """Let all processes come here."""
    if state := _state():
        state.wait_for_everyone()


def sum_over_processes(tensors: Iterable[torch.Tensor]) -> None:
    """Add tensors up over all processes, in place."""
    if _state() is None:
        return
    for tensor in tensors:
        torch.distributed.all_reduce(tensor)


def gather(values: dict[int, T]) -> dict[int, T]:
    """The union of all processes' dictionaries, on every process."""
    if _state() is None:
        return values
    from accelerate.utils import gather_object

    # gather_object takes and gives lists.
    return dict(gather_object(list(values.items())))


def finish() -> None:
    """Let all processes end together, and close their connections; nothing may be shared after it."""
    wait()
    if state := _state():
        state.destroy_process_group()
