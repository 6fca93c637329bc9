"""Start a forward pass at a layer, so that the unchanged layers below it are not computed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from culnig.errors import ModelError
from culnig.models.language_model import LanguageModel


@contextmanager
def layer_inputs(lm: LanguageModel) -> Iterator[list[torch.Tensor]]:
    """Record in the yielded list the hidden states that enter each layer in a forward pass within the block, [B, T, H].

    Raises:
        ModelError: a layer returns more than hidden states, so `starting_at` could not replace it.
    """
    inputs: list[torch.Tensor] = [torch.empty(0)] * lm.num_layers
    with ExitStack() as stack:
        for index, layer in enumerate(lm.layers):

            def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], index: int = index) -> None:
                inputs[index] = (args[0] if args else kwargs["hidden_states"]).detach()

            stack.callback(layer.register_forward_pre_hook(note, with_kwargs=True).remove)
            stack.callback(layer.register_forward_hook(_check_output).remove)
        yield inputs


def _check_output(layer: Any, args: Any, output: Any) -> None:
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"{type(layer).__name__} returns a {type(output).__name__}, not hidden states alone: ig and oracle, which start"
            " passes at a layer, cannot run on this architecture"
        )


@contextmanager
def starting_at(lm: LanguageModel, layer: int, hidden: torch.Tensor) -> Iterator[None]:
    """Skip the layers below `layer` in passes within the block; `layer` takes `hidden` [B, T, H] as its input."""

    def replace(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})

    with ExitStack() as stack:
        for below in lm.layers[:layer]:
            stack.enter_context(_forward_replaced(below, _pass_on))
        handle = lm.layers[layer].register_forward_pre_hook(replace, with_kwargs=True)
        stack.callback(handle.remove)
        yield


@contextmanager
def _forward_replaced(module: Any, function: Any) -> Iterator[None]:
    """Put a forward function on the instance; restore an earlier one (accelerate's) afterwards."""
    before = module.__dict__.get("forward")
    module.forward = function
    try:
        yield
    finally:
        if before is None:
            del module.__dict__["forward"]
        else:
            module.forward = before


def _pass_on(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return hidden_states
