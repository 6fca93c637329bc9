"""The hash that identifies a model: the config fields that decide the computation, and a sample of the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from culnig.models.sites import weights_at_hand

SAMPLE = 4096
"""Number of values of each parameter that are hashed; hashing all of 50 GB would take minutes."""

ALIKE = {
    "hidden_activation": "hidden_act",
    "activation_function": "hidden_act",
    "layer_norm_epsilon": "norm_eps",
    "layer_norm_eps": "norm_eps",
    "rms_norm_eps": "norm_eps",
    "layer_norm_rms_eps": "norm_eps",
    "num_experts": "num_local_experts",
}
"""Fields whose names differ between architectures and versions."""

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
"""The fields that decide the computation.  `_rope` and `_windows` add rope and windows in one form.

Biases and tied weights are not among them: the names of the parameters, which are also hashed, show both.
"""


class Hashes(NamedTuple):
    """The hashes of one model.

    Attributes:
        own: hash of the fields in `FIELDS` and the weights.
        legacy: hash of the whole config and the weights, as earlier versions wrote it; it may depend on
            transformers' version.
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
    """Return whether two records name one model; one of them may carry the hash of an earlier version of culnig."""
    one, other = ({meta.get("model_hash"), meta.get("legacy_model_hash", meta.get("model_hash"))} for meta in (a, b))
    return bool(one & other)


def identity(config: Any) -> dict[str, Any]:
    """Return the decoder's fields that decide the computation, in one form for all transformers versions.

    Fields that are absent, None or False are left out, because a version without the field behaves the same.
    """
    text = config.get_text_config()
    found: dict[str, Any] = {}
    for name, kept in [*((name, name) for name in FIELDS), *ALIKE.items()]:
        value = _field(text, name)
        if value is not None and value is not False:
            found[kept] = value
    heads, width = found.get("num_attention_heads"), found.get("hidden_size")
    if heads and width:
        found.setdefault("num_key_value_heads", heads)
        found.setdefault("head_dim", width // heads)
    return found | _windows(text) | _rope(text)


def _field(text: Any, name: str) -> Any:
    """Return a field of a config; where layers have values of their own, the config's as a whole; None if there is none."""
    try:
        return getattr(text, name, None)
    except RuntimeError:  # transformers refuses to read such a field, which the layers' own fields decide
        return text.to_dict().get(name)


def _windows(text: Any) -> dict[str, Any]:
    """Return the sliding window and the layers that use it; nothing if no layer has one."""
    window, kinds = getattr(text, "sliding_window", None), getattr(text, "layer_types", None)
    kinds = kinds if kinds and any(kind != "full_attention" for kind in kinds) else None
    if getattr(text, "use_sliding_window", None) is False:
        window = None
    return {key: value for key, value in (("sliding_window", window), ("layer_types", kinds)) if value}


def _rope(text: Any) -> dict[str, Any]:
    """Return the rotary parameters: `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` before."""
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
    """Return name, shape and up to `SAMPLE` values at even steps of every parameter, ordered by name."""
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
    """Return a config's dictionary without the fields about its loading, also in nested configs."""
    if not isinstance(value, dict):
        return value
    skip = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "architectures", "quantization_config"}
    return {key: _without_circumstances(inner) for key, inner in value.items() if key not in skip}
