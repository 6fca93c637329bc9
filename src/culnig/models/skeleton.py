"""A model without its weights: config, tokenizer, and the map of its sites."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from culnig.errors import CulnigError, ModelError
from culnig.models import LanguageModel
from culnig.models.language_model import suitable_budget
from culnig.models.loading import device_of, dtype_of, explained, place_options
from culnig.models.places import find_place
from culnig.models.quiet import quiet
from culnig.models.settings import ModelConfig
from culnig.neurons import Shape

BITS = {"4bit": 4.5, "8bit": 8.5}
"""Bits of a quantised weight with its scales."""


@dataclass(frozen=True)
class Skeleton:
    """A model's shape.

    Attributes:
        lm: the model on the meta device, with its real tokenizer; it cannot be run.
        config: its config.
        dtype: dtype of the weights and activations.
        device: the device on which it will run.
        quantize: "4bit", "8bit" or None.
        trust_remote_code: whether code that comes with the model may run.
    """

    lm: LanguageModel
    config: Any
    dtype: torch.dtype
    device: torch.device
    quantize: str | None
    trust_remote_code: bool = False

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch if the user names no number."""
        return suitable_budget(self.lm, self.device, self.dtype)

    @property
    def parameters(self) -> int:
        """The number of parameters; tied ones count once."""
        return sum(p.numel() for p in self.lm.model.parameters())

    @property
    def weight_bytes(self) -> int:
        """The memory of the weights in bytes: layers in the dtype, or quantised."""
        layers = sum(p.numel() for layer in self.lm.layers for p in layer.parameters())
        width = BITS[self.quantize] / 8 if self.quantize else self.dtype.itemsize
        return int(layers * width) + (self.parameters - layers) * self.dtype.itemsize

    def truncated(self, layers: int) -> LanguageModel:
        """Return a randomly initialised model of the same shape with the given number of layers, on the device.

        Raises:
            ModelError: the layers differ, so a few of them do not stand for the others.
        """
        if any(isinstance(shape, Shape) for shape in self.lm.shapes.values()):
            raise ModelError(
                f"{self.lm.name}: a plan measures a few layers, and this model's layers differ; run it on few items instead"
            )
        config = copy.deepcopy(self.config)
        text = config.get_text_config()
        text.num_hidden_layers = layers
        if kinds := getattr(text, "layer_types", None):
            text.layer_types = kinds[:layers]
        return LanguageModel(self._random(config), self.lm.tokenizer, name=self.lm.name)

    def _random(self, config: Any) -> Any:
        from transformers import AutoModelForCausalLM

        with quiet(), torch.random.fork_rng(), torch.device(self.device):
            torch.manual_seed(0)
            made = AutoModelForCausalLM.from_config(config, dtype=self.dtype, trust_remote_code=self.trust_remote_code)
            return made.to(self.device)


def skeleton(settings: ModelConfig, say: Any = lambda text: None) -> Skeleton:
    """Return config and tokenizer of a model; the weights of a hub model are not downloaded.

    Raises:
        UsageError, ModelError: as `load_model`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    device = device_of(settings.device)
    try:
        place = find_place(settings.name, say)
        options = place_options(place, settings.revision, settings.trust_remote_code)
        with quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(place.weights, **options)
            tokenizer = AutoTokenizer.from_pretrained(place.tokenizer, **options)
            dtype = dtype_of(settings.dtype, device)
            if dtype == "auto":  # a GGUF file is read as float32
                dtype = torch.float32 if place.gguf else getattr(config, "dtype", None) or torch.float32
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=settings.trust_remote_code)
            if place.adapter and not settings.merge_adapter:
                model = _with_adapter_of(model, place.adapter)
    except CulnigError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise explained(settings.name, error) from error
    lm = LanguageModel(model, tokenizer, name=place.name, source=place.source, formulation=place.formulation)
    return Skeleton(lm, config, dtype, device, settings.quantize, settings.trust_remote_code)


def _with_adapter_of(model: Any, folder: Path) -> Any:
    """Return the model with an adapter's matrices, also on the meta device."""
    from peft import PeftConfig, get_peft_model

    return get_peft_model(model, PeftConfig.from_pretrained(str(folder)))
