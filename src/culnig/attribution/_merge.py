"""Adding up the shards of one scoring job."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from culnig.attribution._store import Scores
from culnig.errors import UsageError

SAME = (
    *("model_hash", "dtype", "data_hash", "method", "modules", "formulation", "prompts"),
    *("padded_zeros", "num_prompts", "blocks"),
)


def merge_scores(shards: Sequence[Scores]) -> Scores:
    """The scores of a whole job from its shards 1/n ... n/n, in any order.

    Raises:
        UsageError: not a shard, shards of different jobs, one that is missing, or one that is there twice.
    """
    if not shards:
        raise UsageError("no shards to merge")
    numbers = []
    for scores in shards:
        if not scores.meta.get("shard"):
            raise UsageError("one of the files is not a shard: it was made without --shard and is whole already")
        numbers.append(tuple(scores.meta["shard"]))
    for scores, (i, n) in zip(shards[1:], numbers[1:], strict=True):
        for field in SAME:
            if scores.meta.get(field) != shards[0].meta.get(field):
                raise UsageError(f"shard {i}/{n} belongs to another job: its {field.replace('_', ' ')} differs")
    of = {n for _, n in numbers}
    if len(of) > 1:
        raise UsageError(f"the shards are of different divisions: {', '.join(f'{i}/{n}' for i, n in numbers)}")
    (n,) = of
    if missing := sorted(set(range(1, n + 1)) - {i for i, _ in numbers}):
        raise UsageError(f"shards are missing: {', '.join(f'{i}/{n}' for i in missing)}")
    if len(numbers) > n:
        raise UsageError(f"a shard is there twice: {', '.join(f'{i}/{n}' for i, _ in sorted(numbers))}")
    ordered = [scores for _, scores in sorted(zip(numbers, shards, strict=True), key=lambda pair: pair[0])]
    sums, blocks = _added([s.sums for s in ordered]), _added([s.blocks for s in ordered])
    count, tokens, block_count = (
        _counts([getattr(s, name) for s in ordered]) for name in ("count", "tokens", "block_count")
    )
    meta = ordered[0].meta | {"shard": None, "merged": n}
    assert count is not None
    return Scores(sums, count, ordered[0].groups, meta, tokens, blocks, block_count)


def _added(parts: list[dict[tuple[str, str], np.ndarray]]) -> dict[tuple[str, str], np.ndarray]:
    """Tensors added up in float64, kept in float32."""
    return {
        key: np.stack([part[key] for part in parts]).sum(axis=0, dtype=np.float64).astype(np.float32)
        for key in parts[0]
    }


def _counts(parts: list[np.ndarray | None]) -> np.ndarray | None:
    present = [part for part in parts if part is not None]
    return np.sum(present, axis=0) if len(present) == len(parts) else None
