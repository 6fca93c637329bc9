"""Tiny random models of every family, in a vocabulary of 407 words: for `python -m bench.models` and for the tests."""

from __future__ import annotations

from typing import Any

import torch

WINDOW = 5
COMMON: dict[str, Any] = {
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
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
MIXED = {"sliding_window": WINDOW, "layer_types": KINDS}
HEAD = {"head_dim": 8}
GEMMA = {**COMMON, **MIXED, **HEAD, "query_pre_attn_scalar": 8}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
ALONE = {"num_key_value_heads": None}
"""Every query head has keys and values of its own."""
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_group": 1, "topk_group": 1}
SHARED = {"n_shared_experts": 1, "num_shared_experts": 1}
FIRST = {"first_k_dense_replace": 1}
"""The first layer's MLP is no mixture."""
SPARSE = {"mlp_layer_types": ["dense", "sparse", "sparse"]}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "head_dim": 4,
}
INDEXED = {"index_topk": 64, "index_head_dim": 8, "index_n_heads": 2}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
    "mamba_d_conv": 4,
}
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 48, "n_positions": 256}

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": WINDOW},
    "ministral": {**HEAD, **MIXED},
    "ministral3": {**HEAD, "sliding_window": WINDOW},
    "qwen2": {"use_sliding_window": True, **MIXED},
    "qwen3": {"use_sliding_window": True, **HEAD, **MIXED},
    "gemma": HEAD,
    "gemma2": {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "gemma3_text": GEMMA,
    "gemma3": {"text_config": GEMMA, "vision_config": VISION, "mm_tokens_per_image": 4},
    "vaultgemma": {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "olmo": {"clip_qkv": 3.0},
    "olmo2": {},
    "olmo3": MIXED,
    "granite": {
        "embedding_multiplier": 3.0,
        "logits_scaling": 2.0,
        "residual_multiplier": 0.7,
        "attention_multiplier": 0.4,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "granite_swa": MIXED,
    "smollm3": {"no_rope_layers": [1, 0, 1], "use_sliding_window": True, **MIXED},
    "cohere": {"logit_scale": 0.5},
    "cohere2": {"logit_scale": 0.5, **MIXED},
    "exaone4": {**HEAD, **MIXED},
    "ernie4_5": HEAD,
    "hunyuan_v1_dense": HEAD,
    "hyperclovax": {},
    "helium": HEAD,
    "seed_oss": HEAD,
    "stablelm": {"qk_layernorm": False, "use_parallel_residual": False},
    "cwm": {**HEAD, **MIXED},
    "bitnet": {},
    "internlm3": {},
    "iquestcoder": {},
    "diffllama": {},
    "nemotron": HEAD,
    "arcee": {},
    "apertus": {},
    "jais2": {},
    "nanochat": {"num_key_value_heads": 4},
    "phi": {},
    "starcoder2": {"sliding_window": WINDOW},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 16, **ALONE},
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 3, "attention_heads": 4, **ALONE},
    "biogpt": ALONE,
    "gptj": {**GPT2, "rotary_dim": 4, **ALONE},
    "gpt_neo": {
        "num_layers": 3,
        "num_heads": 4,
        "window_size": WINDOW,
        "attention_types": [[["global", "local", "global"], 1]],
        **ALONE,
    },
    "phi3": {"sliding_window": WINDOW},
    "glm": {**HEAD, "attention_bias": True},
    "glm4": {**HEAD, "attention_bias": True},
    "modernbert-decoder": {"local_attention": WINDOW, "sliding_window": WINDOW, "layer_types": KINDS, **ALONE},
    "gpt_neox": ALONE,
    "gpt_neox_japanese": {"intermediate_multiple_size": 2, **ALONE},
    "persimmon": {"qk_layernorm": False, **ALONE},
    "bloom": {"n_layer": 3, "n_head": 4, **ALONE},
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 2, "ffn_hidden_size": 48, **ALONE},
    "mpt": {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 256, "expansion_ratio": 2, **ALONE},
    "codegen": {**GPT2, "rotary_dim": 4, "n_ctx": 256, **ALONE},
    "gpt_bigcode": {**GPT2, **ALONE},
    "gpt2": {**GPT2, **ALONE},
    "openai-gpt": {**GPT2, **ALONE},
    "minicpm3": LATENT,
    "youtu": LATENT,
    "mixtral": {**LOCAL, "sliding_window": WINDOW},
    "qwen3_moe": {**MOE, **HEAD, "num_experts": 5, "use_sliding_window": True, "sliding_window": WINDOW},
    "qwen2_moe": {**MOE, "shared_expert_intermediate_size": 40},
    "olmoe": MOE,
    "flex_olmo": MOE,
    "phimoe": {**LOCAL, "sliding_window": WINDOW},
    "minimax_m2": {**LOCAL, **HEAD},
    "minimax_m3_vl_text": {
        **LOCAL,
        **HEAD,
        **SPARSE,
        "dense_intermediate_size": 40,
        "shared_intermediate_size": 24,
        "rotary_dim": 4,
        "swiglu_limit": 1000.0,
        "layer_types": ["full_attention"] * 3,
    },
    "cohere2_moe": {**MOE, **HEAD, **MIXED},
    "hunyuan_v1_moe": {**MOE, **HEAD, "moe_topk": 2},
    "aria_text": {"moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1},
    "granitemoe": LOCAL,
    "granitemoe_swa": {**LOCAL, **MIXED},
    "granitemoeshared": {**LOCAL, "shared_intermediate_size": 40},
    "gpt_oss": {**LOCAL, **HEAD, **MIXED, "swiglu_limit": 1000.0},
    "mellum": {**MOE, **HEAD, **MIXED},
    "dots1": {**ROUTED, **SHARED, **FIRST, **HEAD},
    "glm4_moe": {**ROUTED, **SHARED, **FIRST, **HEAD},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24, "moe_layer_start_index": 1, **HEAD},
    "exaone_moe": {**MOE, **SHARED, **MIXED, **HEAD, **SPARSE, "n_group": 1, "topk_group": 1},
    "solar_open": {**ROUTED, **SHARED, **HEAD},
    "afmoe": {**MOE, **SHARED, **MIXED, **HEAD, "num_dense_layers": 1, "n_group": 1, "topk_group": 1},
    "hy_v3": {**MOE, **SHARED, **FIRST, **HEAD},
    "laguna": {**MOE, **MIXED, **HEAD, **SPARSE, "shared_expert_intermediate_size": 40},
    "beam": {**MOE, **MIXED, **HEAD, **SPARSE, "n_group": 1, "topk_group": 1},
    "flint": {**MOE, **MIXED, **HEAD, "shared_expert_intermediate_size": 40},
    "kolibri1": {**MOE, **MIXED, **HEAD},
    "mimo_v2_flash": {**ROUTED, **MIXED, **HEAD, **SPARSE, "v_head_dim": 6, "swa_v_head_dim": 6},
    "deepseek_v2": {**LATENT, **ROUTED, **SHARED, **FIRST},
    "deepseek_v3": {**LATENT, **ROUTED, **SHARED, **FIRST},
    "axk1": {**LATENT, **ROUTED, **SHARED, **FIRST, **SPARSE},
    "glm4_moe_lite": {**LATENT, **ROUTED, **SHARED, **FIRST, **SPARSE},
    "deepseek_v32": {**LATENT, **ROUTED, **SHARED, **SPARSE, **INDEXED},
    "glm_moe_dsa": {**LATENT, **ROUTED, **SHARED, **SPARSE, **INDEXED},
    "kimi_linear": {
        **LATENT,
        **ROUTED,
        **SHARED,
        **SPARSE,
        "q_lora_rank": None,
        "num_local_experts": 4,
        "layer_types": LINEAR["layer_types"],
        "linear_head_dim": 8,
        "linear_num_heads": 4,
    },
    "bailing_hybrid": {
        **LATENT,
        **ROUTED,
        **SHARED,
        **SPARSE,
        "q_lora_rank": None,
        "num_local_experts": 4,
        "layer_types": LINEAR["layer_types"],
        "head_dim": 8,
    },
    "llama4_text": {
        **LOCAL,
        **HEAD,
        "intermediate_size_mlp": 64,
        "moe_layers": [1, 2],
        "attention_chunk_size": 8,
        "layer_types": ["chunked_attention", "full_attention", "chunked_attention"],
    },
    "gemma3n_text": {
        **GEMMA,
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        "num_kv_shared_layers": 2,
        "vocab_size_per_layer_input": 407,
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    },
    "gemma4_text": {
        **GEMMA,
        "num_kv_shared_layers": 0,
        "vocab_size_per_layer_input": 407,
        "hidden_size_per_layer_input": 8,
        "global_head_dim": 16,
    },
    "gemma4_unified_text": {**GEMMA, "global_head_dim": 16},
    "qwen3_next": {**MOE, **HEAD, **LINEAR, "shared_expert_intermediate_size": 40},
    "qwen3_5_text": {**HEAD, **LINEAR},
    "qwen3_5_moe_text": {**MOE, **HEAD, **LINEAR, "shared_expert_intermediate_size": 40},
    "olmo_hybrid": LINEAR,
    "minimax": {**LOCAL, **HEAD, "layer_types": LINEAR["layer_types"], "block_size": 8},
    "falcon_h1": {**HEAD, **MAMBA, "mamba_d_ssm": 64},
    "bamba": {**MAMBA, "attn_layer_indices": [1]},
    "jamba": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "granitemoehybrid": {**LOCAL, **MAMBA, "shared_intermediate_size": 40, "layer_types": LINEAR["layer_types"]},
    "lfm3": {**HEAD, "sliding_window": WINDOW, "layer_types": ["conv", "full_attention", "sliding_attention"]},
    "nemotron_h": {
        **ROUTED,
        **HEAD,
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
        "moe_shared_expert_intermediate_size": 40,
        "ssm_state_size": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "n_groups": 1,
        "chunk_size": 8,
        "use_mamba_kernels": False,
    },
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {**MOE, "layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1},
    "recurrent_gemma": {**HEAD, "lru_width": 32, "attention_window_size": 64},
}
SAME = {
    "llama4": "llama4_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
}
"""Families whose language model is another family's: what AutoModelForCausalLM loads for a checkpoint with images."""
SEEDS = {"bailing_hybrid": 1}
"""What is added to a family's seed: with 0 a router has a token between two experts, where P jumps."""
NOT_RUN = {"gemma3n": "its image encoder needs timm and pillow, which are not installed here"}
"""Families in the table without a tiny model."""


