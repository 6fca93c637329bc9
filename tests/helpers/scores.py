"""Made-up scores, for tests of selection without a model."""

from __future__ import annotations

import numpy as np

from culnig import Scores

MODULES = {
    "mlp.gate_proj": 50,
    "mlp.up_proj": 50,
    "self_attn.q_proj": 20,
    "self_attn.k_proj": 10,
    "self_attn.v_proj": 10,
}


def make(seed, groups=("China", "Iran", "Spain"), layers=4, modules=MODULES, count=10, **meta):
    """Make random scores of a made-up model."""
    rng = np.random.default_rng(seed)
    sums = {("culnig", m): rng.normal(size=(len(groups), layers, n)).astype(np.float32) for m, n in modules.items()}
    counts = np.full(len(groups), count, dtype=np.int64)
    base = {"model": "m", "model_hash": "h", "item_ids": {}, "num_items": count * len(groups), "modules": list(modules)}
    return Scores(sums, counts, list(groups), base | meta)


LAYERS, BLOCKS = 4, 12


def blocks(seed, signal=0.0, count=None):
    """Make block sums in which the same neurons stand out in every block, by `signal` standard deviations."""
    rng, plan = np.random.default_rng(seed), np.random.default_rng(99)
    sums = {
        m: (rng.normal(size=(BLOCKS, LAYERS, n)) + signal * (plan.random((LAYERS, n)) < 0.1)).astype(np.float32)
        for m, n in MODULES.items()
    }
    meta = make(seed).meta
    count = np.full(BLOCKS, 5) if count is None else count
    kept = {("culnig", m): block for m, block in sums.items()}
    whole = {key: block.sum(axis=0, keepdims=True) for key, block in kept.items()}
    meta = meta | {"method": "culnig", "block_items": count.tolist()}
    return Scores(whole, np.array([count.sum()]), ["all"], meta, None, kept, count)


def group_blocks(seed, signal=0.0, groups=("China", "Iran", "Spain"), missing=None):
    """Sums by block and group in which neurons of each group stand out in every block; `missing` has one block alone."""
    rng, plan = np.random.default_rng(seed), np.random.default_rng(98)
    size = len(groups)
    kept = {}
    for m, n in MODULES.items():
        own = plan.random((size, LAYERS, n)) < 0.05
        noise = rng.normal(size=(BLOCKS, size, LAYERS, n))
        kept["culnig", m] = (noise + signal * own).astype(np.float32)
    count = np.full((BLOCKS, size), 5)
    if missing is not None:
        count[1:, groups.index(missing)] = 0
    meta = make(seed).meta | {"method": "culnig", "block_items": count.sum(1).tolist()}
    sums = {key: block.sum(axis=0) for key, block in kept.items()}
    pooled = {key: block.sum(axis=1) for key, block in kept.items()}
    return Scores(sums, count.sum(0), list(groups), meta, None, pooled, count.sum(1), kept, count)
