"""OLMo 2: Llama's layout; norms stand behind attention and MLP, and behind q and k."""

from culnig.models._family import FAMILIES
from culnig.models.families.llama import LLAMA

FAMILIES.register("olmo2")(LLAMA)
