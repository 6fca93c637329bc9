"""SmolLM3: Llama's layout; some layers are without rotary positions."""

from culnig.models._family import FAMILIES
from culnig.models.families.llama import LLAMA

FAMILIES.register("smollm3")(LLAMA)
