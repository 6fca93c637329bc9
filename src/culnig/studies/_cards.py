"""Neuron cards: what is known of single neurons, as JSON values that the page draws.

A card has `key`, `module`, `layer`, `index`, `rank`, `score`, `countries` (pairs of country and score, highest first) and
`sets` (other sets that hold the neuron).  The study `neuron_cards` adds `promoted`, `demoted`, `direction`, `questions`,
`histogram` and `alone`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from culnig.neurons import Neuron
from culnig.studies._culture_general_set import CULTURE_GENERAL

if TYPE_CHECKING:
    from culnig.attribution import Scores
    from culnig.studies._saved import SavedRun

TOP = 50
"""Neurons that have a card, unless the study `neuron_cards` asks for other ones."""


def best_neurons(run: SavedRun, count: int = TOP) -> list[tuple[Neuron, float]]:
    """Return the culture-general set's neurons with the highest scores, best first."""
    return sorted(run.neurons(CULTURE_GENERAL).scores.items(), key=lambda pair: -pair[1])[:count]


def key_of(neuron: Neuron) -> str:
    """Return the name of a neuron's card: "mlp.gate_proj.3.17"."""
    return f"{neuron.module}.{neuron.layer}.{neuron.index}"


def scores_by_country(neur: Scores, ctrl: Scores | None, neuron: Neuron) -> np.ndarray:
    """Return the neuron's score in each group of `neur`, minus that of the controls where they have the same groups."""
    at = (slice(None), neuron.layer, neuron.index)
    scores = neur.sums[neur.method, neuron.module][at] / neur.count
    if ctrl is not None and ctrl.groups == neur.groups:
        scores = scores - ctrl.sums[ctrl.method, neuron.module][at] / ctrl.count
    return np.asarray(scores)


def base_cards(run: SavedRun, count: int = TOP) -> list[dict[str, Any]]:
    """Return the cards of the best neurons, from scores and neuron sets alone."""
    neur, ctrl = run.scores("neur"), run.scores("ctrl")
    others = {name: run.neurons(name) for name in run.set_names("specific-")}
    cards = []
    for rank, (neuron, score) in enumerate(best_neurons(run, count), start=1):
        values = scores_by_country(neur, ctrl, neuron)
        order = np.argsort(-values, kind="stable")
        cards.append(
            {
                "key": key_of(neuron),
                "module": neuron.module,
                "layer": neuron.layer,
                "index": neuron.index,
                "rank": rank,
                "score": score,
                "countries": [[neur.groups[i], float(values[i])] for i in order],
                "sets": [name for name, members in others.items() if neuron in members],
            }
        )
    return cards
