"""Rank neurons by what suppressing each of them would take next, given what is suppressed already.

In a state of the model, with n * d(log-odds of the gold answer)/dn summed over positions and averaged over items,

    C  culture        K  its controls        G_p  each protected set p
    O  first-order change of the loss of a token of text        Q  diagonal Fisher of that loss (`attribution.text_cost`)

    rank by  C - max(K, 0) - sum over p of v_p max(G_p, 0) - w (max(O, 0) + Q / 2)

MLP neurons are looked at behind their activation function, where the first-order term is exact.  The weights w and v_p grow
when a guard was crossed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from culnig.attribution import score
from culnig.attribution.store import own_neurons
from culnig.attribution.text_cost import text_cost
from culnig.data import Item
from culnig.guarded.data import GuardedData, sample
from culnig.guarded.settings import PERPLEXITY, GuardedSettings
from culnig.models import LanguageModel
from culnig.neurons import Neuron
from culnig.prompts import PromptPolicy

METHOD = "culnig:sum:odds:unweighted:product"
"""Signed sums of value times gradient of the log-odds."""


def gains(
    lm: LanguageModel,
    data: GuardedData,
    settings: GuardedSettings,
    weights: dict[str, float],
    round_number: int,
    *,
    policy: PromptPolicy,
) -> dict[str, np.ndarray]:
    """Return what each neuron of the model as it is now gains, by a fresh sample of items and texts.

    Args:
        lm: the model, with the neurons chosen so far suppressed.
        data: the development data.
        settings: sample sizes and modules.
        weights: guard -> its weight.
        round_number: decides the sample.
        policy: how items are put and judged.

    Returns:
        Module -> nats, float64 [L, N].
    """
    seed = settings.seed * 1009 + round_number
    modules = settings.modules or list(lm.shapes)
    size = settings.items

    def mean(items: Sequence[Item]) -> dict[str, np.ndarray]:
        scores = score(lm, items, policy=policy, method=METHOD, modules=modules)
        return {module: scores.mean(module, METHOD) for module in modules}

    gain = mean(sample(data.culture.search, size, seed))
    if data.controls:
        for module, values in mean(sample(data.controls, size, seed)).items():
            gain[module] = gain[module] - np.maximum(values, 0)
    for name, part in data.protect.items():
        for module, values in mean(sample(part.search, size, seed)).items():
            gain[module] = gain[module] - weights[name] * np.maximum(values, 0)
    texts = data.texts[0]
    chosen = np.random.default_rng(seed).permutation(len(texts))[: settings.texts]
    cost = text_cost(lm, [texts[i] for i in sorted(chosen)], bos=policy.bos)
    for module in modules:
        loss = np.maximum(cost.first_order[module], 0) + cost.fisher[module] / 2
        gain[module] = gain[module] - weights[PERPLEXITY] * loss
    return {module: np.where(own_neurons(lm.shapes[module]), values, -np.inf) for module, values in gain.items()}


def best(gain: dict[str, np.ndarray], without: Collection[Neuron], count: int, least: float) -> dict[Neuron, float]:
    """Return the neurons of the largest gains above `least`; ties go to the first module, layer and index."""
    flat = np.concatenate([values.ravel() for values in gain.values()])
    owners = [(module, values.shape, values.size) for module, values in gain.items()]
    found: dict[Neuron, float] = {}
    for position in np.argsort(-flat, kind="stable"):
        if len(found) == count or not flat[position] > least:
            break
        neuron = _neuron(owners, int(position))
        if neuron not in without:
            found[neuron] = float(flat[position])
    return found


def _neuron(owners: list[tuple[str, tuple[int, ...], int]], position: int) -> Neuron:
    for module, shape, size in owners:
        if position < size:
            return Neuron(module, *divmod(position, shape[1]))
        position -= size
    raise IndexError(position)
