"""Model families: the place of the decoder layers, and the module (and rows of its output) that holds each site.

The table at the end lists every architecture that culnig knows, under the `model_type` of its configs.  To add an
architecture, add an entry to it, or call `FAMILIES.register(...)` in a package of your own.  What an entry is made of is
in `models.layouts`; what is not in the table, and why, is in `models.unmapped`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from culnig.models.layouts import (
    Places,
    SiteLocation,
    Sites,
    alternating,
    either,
    gate_up,
    gated_query,
    interleaved,
    latent_key_value,
    of_bigcode,
    of_codegen,
    of_falcon,
    query_key_value,
)
from culnig.neurons import ATTENTION_POOL, GATE, MODULES, QUERY, SHARED_GATE, SHARED_UP, UP
from culnig.registry import Registry


@dataclass(frozen=True)
class Family:
    """One architecture's map of sites.

    Attributes:
        layers: path of the list of decoder layers, from the model.
        sites: canonical module name (`mlp.gate_proj`, ...) -> its place.
        windowed: whether every layer looks back `config.sliding_window` positions, if that is set.  Families whose
            config lists `layer_types` need not set it.  (A `sliding_window` in the config is no proof: Llama ignores
            it.)
        no_branches: why answers of several tokens cannot stand side by side behind one prompt; "" if they can.  Kinds of
            layers that a config names, alibi and convolutions are found without it (`passes.forward`).
    """

    layers: str
    sites: Mapping[str, Places]
    windowed: bool = False
    no_branches: str = ""

    def place_in(self, module: str, layer: Any) -> SiteLocation | None:
        """Return a site's place in a decoder layer; None where the layer has none of the places named."""
        places = self.sites[module]
        if isinstance(places, SiteLocation):
            return places
        return next((place for place in places if _has(layer, place)), None)


def _has(layer: Any, place: SiteLocation) -> bool:
    if place.beside and _at(layer, place.beside) is None:
        return False
    found = _at(layer, place.path)
    return found is not None and (place.stacked is None or hasattr(found, place.stacked))


def _at(layer: Any, path: str) -> Any:
    for step in path.split("."):
        if (layer := getattr(layer, step, None)) is None:
            return None
    return layer


FAMILIES: Registry[Family] = Registry("model family", "culnig.models.families", "culnig.model_families")


def mlp(gate: str, up: str | None = None) -> Sites:
    """Return the MLP sites of separate projections; without `up`, of an MLP without a gate.

    There the projection before the activation function is the site `mlp.gate_proj`.
    """
    return {GATE: SiteLocation(gate)} | ({UP: SiteLocation(up)} if up else {})


def experts(path: str = "mlp.experts", width: str = "moe_intermediate_size") -> Sites:
    """Return the MLP sites of stacked experts [gate | up]; neuron i of expert e has the index e * width + i."""
    return gate_up(path, width, stacked="gate_up_proj")


def shared(path: str, *, gate: str = "gate_proj", up: str | None = "up_proj") -> Sites:
    """Return the sites of a mixture's shared expert with separate projections; without `up`, of one without a gate."""
    return {SHARED_GATE: SiteLocation(path + gate)} | ({SHARED_UP: SiteLocation(path + up)} if up else {})


def shared_fused(path: str, width: str, beside: str | None = None) -> Sites:
    """Return the sites of a mixture's shared expert whose one projection gives [gate | up]."""
    found = gate_up(path, width)
    return {SHARED_GATE: replace(found[GATE], beside=beside), SHARED_UP: replace(found[UP], beside=beside)}


def attention(prefix: str = "self_attn.") -> Sites:
    """Return the attention sites of separate projections q_proj, k_proj and v_proj."""
    return {name: SiteLocation(prefix + name.partition(".")[2]) for name in ATTENTION_POOL}


def at(layers: str, *sites: Mapping[str, Places], **more: Any) -> Family:
    """Return a family whose layers are at a path."""
    return Family(layers, {name: place for part in sites for name, place in part.items()}, **more)


ATTENTION = attention()
GATED = mlp("mlp.gate_proj", "mlp.up_proj")
FIRST_DENSE = either(experts(), GATED)
"""Experts in most layers, an MLP in the others, such as the first."""
LATENT = either({QUERY: SiteLocation("self_attn.q_b_proj")} | latent_key_value("self_attn.kv_b_proj"), ATTENTION)
"""Multi-head latent attention (DeepSeek); layers without latents have separate projections (Kimi Linear)."""
MAMBA = "a state space runs over its tokens one after the other"

