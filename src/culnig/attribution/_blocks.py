"""Random blocks of items, whose sums are kept so that items can be resampled without scoring again."""

from __future__ import annotations

import hashlib

import numpy as np

from culnig.attribution._work import Prompts
from culnig.benchmarks import Item
from culnig.errors import UsageError


def block_numbers(prompts: Prompts, blocks: int) -> np.ndarray:
    """The block of each prompt, int64 [P].

    It depends on the question alone (the item's id without the number of its option draw): all draws and wordings of a
    question are in one block, and a question and its control are in the same block of their files.

    Raises:
        UsageError: fewer than two blocks.
    """
    if blocks < 2:
        raise UsageError(f"{blocks} blocks: give 2 at least (20 is a good number), or leave them out")
    return np.array([_digest(question_id(e.item)) % blocks for e in prompts.encoded], dtype=np.int64)


def items_a_block(prompts: Prompts, block_of: np.ndarray, blocks: int) -> list[int]:
    """Number of distinct items in each block."""
    names = {(e.item.benchmark, e.item.id): int(block) for e, block in zip(prompts.encoded, block_of, strict=True)}
    return np.bincount(list(names.values()), minlength=blocks).tolist()


def question_id(item: Item) -> str:
    """An item's id without the number of its option draw."""
    return item.id.removesuffix(f"/{item.variant}") if item.variant else item.id


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
