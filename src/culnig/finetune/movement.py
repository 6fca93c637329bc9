"""The effect of tuning on neurons: the movement of their rows, compared with other rows, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch

from culnig.attribution import Scores
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.models.sites import SiteModule
from culnig.neurons import NeuronSet
from culnig.selection import select_random

Changes = dict[str, np.ndarray]
"""Module -> relative change of each neuron's row, [L, N]."""


def row_changes(base: LanguageModel, tuned: LanguageModel) -> Changes:
    """Return |w' - w| / |w| of every neuron's row w (its bias is one of its numbers); 0 if the row did not move.

    Raises:
        UsageError: the two models differ in shape, or a projection's weight cannot be read as rows (quantised, or
            beside an adapter).
    """
    if base.shapes != tuned.shapes:
        raise UsageError(f"{base.name} and {tuned.name} have different shapes; compare a model with one tuned from it")
    changes = {module: np.full(shape, np.nan) for module, shape in base.shapes.items()}  # nan: no neuron of the layer
    for site, before in base.sites.items():
        old, new = rows_of(before), rows_of(tuned.sites[site])
        moved, size = (new - old).norm(dim=1), old.norm(dim=1)
        # The relative change of a row of zeros that moved is infinite.
        relative = torch.where(moved == 0, 0.0, moved / size)
        changes[site.module][site.layer, : before.width] = relative.cpu().numpy()
    return changes


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def rows_of(found: SiteModule, of: Callable[[torch.Tensor], torch.Tensor] = _as_it_is) -> torch.Tensor:
    """Return a site's rows [N, inputs (+ 1 with a bias)] in float32.

    Args:
        found: the site.
        of: what to take rows of, given the weight or the bias; the tensor itself unless said otherwise.

    Raises:
        UsageError: the weight cannot be read as rows (quantised, or beside an adapter).
    """
    from transformers.pytorch_utils import Conv1D

    index = found.outputs(range(found.width))
    module = found.module
    if hasattr(module, "base_layer"):  # its weight is the base model's
        raise UsageError(
            f"{found.site.module} in layer {found.site.layer} has an adapter beside it; load with merge_adapter"
        )
    weight = getattr(module, found.stacked or "weight", None)
    if not isinstance(weight, torch.Tensor) or not weight.is_floating_point():
        raise UsageError(f"{found.site.module} in layer {found.site.layer} is quantised; its rows cannot be compared")
    whole = of(weight)
    whole = (whole.transpose(1, 2) if found.transposed else whole) if found.stacked else whole
    whole = whole.t() if not found.stacked and isinstance(module, Conv1D) else whole
    at = found.in_experts(index) if found.stacked else (index,)
    rows = whole.detach().cpu()[at].float()
    bias = found.expert_bias if found.stacked else getattr(module, "bias", None)
    return rows if bias is None else torch.cat([rows, of(bias).detach().cpu()[at][:, None].float()], dim=1)


def neuron_table(changes: Changes, neurons: NeuronSet, scores: tuple[Scores, Scores] | None = None) -> pd.DataFrame:
    """Return one row for each neuron of the set, ordered by movement, largest first.

    Columns: module, layer, neuron, change (relative) and rank (share of its projection's other rows that moved less).
    If scores are given, also score before, score after and their difference (means over the items).
    """
    modules = {neuron.module for neuron in neurons}
    means = [{module: s.mean(module) for module in modules} for s in scores] if scores else []
    rows = []
    for neuron in neurons:
        row = changes[neuron.module][neuron.layer]
        own = row[neuron.index]
        entry = {
            "module": neuron.module,
            "layer": neuron.layer,
            "neuron": neuron.index,
            "change": float(own),
            "rank": float((row < own).sum() / max(1, (~np.isnan(row)).sum() - 1)),
        }
        if scores:
            before, after = (float(mean[neuron.module][neuron.layer, neuron.index]) for mean in means)
            entry |= {"score_before": before, "score_after": after, "score_change": after - before}
        rows.append(entry)
    return pd.DataFrame(rows).sort_values("change", ascending=False, ignore_index=True)


def summary(
    changes: Changes,
    neurons: NeuronSet,
    shapes: Mapping[str, tuple[int, int]],
    scores: tuple[Scores, Scores] | None = None,
    *,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the set with `draws` random sets of the same modules and layers; one row for each quantity.

    Columns: what, set (mean over the set), random (mean over the draws), low and high (smallest and largest draw),
    ratio.  Quantities: relative change of the rows, and share of rows that moved at all.  If scores are given, also the
    change of the score, and the remaining score as a share of the score before.

    Raises:
        UsageError: the set is empty, or a module is too small to draw from.
    """
    random = [select_random(neurons, shapes, seed=seed + draw) for draw in range(draws)]
    mine, theirs = _quantities(changes, neurons, scores), [_quantities(changes, s, scores) for s in random]
    rows = []
    for what, value in mine.items():
        drawn = np.array([other[what] for other in theirs])
        mean = float(drawn.mean())
        ratio = value / mean if mean else float("nan")
        rows.append(
            {"what": what, "set": value, "random": mean, "low": drawn.min(), "high": drawn.max(), "ratio": ratio}
        )
    return pd.DataFrame(rows)


def _quantities(changes: Changes, neurons: NeuronSet, scores: tuple[Scores, Scores] | None) -> dict[str, float]:
    own = np.array([changes[n.module][n.layer, n.index] for n in neurons])
    found = {"relative change of rows": float(own.mean()), "share of rows that moved": float((own > 0).mean())}
    if scores:
        before, after = (_total(s, neurons) for s in scores)
        found |= {"change of score": float(after - before) / len(own), "score left": float(after / before)}
    return found


def _total(scores: Scores, neurons: NeuronSet) -> float:
    """Return the sum of a set's mean scores."""
    means = {module: scores.mean(module) for module in {n.module for n in neurons}}
    return float(sum(means[n.module][n.layer, n.index] for n in neurons))


def check_scores(before: Scores, after: Scores) -> None:
    """Check that two score files have the same items, presented in the same way.

    Raises:
        UsageError: the items, the method, the prompt policy or the shapes differ.
    """
    for field, what in (("data_hash", "items"), ("method", "method"), ("prompts", "prompt policy")):
        if before.meta.get(field) != after.meta.get(field):
            raise UsageError(f"the two score files were made with different {what}; score both models the same way")
    if before.shapes() != after.shapes():
        raise UsageError("the two score files are of models with different shapes")
