"""Share batches among processes; with a sharded model, all processes run equally many of them at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch

from culnig import distributed
from culnig.errors import ModelError
from culnig.models import LanguageModel

T = TypeVar("T")


def check_passes(lm: LanguageModel) -> None:
    """Check that a backward pass need not be repeated: float16 repeats it where a gradient overflows.

    Raises:
        ModelError: the model is sharded, and float16.
    """
    if lm.is_sharded and lm.dtype == torch.float16:
        raise ModelError(f"gradients of {lm.name} with device map fsdp need bfloat16 or float32, not float16")


def share_in_step(lm: LanguageModel, parts: Sequence[T], done: int = 0) -> Iterator[tuple[T, bool]]:
    """Yield this process's share of batches, each with whether its result counts.

    The layers of a sharded model come together only when all processes run them.  A process that has fewer batches
    than another repeats the last one of all, and the result of that does not count.  A batch must therefore run
    the same number of passes whatever is in it.

    Args:
        lm: the model.
        parts: the batches of all processes.
        done: how many of this process's batches are done already.
    """
    mine = distributed.share(parts)[done:]
    if not lm.is_sharded:
        yield from ((part, True) for part in mine)
        return
    longest = max(distributed.gather({distributed.rank(): len(mine)}).values())
    lm.in_step = True
    try:
        yield from ((part, True) for part in mine)
        yield from ((parts[-1], False) for _ in range(longest - len(mine)))
    finally:
        lm.in_step = False
