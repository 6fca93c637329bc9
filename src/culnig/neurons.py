"""Neurons, and sets of them.

A *neuron* is one output coordinate of a projection inside a decoder layer; its identity is (module, layer, index).
Modules have canonical names (`mlp.gate_proj`, `self_attn.q_proj`, ...), whatever an architecture calls them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from culnig.errors import DataError, UsageError
from culnig.files import read_json, write_json
from culnig.showing import brief, show

GATE, UP = "mlp.gate_proj", "mlp.up_proj"
QUERY, KEY, VALUE = "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"
SHARED_GATE, SHARED_UP = "mlp.shared_gate_proj", "mlp.shared_up_proj"
"""The expert of a mixture that every token passes, beside the routed ones of `mlp.gate_proj`; where a model has one."""
UP_OF = {GATE: UP, SHARED_GATE: SHARED_UP}
"""Gate -> the up projection that it is multiplied by."""
MLP_POOL: tuple[str, ...] = (GATE, SHARED_GATE)
ATTENTION_POOL: tuple[str, ...] = (QUERY, KEY, VALUE)
MODULES: tuple[str, ...] = (GATE, UP, QUERY, KEY, VALUE)
"""The canonical modules that a model may have in every layer, in the order of the reports."""


def mlp_of(module: str) -> tuple[str, ...]:
    """Return the gate and the up projection of the MLP that a module is of; nothing for a module of attention."""
    return next((pair for pair in UP_OF.items() if module in pair), ())


class Site(NamedTuple):
    """A projection of one layer; its outputs are neurons."""

    module: str
    layer: int


class Neuron(NamedTuple):
    """One output coordinate of a site."""

    module: str
    layer: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which no caller needs

    @property
    def site(self) -> Site:
        return Site(self.module, self.layer)

    def __str__(self) -> str:
        return f"{self.module}.{self.layer}[{self.index}]"


class Shape(tuple[int, int]):
    """(L, N) of a module whose layers differ: N of the widest, and `widths`, the neurons of each layer (0 where it has none).

    It stands wherever a plain (L, N) does; arrays [.., L, N] hold 0 beyond a layer's own neurons.
    """

    widths: tuple[int, ...]

    def __new__(cls, widths: Iterable[int]) -> Shape:
        widths = tuple(int(width) for width in widths)
        made = super().__new__(cls, (len(widths), max(widths, default=0)))
        made.widths = widths
        return made

    def __eq__(self, other: object) -> bool:
        return tuple.__eq__(self, other) and widths_of(self) == widths_of(other)  # type: ignore[arg-type]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.widths)


def widths_of(shape: tuple[int, int]) -> tuple[int, ...]:
    """Return the number of neurons of each layer of a module."""
    return shape.widths if isinstance(shape, Shape) else (shape[1],) * shape[0]


def number_of_neurons(shapes: Mapping[str, tuple[int, int]]) -> int:
    """Return how many neurons modules have together."""
    return sum(sum(widths_of(shape)) for shape in shapes.values())


class NeuronSet:
    """An ordered set of neurons, each with the score for which it was chosen.

    The order is that of selection (best first).  Equality and set operations compare only the identities.

    Attributes:
        scores: neuron -> attribution score.
        model_name: the model the neurons belong to; "" if unknown.
        dataset_ids: data set -> ids of the items that gave the scores.
        provenance: how the set was made (thresholds, file hashes, versions); JSON values only.
        extra: neuron -> further JSON fields of its row (for example scores by country).
        expert_widths: module -> neurons of one expert, in models with experts; there a neuron's expert is
            index // width, and its row holds it as `expert_idx`.  An entry "<module>.<layer>" is that of one layer, and 0
            where the layer has no experts.
    """

    def __init__(
        self,
        scores: Mapping[Neuron, float] | Iterable[Neuron] = (),
        *,
        model_name: str = "",
        dataset_ids: Mapping[str, list[str]] | None = None,
        provenance: Mapping[str, Any] | None = None,
        extra: Mapping[Neuron, dict[str, Any]] | None = None,
        expert_widths: Mapping[str, int] | None = None,
    ) -> None:
        items = scores.items() if isinstance(scores, Mapping) else ((neuron, float("nan")) for neuron in scores)
        self.scores: dict[Neuron, float] = {Neuron(*neuron): float(score) for neuron, score in items}
        self.model_name = model_name
        self.dataset_ids = dict(dataset_ids or {})
        self.provenance = dict(provenance or {})
        self.extra = dict(extra or {})
        self.expert_widths = dict(expert_widths or {})

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Neuron]:
        return iter(self.scores)

    def __contains__(self, neuron: object) -> bool:
        return neuron in self.scores

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NeuronSet) and self.scores.keys() == other.scores.keys()

    __hash__ = None  # type: ignore[assignment]  # provenance is mutable; sets are compared, not hashed

    def __repr__(self) -> str:
        return f"NeuronSet({len(self)} neurons of {self.model_name or 'an unnamed model'})"

    def _repr_html_(self) -> str:
        return brief("neurons", self)

    def show(self, *, of: Any = None, count: int = 25) -> None:
        """Show in Jupyter where the neurons sit, and list the first; elsewhere, print them.

        Args:
            of: the model, or scores of it; then layers without a neuron are drawn, too, and densities.
            count: neurons in the table, in the set's order.

        Raises:
            UsageError: `of` is no model and no scores, or the set does not belong to it.
        """
        show("neurons", self, of=of, count=count)

    def _kept(self, keep: Iterable[Neuron], operation: str) -> NeuronSet:
        return NeuronSet(
            {neuron: self.scores[neuron] for neuron in keep},
            model_name=self.model_name,
            dataset_ids=self.dataset_ids,
            provenance={"operation": operation, "of": self.provenance},
            expert_widths=self.expert_widths,
        )

    def __and__(self, other: NeuronSet) -> NeuronSet:
        return self._kept((n for n in self if n in other), "intersection")

    def __sub__(self, other: NeuronSet) -> NeuronSet:
        return self._kept((n for n in self if n not in other), "difference")

    def __or__(self, other: NeuronSet) -> NeuronSet:
        union = self._kept(self, "union")
        union.scores.update({neuron: score for neuron, score in other.scores.items() if neuron not in self})
        return union

    def jaccard(self, other: NeuronSet) -> float:
        """Return |intersection| / |union|; 1 for two empty sets."""
        union = len(self.scores.keys() | other.scores.keys())
        return len(self.scores.keys() & other.scores.keys()) / union if union else 1.0

    def top(self, k: int) -> NeuronSet:
        """Return the first k neurons in order of selection."""
        return self._kept(list(self)[:k], f"top {k}")

    def by_site(self) -> dict[Site, list[int]]:
        """Return site -> sorted neuron indices."""
        sites: dict[Site, list[int]] = {}
        for neuron in self:
            sites.setdefault(neuron.site, []).append(neuron.index)
        return {site: sorted(indices) for site, indices in sorted(sites.items())}

    def counts(self) -> dict[Site, int]:
        """Return site -> number of neurons in it."""
        return {site: len(indices) for site, indices in self.by_site().items()}

    def to_json(self) -> dict[str, Any]:
        """Return the published implementation's layout, `provenance`, and each neuron's expert if there are experts."""
        return {
            "model_name": self.model_name,
            "dataset_ids": self.dataset_ids,
            "top_neurons": [
                {
                    "module_name": neuron.module,
                    "layer_idx": neuron.layer,
                    "neuron_idx": neuron.index,
                    **self._expert(neuron),
                    "attribute_score": score,
                    **self.extra.get(neuron, {}),
                }
                for neuron, score in self.scores.items()
            ],
            "provenance": self.provenance,
            **({"expert_widths": self.expert_widths} if self.expert_widths else {}),
        }

    def _expert(self, neuron: Neuron) -> dict[str, int]:
        widths = self.expert_widths
        width = widths.get(f"{neuron.module}.{neuron.layer}", widths.get(neuron.module))
        return {"expert_idx": neuron.index // width} if width else {}

    def save(self, path: Path | str) -> None:
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> NeuronSet:
        """Read a neuron file, in our layout or in the published implementation's.

        Raises:
            UsageError: the file does not exist.
            DataError: the file is not a neuron file, or a row lacks fields.
        """
        data = read_json(path, "a neuron set (JSON)")
        rows = data.get("top_neurons") if isinstance(data, dict) else None
        if not isinstance(rows, list):
            raise DataError(f"{path}: not a neuron set: no list `top_neurons`; `culnig select` writes such files")
        scores: dict[Neuron, float] = {}
        extra: dict[Neuron, dict[str, Any]] = {}
        for number, row in enumerate(rows, start=1):
            neuron, score, rest = _parse_row(row, f"{path}: top_neurons row {number}")
            if neuron in scores:
                raise DataError(f"{path}: top_neurons row {number}: {neuron} is listed twice")
            scores[neuron] = score
            if rest:
                extra[neuron] = rest
        ids = data.get("dataset_ids") or {}
        widths = data.get("expert_widths") or {}
        provenance = data.get("provenance") or {"file": str(path), "origin": "published implementation"}
        if not (isinstance(ids, dict | list) and isinstance(provenance, dict) and _are_widths(widths)):
            raise DataError(f"{path}: not a neuron set: dataset_ids, provenance or expert_widths is of another kind")
        return cls(
            scores,
            model_name=str(data.get("model_name", "")),
            dataset_ids=ids if isinstance(ids, dict) else {"": list(ids)},
            provenance=provenance,
            extra=extra,
            expert_widths=widths,
        )


def _are_widths(value: Any) -> bool:
    return isinstance(value, dict) and all(type(width) is int and width >= 0 for width in value.values())


INFINITIES = {"Infinity": float("inf"), "-Infinity": -float("inf")}


def _parse_row(row: Any, where: str) -> tuple[Neuron, float, dict[str, Any]]:
    fields = ("module_name", "layer_idx", "neuron_idx")
    if not isinstance(row, dict) or any(field not in row for field in fields):
        raise DataError(f"{where}: needs {', '.join(fields)}")
    module, layer, index = (row[field] for field in fields)
    if not isinstance(module, str) or not all(type(v) is int and v >= 0 for v in (layer, index)):
        raise DataError(f"{where}: module_name must be text, layer_idx and neuron_idx whole numbers >= 0")
    known = {*fields, "attribute_score", "expert_idx"}
    score = row.get("attribute_score")
    if isinstance(score, bool | str | list | dict):
        score = INFINITIES.get(str(score))  # JSON has no infinity, so it is written as text
        if score is None:
            raise DataError(f"{where}: attribute_score must be a number, not {row['attribute_score']!r}")
    rest = {key: value for key, value in row.items() if key not in known}
    return Neuron(module, layer, index), float("nan") if score is None else float(score), rest


def check_belongs(neurons: NeuronSet, shapes: Mapping[str, tuple[int, int]], model: str) -> None:
    """Check that every neuron exists in a model.

    Args:
        neurons: the set.
        shapes: module -> (L, N) of the model.
        model: the model's name for messages.

    Raises:
        UsageError: a neuron lies outside the model, or the set was made on another one.
    """
    for neuron in neurons:
        if neuron.module not in shapes:
            have = ", ".join(shapes)
            raise UsageError(f"neuron {neuron} is not in {model}: it has no module {neuron.module} (it has {have})")
        layers, width = shapes[neuron.module]
        inside = neuron.layer < layers
        own = widths_of(shapes[neuron.module])[neuron.layer] if inside else 0
        if neuron.index >= own:
            fewer = f" ({own} in layer {neuron.layer})" if inside and own < width else ""
            raise UsageError(
                f"neuron {neuron} is not in {model}, whose {neuron.module} is {layers} layers x {width} neurons{fewer};"
                f" the set was made on '{neurons.model_name}'"
            )
