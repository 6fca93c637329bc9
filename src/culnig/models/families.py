"""Model families: the place of the decoder layers, and the module (and rows of its output) that holds each site.

The table at the end lists every architecture that culnig knows, under the `model_type` of its configs.  To add an
architecture, add an entry to it, or call `FAMILIES.register(...)` in a package of your own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from culnig.neurons import ATTENTION_POOL, GATE, KEY, MODULES, QUERY, UP, VALUE
from culnig.registry import Registry

Rows = Callable[[Any], "tuple[int, int] | Sequence[int]"]
"""The decoder's config -> the site's rows in a projection's output: (start, stop) as a tuple, or a list of indices."""


@dataclass(frozen=True)
class SiteLocation:
    """The place of one site inside a decoder layer.

    Attributes:
        path: the projection module's path, relative to the layer ("mlp.gate_proj").
        rows: for a fused projection, a function of the config that returns the site's rows in the output; None for
            all rows.  The rows are a tuple (start, stop), or a list of indices if they are not contiguous.
        stacked: name of the parameter [experts, rows, inputs] in the module at `path`, if experts are kept as one
            parameter. `rows` are then those of one expert, and the site's neurons are numbered expert * width + row.
    """

    path: str
    rows: Rows | None = None
    stacked: str | None = None


@dataclass(frozen=True)
class Family:
    """One architecture's map of sites.

    Attributes:
        layers: path of the list of decoder layers, from the model.
        sites: canonical module name (`mlp.gate_proj`, ...) -> its place.
        windowed: whether every layer looks back `config.sliding_window` positions, if that is set.  Families whose
            config lists `layer_types` need not set it.  (A `sliding_window` in the config is no proof: Llama ignores
            it.)
    """

    layers: str
    sites: dict[str, SiteLocation]
    windowed: bool = False


def gate_up(path: str, width: str = "intermediate_size", stacked: str | None = None) -> dict[str, SiteLocation]:
    """Return the two MLP sites of one projection whose output is [gate | up], each `config.<width>` wide."""

    def rows(half: int) -> Rows:
        return lambda config: (half * getattr(config, width), (half + 1) * getattr(config, width))

    return {GATE: SiteLocation(path, rows(0), stacked), UP: SiteLocation(path, rows(1), stacked)}


def query_key_value(path: str) -> dict[str, SiteLocation]:
    """Return the three attention sites of one projection whose output is [q | k | v]."""

    def rows(which: int) -> Rows:
        def bounds(config: Any) -> tuple[int, int]:
            keys = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
            ends = [0]
            for heads in (config.num_attention_heads, keys, keys):
                ends.append(ends[-1] + heads * head_width(config))
            return ends[which], ends[which + 1]

        return bounds

    return {name: SiteLocation(path, rows(which)) for which, name in enumerate((QUERY, KEY, VALUE))}


def head_width(config: Any) -> int:
    """Return the number of coordinates of one attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


FAMILIES: Registry[Family] = Registry("model family", "culnig.models.families", "culnig.model_families")


def interleaved(path: str) -> dict[str, SiteLocation]:
    """Return the three attention sites of one projection whose output is interleaved by head.

    The output is [q of head 0 | k of head 0 | v of head 0 | q of head 1 | ...].  Neuron i of a site is coordinate
    i % width of head i // width.
    """

    def rows(which: int) -> Rows:
        def indices(config: Any) -> list[int]:
            width = head_width(config)
            return [(3 * head + which) * width + i for head in range(config.num_attention_heads) for i in range(width)]

        return indices

    return {name: SiteLocation(path, rows(which)) for which, name in enumerate((QUERY, KEY, VALUE))}


SEPARATE_ATTENTION = {module: SiteLocation(module) for module in ATTENTION_POOL}
LLAMA = Family(layers="model.layers", sites={module: SiteLocation(module) for module in MODULES})
"""Separate projections in every layer."""

TABLE: dict[str, Family] = {
    "llama": LLAMA,  # also Falcon 3 and SmolLM2, whose `model_type` is llama
    "mistral": replace(LLAMA, windowed=True),  # older models look back a sliding window in every layer
    "qwen2": LLAMA,  # Qwen 2 and 2.5; the biases on q, k and v are part of a neuron's value
    "qwen3": LLAMA,  # q and k are normalised after their projections; a neuron is the value before the norm
    "gemma2": LLAMA,  # attention logits are soft-capped, which needs eager attention
    "gemma3_text": LLAMA,
    "gemma3": replace(LLAMA, layers="model.language_model.layers"),  # the decoder inside the image-text model
    "olmo2": LLAMA,  # norms follow attention and MLP, and q and k
    "granite": LLAMA,  # embeddings, residuals, attention and logits are scaled by constants
    "smollm3": LLAMA,  # some layers have no rotary positions
    "cohere2": LLAMA,  # Command R7B, Command A: attention and MLP read the same normalised input
    # Phi-3 and Phi-4: one projection for [gate | up], one for [q | k | v].
    "phi3": Family(
        layers="model.layers",
        sites=gate_up("mlp.gate_up_proj") | query_key_value("self_attn.qkv_proj"),
        windowed=True,
    ),
    # GLM-4 (9B of 2024): one projection for [gate | up].
    "glm": (GLM := Family(layers="model.layers", sites=gate_up("mlp.gate_up_proj") | SEPARATE_ATTENTION)),
    "glm4": GLM,  # GLM-4-0414; it differs from `glm` in its norms
    # GPT-NeoX and Pythia have no gate: the projection before the activation function is the site `mlp.gate_proj`.
    "gpt_neox": Family(
        layers="gpt_neox.layers",
        sites={GATE: SiteLocation("mlp.dense_h_to_4h")} | interleaved("attention.query_key_value"),
    ),
    # GPT-2 has no gate either.  Its Conv1D projections have their outputs in the weight's columns.
    "gpt2": Family(layers="transformer.h", sites={GATE: SiteLocation("mlp.c_fc")} | query_key_value("attn.c_attn")),
    # Mixtures of experts, kept as stacked parameters; neuron i of expert e has the index e * width + i.
    "mixtral": Family(
        layers="model.layers",
        sites=gate_up("mlp.experts", stacked="gate_up_proj") | SEPARATE_ATTENTION,
        windowed=True,
    ),
    "qwen3_moe": Family(
        layers="model.layers",
        sites=gate_up("mlp.experts", width="moe_intermediate_size", stacked="gate_up_proj") | SEPARATE_ATTENTION,
        windowed=True,
    ),
}
for _model_type, _family in TABLE.items():
    FAMILIES.register(_model_type)(_family)
