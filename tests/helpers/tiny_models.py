"""Tiny random models (`bench.tiny`), in the vocabulary of the reference tokenizer, and maps of their sites *by hand*.

The maps here are written independently from the modelling code (chunk, view), not taken from `culnig.models.families`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from bench.tiny import COMMON, WINDOW, build  # noqa: F401  tests take them from here

REFERENCE = Path(__file__).parents[1] / "files" / "reference"
CONFIGS = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "gemma3",
    "phi3",
    "olmo2",
    "granite",
    "smollm3",
    "cohere2",
    "glm",
    "glm4",
    "gpt_neox",
    "gpt2",
    "mixtral",
    "qwen3_moe",
)
"""Families whose maps are written here by hand; `python -m bench.models` runs all of them."""
SLIDING = (
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "gemma3",
    "phi3",
    "smollm3",
    "cohere2",
    "mixtral",
    "qwen3_moe",
)
EXPERTS = ("mixtral", "qwen3_moe")


def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(REFERENCE)


def plain(output):
    return output


def part(number, of):
    return lambda output: output.chunk(of, dim=-1)[number]


def phi3_qkv(start, stop):
    return lambda output: output[..., start:stop]


def neox(which):
    """Split as the model does: [.., heads, 3 * size], then into three parts."""
    return lambda output: output.unflatten(-1, (4, 24)).chunk(3, dim=-1)[which].flatten(-2)


ATTENTION = ("q_proj", "k_proj", "v_proj")
LLAMA = {f"self_attn.{name}": (f"self_attn.{name}", plain) for name in ATTENTION} | {
    f"mlp.{name}": (f"mlp.{name}", plain) for name in ("gate_proj", "up_proj")
}
GATE_UP = {f"mlp.{name}": ("mlp.gate_up_proj", part(i, 2)) for i, name in enumerate(("gate_proj", "up_proj"))}
BY_HAND = {
    "phi3": GATE_UP
    | {
        "self_attn.q_proj": ("self_attn.qkv_proj", phi3_qkv(0, 32)),
        "self_attn.k_proj": ("self_attn.qkv_proj", phi3_qkv(32, 48)),
        "self_attn.v_proj": ("self_attn.qkv_proj", phi3_qkv(48, 64)),
    },
    "glm": LLAMA | GATE_UP,
    "glm4": LLAMA | GATE_UP,
    "gpt_neox": {"mlp.gate_proj": ("mlp.dense_h_to_4h", plain)}
    | {f"self_attn.{name}": ("attention.query_key_value", neox(i)) for i, name in enumerate(ATTENTION)},
    "gpt2": {"mlp.gate_proj": ("mlp.c_fc", plain)}
    | {f"self_attn.{name}": ("attn.c_attn", part(i, 3)) for i, name in enumerate(ATTENTION)},
}
LAYERS = {
    "gpt2": lambda model: model.transformer.h,
    "gpt_neox": lambda model: model.gpt_neox.layers,
    "gemma3": lambda model: model.model.language_model.layers,
}


def by_hand(family, model):
    """Return (module name, layer) -> (module, function that picks the site's values from its output); no experts."""
    layers = LAYERS.get(family, lambda model: model.model.layers)(model)
    sites = BY_HAND.get(family, LLAMA)
    return {
        (name, index): (layer.get_submodule(path), pick)
        for name, (path, pick) in sites.items()
        for index, layer in enumerate(layers)
        if not (family in EXPERTS and name.startswith("mlp."))
    }


def dense_experts(experts, values):
    """Return a forward that computes every stacked expert for every token; `values(gate, up)` may replace them.

    gate, up: [S, experts * width].
    """

    def forward(hidden_states, top_k_index, top_k_weights):
        size, count = len(hidden_states), experts.num_experts
        both = torch.einsum("sh,erh->ser", hidden_states, experts.gate_up_proj)
        gate, up = values(*(half.flatten(1) for half in both.chunk(2, dim=-1)))
        inner = (experts.act_fn(gate) * up).view(size, count, -1)
        routed = torch.zeros(size, count).scatter(1, top_k_index, top_k_weights)
        return torch.einsum("sei,ehi,se->sh", inner, experts.down_proj, routed)

    return forward