def config(family: str, **more: Any) -> Any:
    """The config of a family's tiny model; None leaves a field at its own default."""
    from transformers import AutoConfig

    options = {**CONFIGS[family], **more}
    values = options if "text_config" in options else {**COMMON, **options}
    return AutoConfig.for_model(family, **{key: value for key, value in values.items() if value is not None})


def build(family: str, **more: Any) -> Any:
    """A random model of the family; all parameters (norms and biases too) differ from their trivial values."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(sum(map(ord, family)) + SEEDS.get(family, 0))
    model = AutoModelForCausalLM.from_config(config(family, **more))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        embedding = model.get_input_embeddings()
        if getattr(embedding, "padding_idx", None) is not None:
            embedding.weight[embedding.padding_idx] = 0.0  # as in trained models; some families see to it at every load
    return model.eval()


def tokenizer() -> Any:
    """A tokenizer that cuts at blanks: w0 to w399, the letters A to D, and <unk> for all else."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", "A", "B", "C", "D", *(f"w{i}" for i in range(400))]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )


def items(number: int = 4) -> list[Any]:
    """Multiple-choice items in its vocabulary, with options of one to three words; the last one is a control."""
    import random

    from culnig import Item

    rng = random.Random(1)

    def text(fewest: int, most: int) -> str:
        return " ".join(f"w{rng.randrange(400)}" for _ in range(rng.randint(fewest, most)))

    return [
        Item(
            id=f"item-{i}",
            benchmark="words",
            country=("China", "Iran")[i % 2],
            question=text(6, 12),
            options=tuple(text(1, 3) for _ in range(4)),
            answer=i % 4,
            control=i == number - 1,
        )
        for i in range(number)
    ]
