"""The hash that tells one model from another: the config's fields that decide the computation, and a sample of the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from culnig.models.sites import weights_at_hand

SAMPLE = 4096
"""Values of each parameter that are hashed; hashing all of 50 GB would take minutes."""

ALIKE = {
    "hidden_activation": "hidden_act",
    "activation_function": "hidden_act",
    "layer_norm_epsilon": "norm_eps",
    "layer_norm_eps": "norm_eps",
    "rms_norm_eps": "norm_eps",
    "layer_norm_rms_eps": "norm_eps",
    "num_experts": "num_local_experts",
}
"""Fields that architectures and versions name differently."""

FIELDS = (
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "norm_eps"),
    # positions and windows
    *("no_rope_layers", "use_parallel_residual", "parallel_attn", "alibi", "attention_chunk_size"),
    # scaling constants
    *("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping", "logit_scale"),
    *("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"),
    *("scale_attn_by_inverse_layer_idx", "use_qk_norm", "use_bidirectional_attention"),
    # experts
    *("num_local_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob", "n_shared_experts"),
    *("n_group", "topk_group", "routed_scaling_factor", "scoring_func"),
)
"""The fields that decide what is computed, besides rope and windows, which `_rope` and `_windows` bring into one form.

Biases and tied weights are not among them: the names of the parameters, which are hashed too, tell both.
"""


class Hashes(NamedTuple):
    """The hashes of one model.

    Attributes:
        own: of the fields in `FIELDS` and the weights.
        legacy: of the whole config and the weights, as culnig wrote it before; another transformers may change it.
    """

    own: str
    legacy: str


def hashes_of(model: Any) -> Hashes:
    """Hash a model in one pass over its weights: 16 hex digits, the same for the same computation."""
    own, legacy = (_digest(identity(model.config)), _digest(_without_circumstances(model.config.to_dict())))
    for sample in _samples(model):
        own.update(sample)
        legacy.update(sample)
    return Hashes(own.hexdigest()[:16], legacy.hexdigest()[:16])


def same_model(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether two records name one model, one of them perhaps by the hash of an earlier version of culnig."""
    one, other = ({meta.get("model_hash"), meta.get("legacy_model_hash", meta.get("model_hash"))} for meta in (a, b))
    return bool(one & other)


def identity(config: Any) -> dict[str, Any]:
    """The decoder's fields that decide the computation, in one form for all transformers versions.

    Fields that are absent, None or False are left out: they are what a version without the field does.
    """
    text = config.get_text_config()
    found: dict[str, Any] = {}
    for name, kept in [*((name, name) for name in FIELDS), *ALIKE.items()]:
        value = getattr(text, name, None)
        if value is not None and value is not False:
            found[kept] = value
    heads, width = found.get("num_attention_heads"), found.get("hidden_size")
    if heads and width:
        found.setdefault("num_key_value_heads", heads)
        found.setdefault("head_dim", width // heads)
    return found | _windows(text) | _rope(text)


def _windows(text: Any) -> dict[str, Any]:
    """The sliding window and the layers it holds for; nothing where no layer has one."""
    window, kinds = getattr(text, "sliding_window", None), getattr(text, "layer_types", None)
    kinds = kinds if kinds and any(kind != "full_attention" for kind in kinds) else None
    if getattr(text, "use_sliding_window", None) is False:
        window = None
    return {key: value for key, value in (("sliding_window", window), ("layer_types", kinds)) if value}


def _rope(text: Any) -> dict[str, Any]:
    """Rotary parameters: `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` of earlier ones."""
    given = getattr(text, "rope_parameters", None)
    if given is None:
        given = dict(getattr(text, "rope_scaling", None) or {})
        for key in ("rope_theta", "partial_rotary_factor"):
            if (value := getattr(text, key, None)) is not None:
                given.setdefault(key, value)
    by_kind = given if given and all(isinstance(part, dict) for part in given.values()) else {"": given}
    rope = {kind: normal for kind, part in sorted(by_kind.items()) if (normal := _rope_of_one(part))}
    return {"rope": rope} if rope else {}


def _rope_of_one(given: dict[str, Any]) -> dict[str, Any]:
    kind = given.get("rope_type", given.get("type", "default"))
    rest = {key: value for key, value in given.items() if key not in ("type", "rope_type") and value is not None}
    if rest.get("partial_rotary_factor") == 1:
        del rest["partial_rotary_factor"]
    return ({} if kind == "default" else {"rope_type": kind}) | rest


def _digest(config: dict[str, Any]) -> Any:
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())


def _samples(model: nn.Module) -> list[bytes]:
    """Name, shape and up to `SAMPLE` values at even steps of every parameter, by name."""
    samples = {}
    # named_parameters() names a tied weight once, after the first module that has it.
    names = {name for name, _ in model.named_parameters()}
    for path, module in model.named_modules():
        with weights_at_hand(module):
            for own, parameter in module.named_parameters(recurse=False):
                if (name := f"{path}.{own}" if path else own) in names:
                    flat = parameter.detach().reshape(-1)
                    sample = flat[:: max(1, flat.numel() // SAMPLE)].float().cpu().contiguous()
                    samples[name] = f"{name}{tuple(parameter.shape)}".encode() + sample.numpy().tobytes()
    return [samples[name] for name in sorted(samples)]


def _without_circumstances(value: Any) -> Any:
    """A config's dictionary without how it was loaded; the configs nested in an image-text model's say that too."""
    if not isinstance(value, dict):
        return value
    skip = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures", "quantization_config"}
    return {key: _without_circumstances(inner) for key, inner in value.items() if key not in skip}
