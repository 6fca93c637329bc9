"""Tiny random models of every family, in the vocabulary of the reference tokenizer, and maps of their sites *by hand*.

The maps here are written independently from the modelling code (chunk, view), not taken from `culnig.models.families`.
"""

from __future__ import annotations

from pathlib import Path

import torch

WINDOW = 5
REFERENCE = Path(__file__).parents[1] / "files" / "reference"
COMMON = {
    "vocab_size": 407,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
GEMMA = {**COMMON, **MIXED, "head_dim": 8, "query_pre_attn_scalar": 8}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}

CONFIGS = {
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": WINDOW}),
    "qwen2": ("Qwen2", {"use_sliding_window": True, **MIXED}),
    "qwen3": ("Qwen3", {"use_sliding_window": True, "head_dim": 8, **MIXED}),
    "gemma2": ("Gemma2", {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3_text": ("Gemma3Text", GEMMA),
    "gemma3": ("Gemma3", {"text_config": GEMMA, "vision_config": VISION, "mm_tokens_per_image": 4}),
    "phi3": ("Phi3", {"sliding_window": WINDOW}),
    "olmo2": ("Olmo2", {}),
    "granite": (
        "Granite",
        {
            "embedding_multiplier": 3.0,
            "logits_scaling": 2.0,
            "residual_multiplier": 0.7,
            "attention_multiplier": 0.4,
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0, 1], "use_sliding_window": True, **MIXED}),
    "cohere2": ("Cohere2", {"logit_scale": 0.5, **MIXED}),
    "glm": ("Glm", {"head_dim": 8, "attention_bias": True}),
    "glm4": ("Glm4", {"head_dim": 8, "attention_bias": True}),
    "gpt_neox": ("GPTNeoX", {"num_key_value_heads": None}),
    "gpt2": ("GPT2", {"num_key_value_heads": None, "n_inner": 48}),
    "mixtral": ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW}),
    "qwen3_moe": (
        "Qwen3Moe",
        {
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "head_dim": 8,
            "norm_topk_prob": True,
            "use_sliding_window": True,
            "sliding_window": WINDOW,
        },
    ),
}
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


def build(family):
    """Build a random model of the family; all parameters (norms and biases too) differ from their trivial values."""
    import transformers

    name, options = CONFIGS[family]
    values = dict(options) if "text_config" in options else {**COMMON, **options}
    values = {key: value for key, value in values.items() if value is not None}
    config = getattr(transformers, f"{name}Config")(**values)
    torch.manual_seed(sum(map(ord, family)))
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


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
