"""Selection and sweep at the size of a 12B model: 1.2 M neurons x 16 countries."""

from __future__ import annotations

import time

import numpy as np

from culnig import Scores, select_general, select_specific
from culnig.selection import sweep_general

MODULES = {"mlp.gate_proj": 15_360, "self_attn.q_proj": 4_096, "self_attn.k_proj": 2_048, "self_attn.v_proj": 2_048}
LAYERS, COUNTRIES = 48, 16


def _scores(seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    groups = [f"country-{i:02d}" for i in range(COUNTRIES)]
    sums = {("culnig", m): rng.standard_normal((COUNTRIES, LAYERS, n), dtype=np.float32) for m, n in MODULES.items()}
    meta = {"model": "m", "model_hash": "h", "item_ids": {}, "num_items": 160}
    return Scores(sums, np.full(COUNTRIES, 10), groups, meta)


def seconds() -> tuple[float, float]:
    """Seconds of one general and eight specific selections, and of a sweep of 100 general settings."""
    neur, ctrl, crc = (_scores(seed) for seed in range(3))
    begun = time.perf_counter()
    select_general(neur, ctrl, crc)
    select_specific(neur, ctrl, crc, countries=neur.groups[:8])
    selected = time.perf_counter()
    settings = [{"t_mlp": t, "r": r} for t in np.linspace(0.001, 0.02, 20) for r in (0.0, 0.005, 0.01, 0.02, 0.05)]
    for _ in sweep_general(neur, ctrl, crc, settings):
        pass
    return selected - begun, time.perf_counter() - selected
