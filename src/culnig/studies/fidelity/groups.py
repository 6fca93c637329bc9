"""The top k of each method suppressed together, beside the sum of what the method says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from culnig.attribution import Scores
from culnig.data import Item
from culnig.evaluation import evaluate
from culnig.intervention import scale
from culnig.models import LanguageModel
from culnig.neurons import Neuron, NeuronSet
from culnig.progress import Reporter
from culnig.prompts import PromptPolicy
from culnig.selection.pools import Pool, top
from culnig.studies.fidelity.sample import Sampling, geometric

COLUMNS = ["method", "k", "share", "estimate", "exact"]


def measure_groups(
    lm: LanguageModel,
    items: Sequence[Item],
    scores: Scores,
    how: Sampling,
    *,
    policy: PromptPolicy,
    token_budget: int | None,
    show: Reporter,
) -> pd.DataFrame:
    """Suppress the top k of each method together, for k from 1 to the largest group."""
    plans = [(name, *_ranked(scores, name, how)) for name in scores.methods] if how.groups else []
    if not plans:
        return pd.DataFrame(columns=COLUMNS)
    total = sum(len(sizes) for _, _, _, _, sizes in plans)
    with show.step(f"suppress {total} groups", total, "groups") as progress:
        clean = evaluate(lm, items, policy=policy, token_budget=token_budget).rows["p_gold"].to_numpy()
        rows: list[tuple[str, int, float, float, float]] = []
        for name, neurons, values, size, sizes in plans:
            for k in sizes:
                with scale(lm, NeuronSet(neurons[:k]), 0.0):
                    masked = evaluate(lm, items, policy=policy, token_budget=token_budget).rows["p_gold"].to_numpy()
                exact = float(np.mean(clean * (clean - masked)))
                rows.append((name, k, k / size, float(values[:k].sum()), exact))
                progress(1)
    return pd.DataFrame(rows, columns=COLUMNS)


def _ranked(scores: Scores, method: str, how: Sampling) -> tuple[list[Neuron], np.ndarray, int, list[int]]:
    """The method's best neurons with their S, how many it has scored, and the group sizes."""
    own = scores.of_method(method)
    pool = Pool(own, own.modules)
    values = pool.flat(own.mean)
    sizes = geometric(pool.size, how.largest, how.groups)
    best = top(values, sizes[-1])
    return [pool.neuron(position) for position in best], values[best], pool.size, sizes
