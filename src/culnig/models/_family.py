"""A model family: where the decoder layers are, and which module (and which rows of its output) holds each site.

A family is one file in `families/`: build a `Family` and register it under the `model_type` of its configs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from culnig.neurons import GATE, KEY, QUERY, UP, VALUE
from culnig.registry import Registry

Rows = Callable[[Any], "tuple[int, int] | Sequence[int]"]
"""The decoder's config -> the site's rows in a projection's output: (start, stop) as a tuple, or a list of indices."""


@dataclass(frozen=True)
class Part:
    """Where one site is inside a decoder layer.

    Attributes:
        path: the projection module's path, relative to the layer ("mlp.gate_proj").
        rows: for a fused projection, config -> the tuple (start, stop) of the site's rows in the output, or the list of
            their indices where they are not contiguous; None for all.
        stacked: for experts kept as one parameter [experts, rows, inputs], its name in the module at `path`; `rows` are
            those of one expert, and the site's neurons are numbered expert * width + row.
    """

    path: str
    rows: Rows | None = None
    stacked: str | None = None


@dataclass(frozen=True)
class Family:
    """One architecture's map of sites.

    Attributes:
        layers: path of the list of decoder layers, from the model.
        parts: canonical module name (`mlp.gate_proj`, ...) -> where it is.
        windowed: every layer looks back `config.sliding_window` positions, if that is set. Families whose config lists
            `layer_types` need not say so. (A `sliding_window` in the config is no proof: Llama ignores it.)
    """

    layers: str
    parts: dict[str, Part]
    windowed: bool = False


def gate_up(path: str, width: str = "intermediate_size", stacked: str | None = None) -> dict[str, Part]:
    """The two MLP sites of one projection whose output is [gate | up], each `config.<width>` wide."""

    def rows(half: int) -> Rows:
        return lambda config: (half * getattr(config, width), (half + 1) * getattr(config, width))

    return {GATE: Part(path, rows(0), stacked), UP: Part(path, rows(1), stacked)}


def query_key_value(path: str) -> dict[str, Part]:
    """The three attention sites of one projection whose output is [q | k | v]."""

    def rows(which: int) -> Rows:
        def bounds(config: Any) -> tuple[int, int]:
            keys = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
            ends = [0]
            for heads in (config.num_attention_heads, keys, keys):
                ends.append(ends[-1] + heads * head_width(config))
            return ends[which], ends[which + 1]

        return bounds

    return {name: Part(path, rows(which)) for which, name in enumerate((QUERY, KEY, VALUE))}


def head_width(config: Any) -> int:
    """Coordinates of one attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


FAMILIES: Registry[Family] = Registry("model family", "culnig.models.families", "culnig.model_families")
