"""Qwen 3 with a mixture of experts in every layer, kept as stacked parameters; attention as in Qwen 3.

Neuron i of expert e is number e * moe_intermediate_size + i of its layer's site.
"""

from culnig.models._family import FAMILIES, Family, Part, gate_up
from culnig.neurons import ATTENTION_POOL

FAMILIES.register("qwen3_moe")(
    Family(
        layers="model.layers",
        parts=gate_up("mlp.experts", width="moe_intermediate_size", stacked="gate_up_proj")
        | {module: Part(module) for module in ATTENTION_POOL},
        windowed=True,
    )
)
