"""Prepare a model for training: choose the parameters that move, the rows that keep their values, and the adapters."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from culnig.errors import UsageError
from culnig.finetune.kept_rows import Kept, row_masks
from culnig.finetune.ranking import Choice, Projection, choose, decoder_parameters, find_projections
from culnig.finetune.settings import LoraConfig, UpdateConfig
from culnig.finetune.targets import describe, peft_list, targets
from culnig.models import LanguageModel
from culnig.neurons import NeuronSet, check_belongs

HALVES = (torch.bfloat16, torch.float16)


@dataclass
class Update:
    """A model that is ready for training.

    Attributes:
        model: the model to train: the transformers model, or PEFT's wrapper around it.
        kept: rows that are written back after every update.
        merged: rows that are written back once more after adapters have been added to the weights.
        facts: the choices, for the records.
        stored: parameters that are trained in float32, each with its half-precision type in the saved model.
        autocast: "bf16" or "fp16", the type of the model's computations while some parameters are float32; "no" for
            none.
    """

    model: Any
    kept: list[Kept] = field(default_factory=list)
    merged: list[Kept] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    stored: list[tuple[nn.Parameter, torch.dtype]] = field(default_factory=list)
    autocast: Literal["no", "bf16", "fp16"] = "no"

    def to_float32(self, lm: LanguageModel) -> None:
        """Keep the parameters that train in float32.

        At a learning rate of 3e-5, an update is below half a unit in the last place of bfloat16.

        A GPU still computes in the model's own type.  A CPU has no autocast with float16's loss scaling, so there the
        whole model becomes float32.
        """
        low = {p.dtype for p in self.trainable} - {torch.float32, torch.float64}
        if not low:
            return
        whole = torch.float16 in low and lm.device.type == "cpu"
        self.autocast = "no" if whole else "fp16" if torch.float16 in low else "bf16"
        for parameter in self.model.parameters() if whole else self.trainable:
            if parameter.dtype in HALVES:
                self.stored.append((parameter, parameter.dtype))
                parameter.data = parameter.data.float()
        for kept in (*self.kept, *self.merged):
            kept.values = kept.values.to(kept.parameter.dtype)

    def to_stored(self) -> None:
        """Round the parameters to the types of the saved model; kept rows return to the bit."""
        for parameter, dtype in self.stored:
            parameter.data = parameter.data.to(dtype)
        for kept in (*self.kept, *self.merged):
            kept.values = kept.values.to(kept.parameter.dtype)
        self.stored.clear()

    @property
    def trainable(self) -> list[nn.Parameter]:
        """Parameters that training may change."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def moving(self) -> int:
        """The number of values that training may change: those of trainable parameters without the kept ones."""
        return sum(p.numel() for p in self.trainable) - sum(k.values.numel() for k in self.kept)


def prepare(lm: LanguageModel, update: UpdateConfig) -> Update:
    """Unfreeze, wrap and mask a model as the settings say.

    Raises:
        UsageError: the model lacks modules, a set is of another model, or nothing is left to train.
        DataError: a neuron file is broken.
    """
    lm.model.requires_grad_(False)
    if update.what != "lora" and getattr(lm.model, "is_quantized", False):
        raise UsageError("the weights of a quantised model cannot be trained; train adapters on it (what: lora)")
    if update.only:
        made = _only(lm, _set(lm, update.only))
    elif update.what == "all":
        made = Update(lm.model)
        for parameter in _decoder(lm):
            parameter.requires_grad_(True)
    else:
        chosen, facts = _chosen(lm, update)
        made = _with_adapters(lm, chosen, update.lora) if update.what == "lora" else _unfrozen(lm, chosen)
        made.facts |= facts
    if update.protect:
        _protect(lm, made, _set(lm, update.protect))
    made.to_float32(lm)
    for kept in made.kept:
        kept.mask_gradient()
    made.facts |= {"trainable": made.moving, "parameters": sum(p.numel() for p in lm.model.parameters())}
    if made.moving == 0:
        raise UsageError("nothing would be trained: no parameter is left that may change; see `update` in the config")
    return made


def _set(lm: LanguageModel, path: str) -> NeuronSet:
    """Read a neuron file of this very model."""
    neurons = NeuronSet.load(path)
    made_on = neurons.provenance.get("model_hash")
    if made_on and not lm.is_model(made_on):
        raise UsageError(
            f"{path} was made on another model ('{neurons.model_name}', hash {made_on}, not {lm.fingerprint})"
        )
    check_belongs(neurons, lm.shapes, lm.name)
    return neurons