LLAMA = Family(layers="model.layers", sites={module: SiteLocation(module) for module in MODULES})
"""Separate projections in every layer."""
UNGATED = at("model.layers", mlp("mlp.up_proj"), ATTENTION)
SHARED = either(shared("mlp.shared_experts."), shared("mlp.shared_expert."), shared("mlp.shared_mlp."))
"""The expert of every token, in the layers that have one."""
SHARED_GRANITE = either(
    shared_fused("shared_mlp.input_linear", "shared_intermediate_size", beside="block_sparse_moe.experts")
)
"""The same; in Granite's layers without a mixture this is the MLP itself."""
WIDE_MIXTURE = at("model.layers", experts(width="intermediate_size"), SHARED, ATTENTION)
MIXTURE_FIRST_DENSE = at("model.layers", FIRST_DENSE, SHARED, ATTENTION)
DEEPSEEK = at("model.layers", FIRST_DENSE, SHARED, LATENT)
HYBRID_ATTENTION = either(ATTENTION)
"""Attention in some layers only."""
GATED_ATTENTION = either(gated_query("self_attn.q_proj") | {name: ATTENTION[name] for name in ATTENTION_POOL[1:]})

TABLE: dict[str, Family] = {
    "llama": LLAMA,  # also Falcon 3 and SmolLM2, whose `model_type` is llama
    "mistral": replace(LLAMA, windowed=True),  # older models look back a sliding window in every layer
    "ministral": LLAMA,
    "ministral3": replace(LLAMA, windowed=True),
    "qwen2": LLAMA,  # Qwen 2 and 2.5; the biases on q, k and v are part of a neuron's value
    "qwen3": LLAMA,  # q and k are normalised after their projections; a neuron is the value before the norm
    "gemma": LLAMA,
    "gemma2": LLAMA,  # attention logits are soft-capped, which needs eager attention
    "gemma3_text": LLAMA,
    "gemma3": replace(LLAMA, layers="model.language_model.layers"),  # the decoder inside the image-text model
    "vaultgemma": LLAMA,
    "olmo": LLAMA,  # q, k and v may be clipped after their projections
    "olmo2": LLAMA,  # norms follow attention and MLP, and q and k
    "olmo3": LLAMA,
    "granite": LLAMA,  # embeddings, residuals, attention and logits are scaled by constants
    "granite_swa": LLAMA,
    "smollm3": LLAMA,  # some layers have no rotary positions
    "cohere": LLAMA,  # attention and MLP read the same normalised input
    "cohere2": LLAMA,  # Command R7B, Command A: the same
    "exaone4": LLAMA,
    "ernie4_5": LLAMA,
    "hunyuan_v1_dense": LLAMA,
    "hyperclovax": LLAMA,
    "helium": LLAMA,
    "seed_oss": LLAMA,
    "stablelm": LLAMA,
    "cwm": LLAMA,
    "bitnet": LLAMA,
    "internlm3": LLAMA,
    "iquestcoder": LLAMA,
    "diffllama": LLAMA,  # the difference of two attentions; their queries lie side by side in q
    # MLPs without a gate.
    "nemotron": UNGATED,
    "arcee": UNGATED,
    "apertus": UNGATED,
    "jais2": UNGATED,
    "nanochat": at("model.layers", mlp("mlp.fc1"), ATTENTION),
    "phi": at("model.layers", mlp("mlp.fc1"), ATTENTION),
    "starcoder2": at("model.layers", mlp("mlp.c_fc"), ATTENTION, windowed=True),
    "opt": at("model.decoder.layers", mlp("fc1"), ATTENTION),
    "xglm": at("model.layers", mlp("fc1"), ATTENTION),
    "biogpt": at("biogpt.layers", mlp("fc1"), ATTENTION),
    "gptj": at("transformer.h", mlp("mlp.fc_in"), attention("attn.")),
    "gpt_neo": at(
        "transformer.h",
        mlp("mlp.c_fc"),
        attention("attn.attention."),
        no_branches="some layers count a window in columns",
    ),
    # Phi-3 and Phi-4: one projection for [gate | up], one for [q | k | v].
    "phi3": at("model.layers", gate_up("mlp.gate_up_proj"), query_key_value("self_attn.qkv_proj"), windowed=True),
    # GLM-4 (9B of 2024): one projection for [gate | up].
    "glm": (GLM := at("model.layers", gate_up("mlp.gate_up_proj"), ATTENTION)),
    "glm4": GLM,  # GLM-4-0414; it differs from `glm` in its norms
    "modernbert-decoder": at("model.layers", gate_up("mlp.Wi"), attention("attn.")),
    "gpt_neox": at("gpt_neox.layers", mlp("mlp.dense_h_to_4h"), interleaved("attention.query_key_value")),
    "gpt_neox_japanese": at(
        "gpt_neox_japanese.layers", mlp("mlp.dense_h_to_4h"), interleaved("attention.query_key_value")
    ),
    "persimmon": at("model.layers", mlp("mlp.dense_h_to_4h"), interleaved("self_attn.query_key_value")),
    "bloom": at(
        "transformer.h",
        mlp("mlp.dense_h_to_4h"),
        interleaved("self_attention.query_key_value"),
        no_branches="alibi counts columns, not positions",
    ),
    "falcon": at("transformer.h", mlp("mlp.dense_h_to_4h"), of_falcon("self_attention.query_key_value")),
    "mpt": at(
        "transformer.blocks",
        mlp("ffn.up_proj"),
        query_key_value("attn.Wqkv"),
        no_branches="alibi counts columns, not positions",
    ),
    "codegen": at("transformer.h", mlp("mlp.fc_in"), of_codegen("attn.qkv_proj")),
    "gpt_bigcode": at("transformer.h", mlp("mlp.c_fc"), of_bigcode("attn.c_attn")),
    # GPT-2's Conv1D projections have their outputs in the weight's columns.
    "gpt2": (GPT2 := at("transformer.h", mlp("mlp.c_fc"), query_key_value("attn.c_attn"))),
    "openai-gpt": replace(GPT2, no_branches="it takes no mask of its own"),
    # Latent attention with an MLP in every layer.
    "minicpm3": (LATENT_DENSE := at("model.layers", GATED, LATENT)),
    "youtu": LATENT_DENSE,
    # Mixtures of experts, kept as stacked parameters.
    "mixtral": replace(WIDE_MIXTURE, windowed=True),
    "qwen3_moe": replace(MIXTURE_FIRST_DENSE, windowed=True),
    "qwen2_moe": MIXTURE_FIRST_DENSE,
    "olmoe": WIDE_MIXTURE,
    "flex_olmo": WIDE_MIXTURE,
    "phimoe": replace(WIDE_MIXTURE, windowed=True),
    "minimax_m2": WIDE_MIXTURE,
    "minimax_m3_vl_text": at(
        "model.layers",
        either(experts(width="intermediate_size"), gate_up("mlp.gate_up_proj", "dense_intermediate_size")),
        either(shared_fused("mlp.shared_experts.gate_up_proj", "shared_intermediate_size")),
        ATTENTION,
    ),
    "cohere2_moe": at("model.layers", either(experts(width="intermediate_size"), GATED), ATTENTION),
    "hunyuan_v1_moe": WIDE_MIXTURE,
    "aria_text": WIDE_MIXTURE,
    "granitemoe": (
        GRANITE_MOE := at(
            "model.layers", experts("block_sparse_moe.experts", "intermediate_size"), SHARED_GRANITE, ATTENTION
        )
    ),
    "granitemoe_swa": GRANITE_MOE,
    "granitemoeshared": GRANITE_MOE,
    "gpt_oss": at("model.layers", alternating("mlp.experts", "intermediate_size", "gate_up_proj"), ATTENTION),
    "mellum": MIXTURE_FIRST_DENSE,
    "dots1": MIXTURE_FIRST_DENSE,
    "glm4_moe": MIXTURE_FIRST_DENSE,
    "ernie4_5_moe": MIXTURE_FIRST_DENSE,
    "exaone_moe": MIXTURE_FIRST_DENSE,
    "solar_open": MIXTURE_FIRST_DENSE,
    "afmoe": MIXTURE_FIRST_DENSE,
    "hy_v3": MIXTURE_FIRST_DENSE,
    "laguna": MIXTURE_FIRST_DENSE,
    "beam": MIXTURE_FIRST_DENSE,
    "flint": MIXTURE_FIRST_DENSE,
    "kolibri1": MIXTURE_FIRST_DENSE,
    "mimo_v2_flash": MIXTURE_FIRST_DENSE,  # layers with a window have other numbers of key-value heads
    "deepseek_v2": DEEPSEEK,
    "deepseek_v3": DEEPSEEK,
    "axk1": DEEPSEEK,
    "deepseek_v32": DEEPSEEK,  # an indexer chooses the tokens that are seen; its own queries and keys are no neurons
    "glm_moe_dsa": DEEPSEEK,
    "kimi_linear": DEEPSEEK,  # linear attention in most layers, with q, k and v of its own
    "bailing_hybrid": DEEPSEEK,
    "glm4_moe_lite": DEEPSEEK,
    # Llama 4's experts run on every token, scaled by its weight; layers in between have an MLP.
    "llama4_text": (
        LLAMA4 := at(
            "model.layers",
            either(
                experts("feed_forward.experts", "intermediate_size"),
                mlp("feed_forward.gate_proj", "feed_forward.up_proj"),
            ),
            either(shared("feed_forward.shared_expert.")),
            ATTENTION,
        )
    ),
    "llama4": LLAMA4,
    # Layers that share the keys and values of an earlier one have none of their own.
    "gemma3n_text": at("model.layers", GATED, HYBRID_ATTENTION),
    "gemma3n": at("model.language_model.layers", GATED, HYBRID_ATTENTION),
    "gemma4_text": at("model.layers", GATED, HYBRID_ATTENTION),  # where keys are the values too, there is no v
    "gemma4_unified_text": at("model.layers", GATED, HYBRID_ATTENTION),
    # Attention in some layers; the others have linear attention, a state space or a convolution.
    "qwen3_next": at("model.layers", FIRST_DENSE, SHARED, GATED_ATTENTION),
    "qwen3_5_text": (QWEN3_5 := at("model.layers", GATED, GATED_ATTENTION)),
    "qwen3_5": QWEN3_5,
    "qwen3_5_moe_text": (QWEN3_5_MOE := at("model.layers", FIRST_DENSE, SHARED, GATED_ATTENTION)),
    "qwen3_5_moe": QWEN3_5_MOE,
    "olmo_hybrid": at("model.layers", GATED, HYBRID_ATTENTION),
    "minimax": at("model.layers", experts(width="intermediate_size"), HYBRID_ATTENTION),
    "falcon_h1": at(
        "model.layers", mlp("feed_forward.gate_proj", "feed_forward.up_proj"), ATTENTION, no_branches=MAMBA
    ),  # attention and a state space side by side in every layer
    "bamba": at(
        "model.layers", mlp("feed_forward.gate_proj", "feed_forward.up_proj"), HYBRID_ATTENTION, no_branches=MAMBA
    ),
    "jamba": at(
        "model.layers",
        either(
            experts("feed_forward.experts", "intermediate_size"), mlp("feed_forward.gate_proj", "feed_forward.up_proj")
        ),
        HYBRID_ATTENTION,
        no_branches=MAMBA,
    ),
    "granitemoehybrid": at(
        "model.layers",
        either(
            experts("block_sparse_moe.experts", "intermediate_size"),
            gate_up("shared_mlp.input_linear", "shared_intermediate_size"),
        ),
        SHARED_GRANITE,
        HYBRID_ATTENTION,
    ),
    "lfm3": at("model.layers", mlp("feed_forward.w1", "feed_forward.w3"), HYBRID_ATTENTION),
    # Each layer is an attention, an MLP, experts or a state space.
    "nemotron_h": at(
        "model.layers",
        either({GATE: SiteLocation("mixer.experts", stacked="up_proj")}, mlp("mixer.up_proj")),
        either(shared("mixer.shared_experts.", gate="up_proj", up=None)),
        either(attention("mixer.")),
        no_branches=MAMBA,
    ),
    "lfm2": at("model.layers", mlp("feed_forward.w1", "feed_forward.w3"), HYBRID_ATTENTION),
    "lfm2_moe": at(
        "model.layers",
        either(experts("feed_forward.experts"), mlp("feed_forward.w1", "feed_forward.w3")),
        HYBRID_ATTENTION,
    ),
    "recurrent_gemma": at(
        "model.layers",
        mlp("mlp_block.gate_proj", "mlp_block.up_proj"),
        either(attention("temporal_block.")),
        no_branches="a recurrence runs over its tokens one after the other",
    ),
}
for _model_type, _family in TABLE.items():
    FAMILIES.register(_model_type)(_family)
