"""CTRL: no gate; the projection before the activation function is the site."""

from culnig.models import FAMILIES, Family, SiteLocation

FAMILIES.register("ctrl")(
    Family(
        layers="transformer.h",
        sites={
            "mlp.gate_proj": SiteLocation("ffn.0"),
            "self_attn.q_proj": SiteLocation("multi_head_attention.Wq"),
            "self_attn.k_proj": SiteLocation("multi_head_attention.Wk"),
            "self_attn.v_proj": SiteLocation("multi_head_attention.Wv"),
        },
    )
)
