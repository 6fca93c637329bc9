"""Rank neurons by what suppressing each of them would take next, given what is suppressed already.

In a state of the model, with n * d(log-odds of the gold answer)/dn summed over positions and averaged over items,

    C  culture        K  its controls        G_p  each protected set p
    O  first-order change of the loss of a token of text        Q  diagonal Fisher of that loss (`attribution.text_cost`)

    gain  C - c K - sum over p of v_p max(G_p, 0) - w (max(O, 0) + Q / 2)

c is `control_weight`.  Where controls ask the same question about another country, what K takes off is what a neuron does
for the options whichever country is asked about; on topics that no round had seen, c = 1/2 cost a tenth of C and took
away two thirds of K.
MLP neurons are looked at behind their activation function, where the first-order term is exact.  Where neurons are replaced
by numbers m, (n - m) * d(log-odds)/dn at the neuron's own site takes the place of n * d(log-odds)/dn.  The
weights w and v_p grow when a guard was crossed.  Methods that rank once use the same terms:

    ratio       max(C - c K, 0) / (sum over p of v_p |G_p| + w (|O| + Q / 2) + e),  e the median denominator
    difference  C - c K, without the neurons in the top share by any G_p or by O + Q / 2
    veto        C - c K, without the neurons in the top share by Q
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from culnig.attribution import Means
from culnig.attribution.method import parse_method
from culnig.attribution.pooled import ByModule, mean_over_items
from culnig.attribution.text_cost import text_cost
from culnig.data import Item
from culnig.guarded.data import GuardedData, sample
from culnig.guarded.settings import PERPLEXITY, GuardedSettings
from culnig.models import LanguageModel
from culnig.neurons import Neuron
from culnig.prompts import PromptPolicy

FORWARD_AND_BACKWARD = 3
"""Forward passes that a forward and a backward pass cost."""


@dataclass(frozen=True)
class Terms:
    """What a state of the model says of every neuron; all in nats.

    Attributes:
        culture: C.
        controls: K.
        protect: name -> G.
        first_order, fisher: O and Q.
        control_weight: c.
        forwards: what measuring them cost, in forward passes of a prompt or a text; a backward pass counts as two.
    """

    culture: ByModule
    controls: ByModule
    protect: dict[str, ByModule]
    first_order: ByModule
    fisher: ByModule
    control_weight: float
    forwards: int = 0

    def own(self, module: str) -> np.ndarray:
        """Return C - c K."""
        culture = self.culture[module]
        return culture - self.control_weight * self.controls[module] if module in self.controls else culture

    def gain(self, weights: dict[str, float]) -> ByModule:
        """Return the gain of each neuron, by the weights of the guards."""
        found = {}
        for module in self.culture:
            loss = np.maximum(self.first_order[module], 0) + self.fisher[module] / 2
            cost = weights[PERPLEXITY] * loss
            for name, each in self.protect.items():
                cost = cost + weights[name] * np.maximum(each[module], 0)
            found[module] = self.own(module) - cost
        return found

    def ratio(self, weights: dict[str, float]) -> ByModule:
        """Return culture's score by the costs of each neuron."""
        costs = {}
        for module in self.culture:
            cost = weights[PERPLEXITY] * (np.abs(self.first_order[module]) + self.fisher[module] / 2)
            costs[module] = cost + sum(weights[name] * np.abs(each[module]) for name, each in self.protect.items())
        small = float(np.median(np.concatenate([cost.ravel() for cost in costs.values()])))
        tiny = np.finfo(float).tiny  # where every cost is 0
        return {module: np.maximum(self.own(module), 0) / (cost + small + tiny) for module, cost in costs.items()}

    def without_costly(self, share: float, *, only_fisher: bool) -> ByModule:
        """Return culture's score; -inf for the neurons in the top share by a cost."""
        text = {module: self.first_order[module] + self.fisher[module] / 2 for module in self.culture}
        costs = [self.fisher] if only_fisher else [text, *self.protect.values()]
        found = {module: self.own(module).copy() for module in self.culture}
        for cost in costs:
            flat = np.concatenate([cost[module].ravel() for module in found])
            # Never less than one neuron, and never one that costs nothing.
            bound = max(np.partition(flat, -max(1, int(share * flat.size)))[-max(1, int(share * flat.size))], 0.0)
            for module, values in found.items():
                values[(cost[module] >= bound) & (cost[module] > 0)] = -np.inf
        return found

    def undamped(self, neurons: Iterable[Neuron], factor: float) -> Terms:
        """Return the terms of neurons whose values were multiplied by `factor`, as those of the values themselves.

        With n' = factor * n, the contribution n' * d/dn' is the factor times n * d/dn'.
        """
        scale = {module: np.ones_like(values) for module, values in self.culture.items()}
        for neuron in neurons:
            if neuron.module in scale:
                scale[neuron.module][neuron.layer, neuron.index] = 1 / factor

        def times(values: ByModule, power: int = 1) -> ByModule:
            return {module: array * scale[module] ** power for module, array in values.items()}

        protect = {name: times(each) for name, each in self.protect.items()}
        return Terms(
            times(self.culture),
            times(self.controls),
            protect,
            times(self.first_order),
            times(self.fisher, 2),
            self.control_weight,
            self.forwards,
        )


def measure_terms(
    lm: LanguageModel,
    data: GuardedData,
    settings: GuardedSettings,
    number: int,
    *,
    policy: PromptPolicy,
    size: float = 1.0,
    means: Means | None = None,
) -> Terms:
    """Measure the terms of the model as it is, on a sample of items and texts.

    Args:
        lm: the model, with the neurons chosen so far suppressed.
        data: the development data.
        settings: sample sizes, modules and the scoring method.
        number: decides the sample: the number of the round or of the step.
        policy: how items are put and judged.
        size: the sample has so many times the items and texts of a round.
        means: what neurons are replaced by; None: they are zeroed.
    """
    reference = means.on(lm) if means else None
    seed = settings.seed * 1009 + number
    modules = settings.modules or list(lm.shapes)
    count, num_texts = max(4, round(size * settings.items)), max(2, round(size * settings.texts))

    passes, method = 0, parse_method(settings.scored_by).name

    def mean(items: Sequence[Item]) -> ByModule:
        nonlocal passes
        passes += FORWARD_AND_BACKWARD * len(items)
        return mean_over_items(lm, items, policy=policy, method=method, modules=modules, reference=reference)

    texts = data.texts[0]
    chosen = sorted(np.random.default_rng(seed).permutation(len(texts))[:num_texts])
    cost = text_cost(lm, [texts[i] for i in chosen], bos=policy.bos, reference=reference)
    passes += FORWARD_AND_BACKWARD * len(chosen)
    culture = mean(sample(data.culture.search, count, seed))
    controls = mean(sample(data.controls, count, seed)) if data.controls else {}
    protect = {name: mean(sample(part.search, count, seed)) for name, part in data.protect.items()}
    return Terms(
        culture=culture,
        controls=controls,
        protect=protect,
        first_order={module: cost.first_order[module] for module in modules},
        fisher={module: cost.fisher[module] for module in modules},
        control_weight=settings.control_weight,
        forwards=passes,
    )


def best(gain: ByModule, without: Collection[Neuron], count: int, least: float) -> dict[Neuron, float]:
    """Return the neurons of the largest gains above `least`; ties go to the first module, layer and index.

    Where a layer has fewer neurons than others, the rest of its row is 0 in every term and is never above `least`.
    """
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
