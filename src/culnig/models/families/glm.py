"""GLM-4: one projection for [gate | up]; q, k and v are separate. `glm` (9B of 2024) and `glm4` (0414) differ in norms."""

from culnig.models._family import FAMILIES, Family, Part, gate_up
from culnig.neurons import ATTENTION_POOL

GLM = Family(
    layers="model.layers",
    parts=gate_up("mlp.gate_up_proj") | {module: Part(module) for module in ATTENTION_POOL},
)

FAMILIES.register("glm", "glm4")(GLM)
