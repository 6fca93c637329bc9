"""Pools: neurons of several modules side by side, as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from culnig.attribution import Scores
from culnig.attribution.method import Method, parse_method
from culnig.attribution.store import own_neurons
from culnig.errors import UsageError
from culnig.models.fingerprint import same_model
from culnig.neurons import Neuron, Shape, widths_of
from culnig.prompts import recorded

RULE_VERSION = 1
"""Version of the selection rules; raise it where the same scores and settings would give another set."""


class Pool:
    """The neurons of some modules, numbered module by module, layer by layer.

    A layer counts with its own neurons only, where layers differ.

    Attributes:
        shapes: module -> (L, N), in the pool's order.
        size: how many neurons.
    """

    def __init__(self, scores: Scores, modules: Sequence[str]) -> None:
        shapes = scores.shapes()
        self.shapes = {module: shapes[module] for module in modules if module in shapes}
        if not self.shapes:
            raise UsageError(f"the scores hold none of {', '.join(modules)}; they hold {', '.join(shapes)}")
        self._starts: dict[str, np.ndarray] = {}
        self.size = 0
        for module, shape in self.shapes.items():
            ends = self.size + np.cumsum([0, *widths_of(shape)])
            self._starts[module], self.size = ends[:-1], int(ends[-1])

    def flat(self, array_of: Any) -> np.ndarray:
        """Concatenate `array_of(module)` ([..., L, N]) over the pool -> [..., size]."""
        parts = []
        for module, shape in self.shapes.items():
            part = np.asarray(array_of(module))
            parts.append(part[..., own_neurons(shape)] if isinstance(shape, Shape) else _joined(part))
        return np.concatenate(parts, axis=-1)

    def neuron(self, position: int) -> Neuron:
        """The neuron at a position of the flat arrays."""
        for module, starts in reversed(self._starts.items()):
            if position >= starts[0]:
                layer = int(np.searchsorted(starts, position, side="right")) - 1
                return Neuron(module, layer, int(position - starts[layer]))
        raise IndexError(position)

    def position(self, neuron: Neuron) -> int:
        """The position of a neuron in the flat arrays."""
        return int(self._starts[neuron.module][neuron.layer]) + neuron.index


def _joined(part: np.ndarray) -> np.ndarray:
    return part.reshape(*part.shape[:-2], -1)


def top(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest values, largest first; ties go to the lower position."""
    if k <= 0:
        return np.empty(0, dtype=np.int64)
    if k < len(values):
        # argpartition leaves ties at the edge undecided, so take everything down to the k-th value and sort that.
        edge = np.partition(values, len(values) - k)[len(values) - k]
        candidates = np.flatnonzero(values >= edge)
    else:
        candidates = np.arange(len(values))
    return candidates[np.argsort(-values[candidates], kind="stable")][:k]


def floor_count(share: float, size: int) -> int:
    """share * size, rounded down (1 % of 300 is 3, whatever floating point says)."""
    return int(np.floor(share * size + 1e-9))


def divisor(scores: Scores, preset: str) -> float:
    """What a total is divided by: prompts summed (corrected) or unique items (paper)."""
    return scores.meta["num_items"] if preset == "paper" else scores.count.sum().item()


def group_divisor(scores: Scores, preset: str) -> np.ndarray:
    """What groups' sums are divided by, [G, 1, 1]: their own prompts (corrected) or all unique items (paper)."""
    by = np.full(len(scores.groups), divisor(scores, preset)) if preset == "paper" else scores.count
    return by[:, None, None]


def top_ranked(values: np.ndarray, k: int) -> np.ndarray:
    """As `top`, without those that a method gives no rank (nan or -inf)."""
    ranked = np.where(np.isnan(values), -np.inf, values)
    best = top(ranked, k)
    return best[ranked[best] > -np.inf]


def check_together(**scores: Scores) -> None:
    """Check that score files belong together.

    Raises:
        UsageError: they come from different models, methods or prompt policies.
    """
    first_name, first = next(iter(scores.items()))
    for name, each in scores.items():
        if len(each.methods) > 1:
            raise UsageError(
                f"the {name} scores are of several methods ({', '.join(each.methods)}); choose one with --method"
                " (in Python: scores.of_method(name))"
            )
    for name, other in scores.items():
        if not same_model(first.meta, other.meta):
            raise UsageError(
                f"the {name} scores were made with another model than the {first_name} scores"
                f" ({other.meta.get('model_hash')} and {first.meta.get('model_hash')}); score both the same way"
            )
        for field, what in (
            ("dtype", "dtype"),
            ("formulation", "formulation"),
            ("prompts", "prompt policy"),
        ):
            a, b = (recorded(s.meta.get(field)) if field == "prompts" else s.meta.get(field) for s in (first, other))
            if a != b:
                raise UsageError(
                    f"the {name} scores were made with another {what} than the {first_name} scores ({b} and {a});"
                    " score both the same way"
                )
        if first.method != other.method:
            raise UsageError(f"the {name} scores are of {other.method}, the {first_name} scores of {first.method}")
        if first.shapes() != other.shapes():
            raise UsageError(f"the {name} scores have another shape than the {first_name} scores")


def method_of(scores: Scores) -> Method:
    """The method that made the scores; it says how they rank neurons."""
    return parse_method(scores.method)


def present(**scores: Scores | None) -> dict[str, Scores]:
    """The score files that there are."""
    return {name: s for name, s in scores.items() if s is not None}


def provenance(rule: Any, kind: str, **scores: Scores) -> dict[str, Any]:
    """How a set came about, for its file; `without` lists what selection did not look at."""
    keep = ("data_hash", "method", "formulation", "dtype", "prompts", "num_items", "num_prompts")
    first = next(iter(scores.values()))
    return {
        "kind": kind,
        "rule": rule.model_dump(),
        "rule_version": RULE_VERSION,
        "model_hash": first.meta.get("model_hash"),
        **({"legacy_model_hash": first.meta["legacy_model_hash"]} if "legacy_model_hash" in first.meta else {}),
        "without": [name for name in ("ctrl", "crc") if name not in scores],
        "scores": {name: {key: s.meta.get(key) for key in keep} | {"clamped": s.clamped} for name, s in scores.items()},
        "versions": first.meta.get("versions"),
    }
