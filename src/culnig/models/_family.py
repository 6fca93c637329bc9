"""A model family: where the decoder layers are, and which module (and which slice of it) holds each site.

A family is one file in `families/`: build a `Family` and register it under the `model_type` of its configs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from culnig.registry import Registry


@dataclass(frozen=True)
class Part:
    """Where one site is inside a decoder layer.

    Attributes:
        path: the projection module's path, relative to the layer ("mlp.gate_proj").
        rows: for a fused projection, config -> (start, stop) of the site's rows in the output; None for all.
    """

    path: str
    rows: Callable[[Any], tuple[int, int]] | None = None


@dataclass(frozen=True)
class Family:
    """One architecture's map of sites.

    Attributes:
        layers: path of the list of decoder layers, from the model.
        parts: canonical module name (`mlp.gate_proj`, ...) -> where it is.
    """

    layers: str
    parts: dict[str, Part]


FAMILIES: Registry[Family] = Registry("model family", "culnig.models.families", "culnig.model_families")
