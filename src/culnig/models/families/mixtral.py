"""Mixtral: a mixture of experts, kept as stacked parameters; attention as in Llama.

Neuron i of expert e is number e * intermediate_size + i of its layer's site.
"""

from culnig.models._family import FAMILIES, Family, Part, gate_up
from culnig.neurons import ATTENTION_POOL

FAMILIES.register("mixtral")(
    Family(
        layers="model.layers",
        parts=gate_up("mlp.experts", stacked="gate_up_proj") | {module: Part(module) for module in ATTENTION_POOL},
        windowed=True,
    )
)
