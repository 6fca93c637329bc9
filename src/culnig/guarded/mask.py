"""Learn which neurons to silence together: a mask under a hard budget, by projected gradient.

Each neuron has a number s, and the budget's largest s are silenced (projection).  A step measures what silencing each neuron
gains in the present state, of the silenced ones too (their gradient passes through as if they were there: straight-through),
and moves s towards it:

    s <- s + (gain - s) / t  until step t = MEMORY, then  s <- s + (gain - s) / MEMORY

So a neuron that another one has made useless leaves the mask again, and small samples do, since s is a mean over steps.  The
budget grows over the first half of the steps, so that early, noisy steps decide little.

Source: projected gradient and the straight-through estimator (Bengio et al. 2013, arXiv 1308.3432); the combination is ours.
"""

from __future__ import annotations

import numpy as np

from culnig.attribution.pooled import ByModule
from culnig.guarded.damping import FACTOR, damped
from culnig.guarded.data import GuardedData
from culnig.guarded.ranking import best, measure_terms
from culnig.guarded.settings import GuardedSettings
from culnig.models import LanguageModel
from culnig.neurons import Neuron
from culnig.progress import Reporter
from culnig.prompts import PromptPolicy

MEMORY = 12
"""Steps over which s is averaged."""
SAMPLE = 0.25
"""A step's sample, as a share of a round's."""


def learn_mask(
    lm: LanguageModel,
    data: GuardedData,
    settings: GuardedSettings,
    weights: dict[str, float],
    policy: PromptPolicy,
    reporter: Reporter,
) -> tuple[ByModule, int]:
    """Return s of every neuron after `settings.steps` steps, and what that cost in forward passes.

    The neurons of the largest s are to be silenced, in this order.

    Args:
        lm: the untouched model.
        data: the development data.
        settings: budget, sample sizes, modules and steps.
        weights: guard -> its weight.
        policy: how items are put and judged.
        reporter: shows progress.
    """
    average: ByModule = {}
    silenced: dict[Neuron, float] = {}
    forwards = 0
    with reporter.step("learn a mask", settings.steps, "steps") as progress:
        for step in range(1, settings.steps + 1):
            with damped(lm, list(silenced)):
                terms = measure_terms(lm, data, settings, step, policy=policy, size=SAMPLE)
            forwards += terms.forwards
            gain = terms.undamped(silenced, FACTOR).gain(weights)
            share = 1 / min(step, MEMORY)
            average = {
                module: values if step == 1 else average[module] + share * (values - average[module])
                for module, values in gain.items()
            }
            budget = min(settings.max_neurons, int(np.ceil(2 * settings.max_neurons * step / settings.steps)))
            silenced = best(average, (), budget, 0.0)
            progress(1)
    return average, forwards
