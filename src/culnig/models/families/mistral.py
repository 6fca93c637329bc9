"""Mistral: Llama's layout; older models look back a sliding window in every layer."""

import dataclasses

from culnig.models._family import FAMILIES
from culnig.models.families.llama import LLAMA

FAMILIES.register("mistral")(dataclasses.replace(LLAMA, windowed=True))
