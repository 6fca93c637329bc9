"""A loaded model with its tokenizer and its map of sites."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from culnig.errors import CulnigWarning, ModelError, UsageError
from culnig.models.families import FAMILIES, Family
from culnig.models.fingerprint import Hashes, hashes_of
from culnig.models.sites import SiteModule, execution_device, experts_met, is_transposed, locate, output_width
from culnig.models.unmapped import reason_against
from culnig.neurons import SHARED_GATE, SHARED_UP, Shape, Site, number_of_neurons
from culnig.prompts import SCORE_CALIBRATION, PromptPolicy, default_calibration

OPTIONAL = (SHARED_GATE, SHARED_UP)
"""Sites that a model of a family may lack: checkpoints of one architecture have a shared expert, or none."""
Lift = Callable[[], Callable[[], None]]
"""A function that undoes an edit, and returns the function that repeats it."""


class LanguageModel:
    """A decoder model ready to be scored, suppressed and evaluated.

    Its parameters are frozen and it is in evaluation mode.

    Attributes:
        model: the transformers model.
        tokenizer: its tokenizer.
        name: the model's name in reports and neuron sets.
        source: the alias, hub id or path that was loaded.
        revision: hub commit, or None.
        formulation: the formulation recommended for the model: "mcf", or "cf" if the catalogue says that the model is
            too small to answer with a letter.
        offsets: the known calibration offsets of the untouched model: prompt -> kind -> one number for each option
            (`passes.calibration`).
        is_sharded: whether the layers are sharded over the processes of the job (`models.sharding`).
        in_step: whether all processes run the same passes at present; a sharded model runs no others
            (`passes.in_step`).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        source: str = "",
        revision: str | None = None,
        formulation: str = "mcf",
    ) -> None:
        self.model = _unwrapped(model).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.source = source or name
        self.revision = revision
        self.formulation = formulation
        self.family = find_family(self.model)
        self.offsets: dict[str, dict[str, tuple[float, ...] | None]] = {}
        self.is_sharded = False
        self.in_step = False
        self._edits: list[Lift] = []

    @contextmanager
    def editing(self, lift: Lift) -> Iterator[None]:
        """Mark the model as edited within the block; `lift` undoes the edit for `untouched`."""
        self._edits.append(lift)
        try:
            yield
        finally:
            self._edits.pop()

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Undo all edits of `editing` within the block; repeat them afterwards."""
        restores: list[Callable[[], None]] = []
        try:
            for lift in reversed(self._edits):
                restores.append(lift())
            yield
        finally:
            for restore in reversed(restores):
                restore()

    def policy(self, formulation: str | None = None) -> PromptPolicy:
        """Return the default prompt policy of a formulation, with its calibration; None is the recommended formulation.

        Raises:
            UsageError: the formulation is unknown.
        """
        formulation = formulation or self.formulation
        if formulation not in ("mcf", "cf", "short"):
            raise UsageError(f"unknown formulation '{formulation}'; there are mcf and cf, and short for answers")
        return PromptPolicy.model_validate(
            {"formulation": formulation, "calibration": default_calibration(formulation)}
        )

    def scoring_policy(self, formulation: str | None = None) -> PromptPolicy:
        """The default prompt policy of scores: as `policy`, but for the calibration of P.

        Raises:
            UsageError: an unknown formulation.
        """
        return self.policy(formulation).model_copy(update={"calibration": SCORE_CALIBRATION})

    def __repr__(self) -> str:
        return f"LanguageModel({self.name}, {self.num_layers} layers, {self.num_neurons:,} neurons, {self.dtype})"

    @property
    def device(self) -> torch.device:
        return execution_device(self.model.get_input_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        return self.model.get_input_embeddings().weight.dtype

    @property
    def token_budget(self) -> int:
        """Padded tokens a batch that suit the device; see `suitable_budget`."""
        return suitable_budget(self, self.device, self.dtype)

    @property
    def text_config(self) -> Any:
        """The decoder's own config, which is nested inside an image-text model's config."""
        return self.model.config.get_text_config()

    @property
    def max_length(self) -> int | None:
        return getattr(self.text_config, "max_position_embeddings", None)

    @cached_property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, in order."""
        return _child(self.model, self.family.layers)

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @cached_property
    def sites(self) -> dict[Site, SiteModule]:
        """Every site of the model, ordered by module and layer.

        Raises:
            ModelError: a layer lacks a module that the family declares.
        """
        return {found.site: found for found in self._find_sites()}

    def _find_sites(self) -> Iterator[SiteModule]:
        for name in self.family.sites:
            places = [self.family.place_in(name, layer) for layer in self.layers]
            if not any(places) and name in OPTIONAL:
                continue
            if not any(places):
                raise ModelError(f"no layer of {self.name} has {name} where the family says; see docs/extending.md")
            for index, (part, layer) in enumerate(zip(places, self.layers, strict=True)):
                if part:
                    yield locate(Site(name, index), part, _child(layer, part.path), self.text_config)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Module -> (L, N); a `Shape` where layers have different numbers of neurons, or some have none."""
        found: dict[str, tuple[int, int]] = {}
        for name in self.family.sites:
            widths = [s.width if (s := self.sites.get(Site(name, i))) else 0 for i in range(self.num_layers)]
            if name in OPTIONAL and not any(widths):
                continue
            found[name] = (self.num_layers, widths[0]) if len(set(widths)) == 1 else Shape(widths)
        return found

    @cached_property
    def expert_widths(self) -> dict[str, int]:
        """Module -> neurons of one expert, for modules whose neurons are spread over experts; else empty.

        Neuron i of expert e has the index e * width + i.  In a layer whose MLP is no mixture, "<module>.<layer>" is 0.
        """
        widths = {site.module: s.expert_width for site, s in self.sites.items() if s.experts > 1}
        plain = {f"{site.module}.{site.layer}": 0 for site, s in self.sites.items() if s.stacked is None}
        return widths | {key: 0 for key in plain if key.rpartition(".")[0] in widths}

    @property
    def num_neurons(self) -> int:
        """The number of neurons at all sites, `mlp.up_proj` included."""
        return number_of_neurons(self.shapes)

    @cached_property
    def hashes(self) -> Hashes:
        """The hashes of the model; the first use reads the weights."""
        return hashes_of(self.model)

    @property
    def fingerprint(self) -> str:
        """Hash of the computation and of a sample of every parameter: 16 hex digits, the same for the same model.

        The first use reads the weights; `intervention.scale` makes sure that this happens before they are edited.
        """
        return self.hashes.own

    @property
    def description(self) -> dict[str, Any]:
        """The record of the model in every result; `legacy_model_hash` matches files of earlier versions."""
        return {
            "model": self.name,
            "model_hash": self.hashes.own,
            "legacy_model_hash": self.hashes.legacy,
            "revision": self.revision,
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    def is_model(self, model_hash: str) -> bool:
        """Return whether a hash is this model's; files of earlier versions of culnig carry another kind of hash.

        A match with the earlier kind gives a `CulnigWarning`.
        """
        if model_hash == self.hashes.own:
            return True
        if model_hash != self.hashes.legacy:
            return False
        warnings.warn(
            f"a file carries the hash that earlier versions of culnig gave {self.name} ({model_hash}); it is accepted",
            CulnigWarning,
            stacklevel=2,
        )
        return True

    def weights_changed(self) -> None:
        """Forget the hash and the offsets, because the weights have been trained in place."""
        self.__dict__.pop("hashes", None)
        self.offsets.clear()


def _unwrapped(model: Any) -> Any:
    """Return the transformers model inside a PEFT wrapper; its adapters stay, because they are modules of the model.

    Raises:
        ModelError: the adapter is prompt or prefix tuning, which is part of the wrapper and adds positions of its own.
    """
    if not hasattr(model, "get_base_model"):
        return model
    if getattr(model, "active_peft_config", None) is not None and model.active_peft_config.is_prompt_learning:
        raise ModelError(f"{model.active_peft_config.peft_type} adapters are not supported; LoRA and its like are")
    return model.get_base_model()


CPU_BUDGET, LARGEST_CPU_BUDGET, LARGEST_BUDGET = 384, 768, 16_384
CPU_MEMORY = 5 * 2**28
"""Bytes of a batch on a CPU, 1.25 GiB, up to which it has more than `CPU_BUDGET` tokens."""
LOGITS_A_TOKEN = 1 / 8
"""Positions whose logits are needed, as a share of all tokens; answers are short compared with their prompts."""


def suitable_budget(lm: LanguageModel, device: torch.device, dtype: torch.dtype) -> int:
    """Return the padded tokens a batch: few on a CPU, to suit its caches; as many as fit on GPUs, at most 16,384.

    On a CPU it depends on the model alone, so that all machines compute the same batches.
    On each GPU, half of the memory that its weights leave free is for what tokens keep there.  The fullest GPU of a
    sharded model decides.  Scoring halves a batch that still does not fit.
    """
    if device.type == "cpu":
        token = max(1, sum(bytes_per_token(lm, device, dtype).values()))
        return max(CPU_BUDGET, min(LARGEST_CPU_BUDGET, CPU_MEMORY // token))
    if device.type != "cuda":
        return LARGEST_BUDGET
    parameters = list(lm.model.parameters())
    to_come = all(parameter.is_meta for parameter in parameters)  # after loading, only offloaded weights are on meta
    weights: dict[torch.device, int] = {}
    for parameter in parameters:
        place = device if to_come else parameter.device
        weights[place] = weights.get(place, 0) + _share(parameter) * parameter.element_size()
    fitting = [float(LARGEST_BUDGET)]
    for place, token in bytes_per_token(lm, device, dtype).items():
        if place.type == "cuda":
            free = torch.cuda.get_device_properties(place).total_memory - weights.get(place, 0)
            fitting.append(free / 2 / max(1, token))
    return int(max(CPU_BUDGET, min(fitting)))


def _share(parameter: torch.Tensor) -> int:
    """Return how many values of a parameter a process keeps, the same on all processes: they must agree on batches."""
    mesh = getattr(parameter, "device_mesh", None)
    return parameter.numel() if mesh is None else -(-parameter.numel() // mesh.size())


def bytes_per_token(lm: LanguageModel, device: torch.device, dtype: torch.dtype) -> dict[torch.device, int]:
    """Return device -> approximate bytes that a token keeps there: values for the backward pass and logits.

    Layers and head of a sharded model are where accelerate runs them.  Those of a model that is not loaded yet
    (weights on the meta device) are on `device`.
    """
    found: dict[torch.device, int] = {}

    def add(module: nn.Module, size: int) -> None:
        place = execution_device(module)
        place = device if place.type == "meta" else place
        found[place] = found.get(place, 0) + size

    for layer in lm.layers:
        add(layer, 2 * dtype.itemsize * _widths(layer, lm.text_config))
    if (head := lm.model.get_output_embeddings()) is not None:
        # The logits in the model's type, and in float32 the logits, their gradient and the softmax.
        add(head, int(LOGITS_A_TOKEN * len(head.weight) * (dtype.itemsize + 3 * torch.float32.itemsize)))
    return found


def kept_per_token(lm: LanguageModel) -> int:
    """Return about how many values a token keeps for the backward pass: twice the outputs of all projections."""
    return 2 * sum(_widths(layer, lm.text_config) for layer in lm.layers)


def _widths(layer: nn.Module, config: Any) -> int:
    """Return the outputs of a layer's projections for one token; of stacked experts, only those routed to."""
    total = 0
    for module in layer.modules():
        if hasattr(module, "out_features") or hasattr(module, "nf"):
            total += output_width(module)
        elif met := experts_met(module, config):
            stacked = [parameter for parameter in module.parameters(recurse=False) if parameter.ndim == 3]
            total += met * sum(weight.shape[2 if is_transposed(module) else 1] for weight in stacked)
    return total


