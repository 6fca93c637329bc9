"""Scores: where the neurons with the highest scores sit, and in which countries they score highest."""

from __future__ import annotations

import numpy as np
import pandas as pd

from culnig import figures
from culnig.attribution import Scores
from culnig.errors import UsageError
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet
from culnig.notebook._view import View
from culnig.selection.general import general_difference
from culnig.selection.pools import Pool, check_together, floor_count, present, top_ranked

COUNTRIES = 3
"""Countries named for a neuron."""


def view_scores(
    scores: Scores, *, ctrl: Scores | None = None, share: float = 0.01, method: str | None = None, count: int = 25
) -> View:
    """Draw where the neurons with the highest scores sit, and list the first.

    Args:
        scores: scores of cultural items, of one or several methods.
        ctrl: scores of their controls, which are then subtracted as selection does.
        share: share of each module that counts as high.
        method: one of the scores' methods; None is the first.
        count: neurons in the table.

    Raises:
        UsageError: an unknown method, a share out of range, or controls of another model.
    """
    if not 0 < share <= 1:
        raise UsageError(f"share = {share}: give a number above 0, up to 1")
    name = method or scores.method
    scores, ctrl = scores.of_method(name), ctrl.of_method(name) if ctrl else None
    check_together(**present(neur=scores, ctrl=ctrl))
    found: dict[Neuron, float] = {}
    modules = [m for m in (*MLP_POOL, *ATTENTION_POOL) if m in scores.shapes()]
    for module in modules:
        pool = Pool(scores, (module,))
        values = general_difference(pool, scores, ctrl, "corrected")
        best = top_ranked(values, max(1, floor_count(share, pool.size)))
        found |= {pool.neuron(int(position)): float(values[position]) for position in best}
    high = NeuronSet(
        dict(sorted(found.items(), key=lambda pair: -pair[1])), model_name=str(scores.meta.get("model", ""))
    )
    what = "Score on the items minus score on their controls" if ctrl else "Score on the items; no controls were given"
    text = [
        f"{int(scores.count.sum()):,} prompts of {len(scores.groups)} groups, method {name}. {what}.",
        "A high score alone selects nothing: culnig.select_general also removes neurons of country reading.",
    ]
    drawn = [
        (
            f"Where the highest {share:.2%} of each module sit: number in each layer.",
            figures.layer_map(high.counts(), scores.shapes()),
        )
    ]
    return View("Scores", text, drawn, {f"The highest {count}": _highest(scores, ctrl, high, count)})


def _highest(scores: Scores, ctrl: Scores | None, high: NeuronSet, count: int) -> pd.DataFrame:
    """The neurons with the highest scores, and the groups in which each scores highest."""
    rows = []
    for rank, (neuron, value) in enumerate(list(high.scores.items())[:count], start=1):
        by_group = _by_group(scores, neuron)
        if ctrl is not None and ctrl.groups == scores.groups:
            by_group = by_group - _by_group(ctrl, neuron)
        best = np.argsort(-by_group)[:COUNTRIES]
        row = {"rank": rank, "module": neuron.module, "layer": neuron.layer, "neuron": neuron.index, "score": value}
        rows.append(row | {"highest in": ", ".join(scores.groups[i] for i in best)})
    return pd.DataFrame(rows)


def _by_group(scores: Scores, neuron: Neuron) -> np.ndarray:
    """Mean score of a neuron in each group, [G]; a group without prompts has 0."""
    sums = scores.sums[scores.method, neuron.module][:, neuron.layer, neuron.index].astype(np.float64)
    return np.divide(sums, scores.count, out=np.zeros_like(sums), where=scores.count > 0)


def brief_scores(scores: Scores) -> View:
    """List what was scored: methods, modules, and prompts by group."""
    shapes = [(module, layers, width) for module, (layers, width) in scores.shapes().items()]
    groups = pd.DataFrame({"group": scores.groups, "prompts": scores.count})
    title = f"Scores of {scores.meta.get('model', 'an unnamed model')} by {', '.join(scores.methods)}"
    modules = pd.DataFrame(shapes, columns=["module", "layers", "neurons of a layer"])
    return View(title, tables={"Modules": modules, "Prompts by group": groups})
