"""Phi-3 and Phi-4: one projection for [gate | up], one for [q | k | v]."""

from culnig.models._family import FAMILIES, Family, gate_up, query_key_value

FAMILIES.register("phi3")(
    Family(
        layers="model.layers",
        parts=gate_up("mlp.gate_up_proj") | query_key_value("self_attn.qkv_proj"),
        windowed=True,
    )
)
