"""OPT: no gate; the projection before the activation function is the site."""

from culnig.models import FAMILIES, Family, SiteLocation

FAMILIES.register("opt")(
    Family(
        layers="model.decoder.layers",
        sites={
            "mlp.gate_proj": SiteLocation("fc1"),
            "self_attn.q_proj": SiteLocation("self_attn.q_proj"),
            "self_attn.k_proj": SiteLocation("self_attn.k_proj"),
            "self_attn.v_proj": SiteLocation("self_attn.v_proj"),
        },
    )
)
