"""Models to measure on: an alias, or a randomly initialised model of the shape of one of the paper's six."""

from __future__ import annotations

from typing import Any

import torch

import culnig
from bench import tiny
from culnig.models import LanguageModel
from culnig.models.sharding import sharded

SHAPES: dict[str, dict[str, Any]] = {
    "gemma-3-12b": {
        "model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 262208,
    },
    "gemma-3-27b": {
        "model_type": "gemma3_text", "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 62,
        "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "vocab_size": 262208,
    },
    "qwen3-14b": {
        "model_type": "qwen3", "hidden_size": 5120, "intermediate_size": 17408, "num_hidden_layers": 40,
        "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "tie_word_embeddings": False,
    },
    "llama-3.1-8b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256,
    },
    "phi-4": {
        "model_type": "phi3", "hidden_size": 5120, "intermediate_size": 17920, "num_hidden_layers": 40,
        "num_attention_heads": 40, "num_key_value_heads": 10, "vocab_size": 100352, "pad_token_id": 0,
    },
    "falcon3-10b": {
        "model_type": "llama", "hidden_size": 3072, "intermediate_size": 23040, "num_hidden_layers": 40,
        "num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 131072,
    },
}  # fmt: skip
TRIAL = "trial"
"""A shape of no model, so small that a test can run what is measured on GPUs."""


def load(name: str, layers: int | None, dtype: torch.dtype, device: torch.device) -> LanguageModel:
    """A real model by its alias, or a random one of a shape with so many layers (None is all of them).

    A random model borrows the embedded model's tokenizer: its ids are in every vocabulary.
    """
    if name == TRIAL:
        model = tiny.build("llama", max_position_embeddings=2048).to(dtype=dtype, device=device)
        return LanguageModel(model, tiny.tokenizer(), name=name)
    if name not in SHAPES:
        return culnig.load_model(name, dtype=str(dtype).removeprefix("torch."), device=str(device))
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config_of(name, layers), dtype=dtype)
    return LanguageModel(model, culnig.load_model("smollm2-135m").tokenizer, name=name)


def load_sharded(name: str, layers: int | None, dtype: torch.dtype, device: torch.device) -> LanguageModel:
    """The same, sharded over the processes of the job (FSDP2); the main process makes it in the machine's memory."""
    if name not in (TRIAL, *SHAPES):
        kind = str(dtype).removeprefix("torch.")
        return culnig.load_model(name, dtype=kind, device=str(device), device_map="fsdp")
    tokenizer = tiny.tokenizer() if name == TRIAL else culnig.load_model("smollm2-135m").tokenizer
    host = torch.device("cpu")
    return sharded(lambda: load(name, layers, dtype, host), config_of(name, layers), tokenizer, device)


def config_of(name: str, layers: int | None) -> Any:
    """The config of a shape, with so many layers."""
    from transformers import AutoConfig

    if name == TRIAL:
        return tiny.config("llama", max_position_embeddings=2048)
    fields = dict(SHAPES[name])
    fields["num_hidden_layers"] = layers or fields["num_hidden_layers"]
    return AutoConfig.for_model(fields.pop("model_type"), **fields)
