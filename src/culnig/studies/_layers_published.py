"""What was published of layers and modules, beside the same figures of a run's set."""

from __future__ import annotations

from typing import Any

import pandas as pd

from culnig.neurons import MLP_POOL
from culnig.studies.published import read_published

PAPER = "arXiv 2510.08284 (ICLR 2026)"
MODEL, LAYERS = "gemma-3-12b-it", 48
"""The model whose layers were published, and how many it has."""


def published_beside(sites: pd.DataFrame, in_model: int) -> tuple[pd.DataFrame, list[str]]:
    """Return a table of findings (fact, published, this run), and sentences that say what to make of it.

    Args:
        sites: rows of `site_table`: module, layer, neurons, width.
        in_model: neurons in the whole model.
    """
    theirs = read_published()["models"][MODEL]
    layers, total = int(sites["layer"].max()) + 1, int(sites["neurons"].sum())
    gates = _by_layer(sites[sites["module"].isin(MLP_POOL)], layers)
    attention = _by_layer(sites[~sites["module"].isin(MLP_POOL)], layers)
    every = gates + attention
    mlp = _share(gates.sum(), total)
    rows = [
        ("size of the set, of all neurons", "less than 1 %", f"{_share(total, in_model):.2%}"),
        ("part that holds most of the set", "the MLP (gates)", f"the MLP holds {mlp:.0%}, attention {1 - mlp:.0%}"),
        ("depth of most of the set", "shallow to middle layers", _thirds(every, total)),
        _densest(theirs["gates"], theirs["neurons"], gates, total),
        (
            "layers whose attention holds no neuron of the set",
            f"{MODEL}: {_places(theirs['no_neurons']['self_attn'], LAYERS)}",
            _places(_empty(attention), layers),
        ),
        (
            "layers whose MLP holds no neuron of the set",
            f"{MODEL}: {_places(theirs['no_neurons']['mlp'], LAYERS)}",
            _places(_empty(gates), layers),
        ),
    ]
    return pd.DataFrame(rows, columns=["fact", "published", "this run"]), _told(every, gates, total)


def _told(every: pd.Series, gates: pd.Series, total: int) -> list[str]:
    """Whether the run's set sits where the published ones do, and what a difference may come from."""
    shallow = _share(every[[3 * i < 2 * len(every) for i in every.index]].sum(), total)
    mlp = _share(gates.sum(), total)
    agrees = mlp > 0.5 and shallow > 2 / 3
    return [
        f"The paper ({PAPER}) finds both kinds of culture neurons mostly in MLP layers of shallow to middle depth, in models"
        f" of 8 to 27 billion parameters. Here the MLP holds {mlp:.0%} of the set, and the first two thirds of the layers"
        f" hold {shallow:.0%} (an even spread: 67 %). This {'agrees with' if agrees else 'does not agree with'} the finding."
        " The thresholds fix how many neurons each part can give, so the share of the MLP is in part the rule's own."
    ]


def _densest(theirs: dict[int, int], size: int, gates: pd.Series, total: int) -> tuple[str, str, str]:
    """The densest layers of gates: as many, for its depth, as were published."""
    count = max(1, round(len(theirs) / LAYERS * len(gates)))
    own = gates.sort_values(ascending=False, kind="stable").head(count)
    own = own[own > 0]
    fact = f"densest {len(theirs) / LAYERS:.0%} of the layers, by gate neurons"
    return fact, _dense(theirs, size, LAYERS, f"{MODEL}: "), _dense(own.to_dict(), total, len(gates), "")


def _dense(counts: dict[Any, int], size: int, layers: int, begin: str) -> str:
    named = ", ".join(str(layer) for layer in sorted(counts))
    return f"{begin}layers {named} of {layers}, with {_share(sum(counts.values()), size):.0%} of the set"


def _thirds(every: pd.Series, total: int) -> str:
    thirds = [every[[3 * i // len(every) == third for i in every.index]].sum() for third in range(3)]
    first, middle, last = (f"{_share(count, total):.0%}" for count in thirds)
    return f"first third of the layers {first}, middle third {middle}, last third {last}"


def _places(found: list[int], layers: int) -> str:
    if not found:
        return f"none of {layers}"
    last = sum(3 * i // layers == 2 for i in found)
    return f"{len(found)} of {layers}, of them {last} in the last third"


def _empty(counts: pd.Series) -> list[int]:
    return [layer for layer in range(len(counts)) if not counts[layer]]


def _by_layer(sites: pd.DataFrame, layers: int) -> pd.Series:
    return sites.groupby("layer")["neurons"].sum().reindex(range(layers), fill_value=0)


def _share(part: float, whole: float) -> float:
    return float(part) / whole if whole else 0.0
