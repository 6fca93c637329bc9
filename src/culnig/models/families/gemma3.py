"""Gemma 3: Llama's layout, as a text model and as the decoder inside the image-text model."""

import dataclasses

from culnig.models._family import FAMILIES
from culnig.models.families.llama import LLAMA

FAMILIES.register("gemma3_text")(LLAMA)
FAMILIES.register("gemma3")(dataclasses.replace(LLAMA, layers="model.language_model.layers"))
