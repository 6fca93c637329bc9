"""Llama and the models that share its layout: separate gate, up, q, k and v projections in every layer."""

from culnig.models._family import FAMILIES, Family, Part
from culnig.neurons import MODULES

LLAMA = Family(layers="model.layers", parts={module: Part(module) for module in MODULES})

FAMILIES.register("llama")(LLAMA)