def _decoder(lm: LanguageModel) -> list[nn.Parameter]:
    """Return the decoder's parameters: embeddings, layers, norms and head, but no vision tower."""
    trunk = lm.model.get_submodule(lm.family.layers.rpartition(".")[0])
    head = lm.model.get_output_embeddings()
    return [*trunk.parameters(), *(head.parameters() if head is not None else [])]


def _only(lm: LanguageModel, neurons: NeuronSet) -> Update:
    made = Update(lm.model)
    for parameter, mask in row_masks(lm, neurons):
        parameter.requires_grad_(True)
        made.kept.append(Kept.of(parameter, ~mask))
    made.facts = {"only": len(neurons)}
    return made


def _chosen(lm: LanguageModel, update: UpdateConfig) -> tuple[list[Projection], dict[str, Any]]:
    """Return the projections that the settings name, and the record of them."""
    wanted = update.modules
    if wanted is None:
        raise UsageError(f"what: {update.what} needs modules")
    if not isinstance(wanted, str | list):
        everything = find_projections(lm, _set(lm, wanted.neurons))
        how = wanted.model_dump(include={"seed", "by", "among"})
        choice: Choice = choose(everything, decoder_parameters(lm), wanted.share, wanted.pick, **how)
        return list(choice.projections), {"modules": describe(choice)}
    everything = find_projections(lm, NeuronSet())
    if isinstance(wanted, str):
        try:
            chosen = [p for p in everything if re.fullmatch(wanted, p.path)]
        except re.error as error:
            raise UsageError(f"modules: '{wanted}' is not a regular expression ({error})") from error
    else:
        paths = {p.path: p for p in everything}
        if missing := [path for path in wanted if path not in paths]:
            raise UsageError(f"modules: {lm.name} has no projection '{missing[0]}'; it has {everything[0].path}, ...")
        chosen = [paths[path] for path in wanted]
    if not chosen:
        raise UsageError(
            f"nothing would be trained: modules '{wanted}' match no projection; they are called {everything[0].path}"
        )
    return chosen, {"modules": {"parameters": sum(p.parameters for p in chosen), **targets(chosen)}}


def _unfrozen(lm: LanguageModel, chosen: list[Projection]) -> Update:
    parameters = dict(lm.model.named_parameters(remove_duplicate=False))
    for p in chosen:
        found = [parameters[p.path]] if p.stacked else lm.model.get_submodule(p.path).parameters()
        for parameter in found:
            if not parameter.is_floating_point():
                raise UsageError(f"{p.path} is quantised; train adapters on it (what: lora)")
            parameter.requires_grad_(True)
    return Update(lm.model)


def _with_adapters(lm: LanguageModel, chosen: list[Projection], lora: LoraConfig) -> Update:
    if find_spec("peft") is None:
        raise UsageError("what: lora needs peft: pip install 'culnig[finetune]'")
    if stacked := [p.path for p in chosen if p.stacked]:
        raise UsageError(
            f"adapters on stacked experts ({stacked[0]}) are not supported; leave them out, or train them fully"
        )
    import peft

    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=peft_list(chosen), bias="none"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between PEFT and transformers, of no use to our users
        return Update(peft.get_peft_model(lm.model, config))


def _protect(lm: LanguageModel, made: Update, neurons: NeuronSet) -> None:
    """Keep a set's rows of the weights, or of the adapters' products, whose rows are then zero."""
    adapters = _adapters(made.model)
    for parameter, mask in row_masks(lm, neurons):
        if parameter.requires_grad:
            made.kept.append(Kept.of(parameter, mask))
        elif id(parameter) in adapters:
            # A row of the product is B's row times A; B starts at zero and stays there.
            a, b = adapters[id(parameter)]
            made.kept.append(Kept.of(b, mask.reshape(-1, 1)))
            a.requires_grad_(made.kept[-1].moving > 0)
            made.merged.append(Kept.of(parameter, mask))
    made.facts["protected"] = len(neurons)


def _adapters(model: Any) -> dict[int, tuple[nn.Parameter, nn.Parameter]]:
    """Return id of a wrapped weight -> the matrices A [rank, inputs] and B [outputs, rank] of its adapter."""
    found = {}
    for module in model.modules():
        if getattr(module, "lora_B", None) and hasattr(module, "get_base_layer"):
            a, b = (next(iter(part.values())).weight for part in (module.lora_A, module.lora_B))
            found[id(module.get_base_layer().weight)] = (a, b)
    return found


def merge(made: Update) -> Any:
    """Return the transformers model with its adapters added to the weights; protected rows are unchanged, to the bit.

    Adding zero to a row can change the sign of a zero, so protected rows are written back here too.
    """
    if not hasattr(made.model, "merge_and_unload"):
        return made.model
    with torch.no_grad():
        model = made.model.merge_and_unload()
    for kept in made.merged:
        kept.restore()
    return model
