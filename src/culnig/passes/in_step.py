"""Share batches among processes; with a sharded model, all processes run equally many of them at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from culnig import distributed
from culnig.models import LanguageModel

T = TypeVar("T")


def share_in_step(lm: LanguageModel, parts: Sequence[T], done: int = 0) -> Iterator[tuple[T, bool]]:
    """Yield this process's share of batches, each with whether its result counts.

    The layers of a sharded model come together only when all processes run them.  A process that has fewer batches
    than another repeats the last one, the smallest, and the result of that does not count.  A batch must therefore run
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
