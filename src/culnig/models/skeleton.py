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

BITS = {"4bit": 4.5, "8bit": 8.5}
"""Bits of a quantised weight with its scales."""

NUMBERED = ("moe_layers", "attn_layer_indices", "mlp_only_layers", "full_attn_idxs")
"""Lists in configs that hold numbers of layers."""


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
        """Return a randomly initialised model with this model's first layers, on the device.

        Raises:
            ModelError: transformers does not make the first layers as they are in the whole model.
        """
        config = first_layers(self.config, layers)
        try:
            made = LanguageModel(self._random(config), self.lm.tokenizer, name=self.lm.name)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
            raise ModelError(f"{self.lm.name}: no model of its first {layers} layers can be made ({error})") from error
        if not made.sites:  # finding them raises an error where no layer has a site that the whole model has
            raise ModelError(f"{self.lm.name}: its first {layers} layers have no neurons")
        if layer_kinds(made) != layer_kinds(self.lm)[:layers]:
            raise ModelError(
                f"{self.lm.name}: its first {layers} layers alone are other layers than in the whole model"
            )
        return made

    def _random(self, config: Any) -> Any:
        from transformers import AutoModelForCausalLM

        with quiet(), torch.random.fork_rng(), torch.device(self.device):
            torch.manual_seed(0)
            made = AutoModelForCausalLM.from_config(config, dtype=self.dtype, trust_remote_code=self.trust_remote_code)
            return made.to(self.device)


def layer_kinds(lm: LanguageModel) -> list[tuple[tuple[str, tuple[int, ...]], ...]]:
    """Return what each layer is made of: the names and shapes of its matrices and convolutions, adapters left out."""
    return [
        tuple(
            (name.replace(".base_layer", ""), tuple(parameter.shape))
            for name, parameter in layer.named_parameters()
            if parameter.ndim > 1 and ".lora_" not in name
        )
        for layer in lm.layers
    ]


def first_layers(config: Any, layers: int) -> Any:
    """Return a copy of a config for its first layers: the number, and what is listed for each layer or by their numbers."""
    made = copy.deepcopy(config)
    text = made.get_text_config()
    depth = text.num_hidden_layers
    listed = {key: value for key, value in vars(text).items() if isinstance(value, list)}
    text.num_hidden_layers = layers
    for key, values in listed.items():
        if len(values) == depth:
            setattr(text, key, values[:layers])
        elif key in NUMBERED:
            setattr(text, key, [number for number in values if number < layers])
    if shared := getattr(text, "num_kv_shared_layers", 0):
        text.num_kv_shared_layers = max(0, layers - (depth - shared))
    return made


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
