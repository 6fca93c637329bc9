"""A neuron set in the words of other libraries: modules of the transformers model, nnsight, TransformerLens.

A neuron is an output of a projection before anything else happens to it: before the activation function (gate), before
norms and rotary positions (query, key).  Every function here names that place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.neurons import GATE, KEY, QUERY, UP, VALUE, NeuronSet, check_belongs

LENS = {
    GATE: "mlp.hook_pre",
    UP: "mlp.hook_pre_linear",
    QUERY: "attn.hook_q",
    KEY: "attn.hook_k",
    VALUE: "attn.hook_v",
}
"""Module -> the hook of TransformerLens whose value is the projection's output."""


class ModulePoint(NamedTuple):
    """Neurons of one module.

    Attributes:
        path: path of the module in the transformers model ("model.layers.3.mlp.gate_proj").
        columns: the neurons' places in the last dimension of the module's output; a fused projection holds several sites.
    """

    path: str
    columns: list[int]


class LensPoint(NamedTuple):
    """Neurons of one hook of TransformerLens.

    Attributes:
        hook: name of the hook ("blocks.3.mlp.hook_pre").
        indices: the neurons' places in the hook's value [batch, position, ..], its last dimensions flattened; for heads,
            index = head x width of a head + place in the head.
    """

    hook: str
    indices: list[int]


def module_points(lm: LanguageModel, neurons: NeuronSet) -> list[ModulePoint]:
    """Return the modules and columns of a set, in the order in which the model's code names the modules.

    Raises:
        UsageError: the model lacks a neuron, or a site is a parameter of stacked experts, which is no module.
    """
    check_belongs(neurons, lm.shapes, lm.name)
    paths = {id(module): path for path, module in lm.model.named_modules()}
    columns: dict[str, list[int]] = {}
    for site, indices in neurons.by_site().items():
        found = lm.sites[site]
        if found.stacked:
            raise UsageError(
                f"{site.module} in layer {site.layer} is a parameter of stacked experts: no module has its output"
            )
        columns.setdefault(paths[id(found.module)], []).extend(found.outputs(indices).tolist())
    return [ModulePoint(path, sorted(columns[path])) for path in paths.values() if path in columns]


def lens_points(neurons: NeuronSet) -> list[LensPoint]:
    """Return the hooks of TransformerLens and the indices of a set, by layer.

    The names are those of its models with gated MLPs and separate queries, keys and values (Llama, Qwen, Mistral, Gemma);
    `mlp.hook_pre` is also that of models without a gate.

    Raises:
        UsageError: a module for which TransformerLens has no hook.
    """
    found = []
    for site, indices in sorted(neurons.by_site().items(), key=lambda pair: (pair[0].layer, pair[0].module)):
        if site.module not in LENS:
            raise UsageError(f"TransformerLens has no hook for {site.module}; it has for {', '.join(LENS)}")
        found.append(LensPoint(f"blocks.{site.layer}.{LENS[site.module]}", indices))
    return found


def lens_hooks(neurons: NeuronSet, factor: float = 0.0) -> list[tuple[str, Callable[..., Any]]]:
    """Return the hooks that scale a set, for `model.run_with_hooks(.., fwd_hooks=...)` and `model.hooks(...)`.

    Args:
        neurons: the set.
        factor: 0 suppresses, 2 doubles.

    Raises:
        UsageError: as `lens_points`.
    """

    def scaling(indices: Sequence[int]) -> Callable[..., Any]:
        def hook(value: Any, hook: Any) -> Any:
            changed = value.clone()
            flat = changed.view(*value.shape[:2], -1)
            flat[..., list(indices)] *= factor
            return changed

        return hook

    return [(point.hook, scaling(point.indices)) for point in lens_points(neurons)]


def scale_in_trace(model: Any, points: Sequence[ModulePoint], factor: float = 0.0) -> None:
    """Scale a set inside a block `with model.trace(..):` of nnsight.

    Args:
        model: nnsight's model around the transformers model.
        points: what `module_points` returns.
        factor: 0 suppresses, 2 doubles.
    """
    for point in points:
        module = model.get(point.path)
        output = module.output.clone()
        output[..., point.columns] = output[..., point.columns] * factor
        module.output = output
