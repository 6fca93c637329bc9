"""A model without its weights: config, tokenizer, and the map of its sites."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from culnig.errors import CulnigError
from culnig.models import LanguageModel
from culnig.models.catalogue import CATALOGUE
from culnig.models.fetching import fetch
from culnig.models.language_model import suitable_budget
from culnig.models.loading import DTYPES, device_of, explained
from culnig.models.quiet import quiet
from culnig.models.settings import ModelConfig

BITS = {"4bit": 4.5, "8bit": 8.5}
"""Bits of a quantised weight with its scales."""


@dataclass(frozen=True)
class Skeleton:
    """A model's shape.

    Attributes:
        lm: the model on the meta device, with its real tokenizer; it cannot be run.
        config: its config.
        dtype: of the weights and activations.
        device: where it will run.
        quantize: "4bit", "8bit" or None.
    """

    lm: LanguageModel
    config: Any
    dtype: torch.dtype
    device: torch.device
    quantize: str | None

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch where the user names none."""
        return suitable_budget(self.lm, self.device, self.dtype)

    @property
    def parameters(self) -> int:
        """Parameters, tied ones once."""
        return sum(p.numel() for p in self.lm.model.parameters())

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights: layers in the dtype, or quantised."""
        layers = sum(p.numel() for layer in self.lm.layers for p in layer.parameters())
        width = BITS[self.quantize] / 8 if self.quantize else self.dtype.itemsize
        return int(layers * width) + (self.parameters - layers) * self.dtype.itemsize

    def truncated(self, layers: int) -> LanguageModel:
        """A randomly initialised model of the same shape with so many layers, on the device."""
        config = copy.deepcopy(self.config)
        text = config.get_text_config()
        text.num_hidden_layers = layers
        if kinds := getattr(text, "layer_types", None):
            text.layer_types = kinds[:layers]
        return LanguageModel(_random(config, self.dtype, self.device), self.lm.tokenizer, name=self.lm.name)


def _random(config: Any, dtype: torch.dtype, device: torch.device) -> Any:
    from transformers import AutoModelForCausalLM

    with quiet(), torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=dtype).to(device)


def skeleton(settings: ModelConfig, say: Any = lambda text: None) -> Skeleton:
    """Config and tokenizer of a model; the weights of a hub model are not downloaded.

    Raises:
        UsageError, ModelError: as `load_model`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    alias = CATALOGUE.get(settings.name)
    place = fetch(alias, say) if alias else Path(settings.name)
    options: dict[str, Any] = {}
    if place.suffix == ".gguf":
        options = {"gguf_file": place.name}
        place = place.parent
    elif not place.is_dir():
        options = {"revision": settings.revision or "main", "trust_remote_code": settings.trust_remote_code}
    source = str(place) if place.exists() else settings.name
    device = device_of(settings.device)
    try:
        with quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(source, **options)
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            own = getattr(config, "dtype", None) or torch.float32
            dtype = DTYPES.get(settings.dtype, torch.float32 if device.type == "cpu" else own)
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except CulnigError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise explained(settings.name, error) from error
    formulation = alias.formulation if alias else "mcf"
    lm = LanguageModel(model, tokenizer, name=settings.name, formulation=formulation)
    return Skeleton(lm, config, dtype, device, settings.quantize)