def find_family(model: nn.Module) -> Family:
    """Return the family registered for the model's `model_type`.

    Raises:
        ModelError: there is none; the message lists the model's modules and says how to register a family.
    """
    config: Any = model.config
    for kind in dict.fromkeys((config.model_type, config.get_text_config().model_type)):
        if family := FAMILIES.find(kind):
            return family
    modules = ", ".join(describe_layer(model)) or "no list of layers found"
    why = f": {reason}" if (reason := reason_against(config.model_type)) else ""
    raise ModelError(
        f"architecture '{config.model_type}' is not known{why} (known: docs/models.md, `culnig models list`);"
        f" its first layer's modules: {modules}; register a family for it: docs/extending.md{FAMILIES.left_out()}"
    )


def describe_layer(model: nn.Module) -> list[str]:
    """Return the paths and shapes of the projections of the first decoder layer of an unknown model."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) > 0]
    if not lists:
        return []
    name, layers = max(lists, key=lambda pair: sum(p.numel() for p in pair[1].parameters()))
    return [
        f"{name}.0.{path} {tuple(module.weight.shape)}"
        for path, module in layers[0].named_modules()
        if getattr(module, "weight", None) is not None and module.weight.ndim == 2
    ]


def _child(module: nn.Module, path: str) -> Any:
    for step in path.split("."):
        if not hasattr(module, step):
            raise ModelError(f"{type(module).__name__} has no '{step}' (looking for '{path}'); see docs/extending.md")
        module = getattr(module, step)
    return module
