"""Load a model whose decoder layers are sharded over the processes of a job (FSDP2, `torch.distributed.fsdp`).

Each process keeps one part of every layer.  A layer's parts come together on all processes when it runs, and go
apart afterwards.  Embeddings and head are whole on every process, because passes use them outside the model too.

All processes must therefore run the same passes at the same time; `passes.in_step` sees to that.  Any other pass would
wait forever, so it raises an error instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from culnig import distributed
from culnig.errors import ModelError, UsageError
from culnig.models.fingerprint import Hashes
from culnig.models.language_model import LanguageModel

Whole = Callable[[], LanguageModel]
"""Loads the whole model in the memory of the machine; called on the main process alone."""


def check_job(device: torch.device) -> None:
    """Raise a UsageError where a model cannot be sharded: in one process, on another device, or with an old PyTorch."""
    from torch.distributed.fsdp import fully_shard

    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise UsageError(f"device map fsdp needs PyTorch 2.7 or newer; this is {torch.__version__}")
    if distributed.size() < 2:
        raise UsageError(
            "device map fsdp shards a model over the processes of a job, and there is one;"
            " start several: torchrun --nproc-per-node N -m culnig ... (or use auto)"
        )
    own = distributed.device()
    if own is None or device.type != own.type or device.index not in (None, own.index):
        raise UsageError(f"device map fsdp uses each process's own device, not {device}; leave out --device")


def sharded(whole: Whole, config: Any, tokenizer: Any, device: torch.device, *, trust: bool = False) -> LanguageModel:
    """Return a model that is sharded over all processes; every process calls this function.

    Args:
        whole: loads the model on the CPU; its weights are sent tensor by tensor.
        config: the model's config.
        tokenizer: its tokenizer.
        device: where this process computes.
        trust: whether code that comes with the model may run.

    Raises:
        ModelError: the config describes other weights than the model has.
    """
    source = whole() if distributed.is_main() else None
    facts = distributed.from_main(lambda: _facts(source))
    lm = LanguageModel(_without_weights(config, facts, trust), tokenizer, **facts.names)
    lm.hashes = facts.hashes
    _shard(lm, device)
    _fill(lm.model, source.model if source else None, device)
    _tie(lm.model, facts.parameters)
    lm.is_sharded = True
    lm.model.register_forward_pre_hook(_only_in_step(lm), prepend=True)
    return lm


@dataclass(frozen=True)
class _Facts:
    """What all processes have to know of the whole model.

    Attributes:
        names: arguments of `LanguageModel`.
        hashes: its hashes, which need all weights.
        dtype: dtype of its embeddings.
        parameters: name -> (the first name of the same tensor, shape, dtype); tied parameters share a first name.
        buffers: name -> (shape, dtype).
    """

    names: dict[str, Any]
    hashes: Hashes
    dtype: torch.dtype
    parameters: dict[str, tuple[str, torch.Size, torch.dtype]]
    buffers: dict[str, tuple[torch.Size, torch.dtype]]


def _facts(lm: LanguageModel | None) -> _Facts:
    assert lm is not None
    first: dict[int, str] = {}
    parameters = {
        name: (first.setdefault(id(parameter), name), parameter.shape, parameter.dtype)
        for name, parameter in lm.model.named_parameters(remove_duplicate=False)
    }
    buffers = {name: (buffer.shape, buffer.dtype) for name, buffer in lm.model.named_buffers()}
    names = {"name": lm.name, "source": lm.source, "revision": lm.revision, "formulation": lm.formulation}
    return _Facts(names, lm.hashes, lm.dtype, parameters, buffers)


def _without_weights(config: Any, facts: _Facts, trust: bool) -> Any:
    """Return the model with its parameters on the meta device, and its buffers on the CPU.

    A config does not say all: a checkpoint may keep some weights in another dtype, or a head of its own.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=facts.dtype, trust_remote_code=trust)
    buffers = dict(model.named_buffers())
    names = dict(model.named_parameters(remove_duplicate=False)).keys()
    if other := (names ^ facts.parameters.keys()) | (buffers.keys() ^ facts.buffers.keys()):
        raise ModelError(f"{facts.names['name']}: its config describes other weights than it has ({min(other)})")
    for name, (first, shape, dtype) in facts.parameters.items():
        if first == name:
            module, leaf = _owner(model, name)
            empty = torch.empty(shape, dtype=dtype, device="meta")
            module._parameters[leaf] = torch.nn.Parameter(empty, requires_grad=False)
    _tie(model, facts.parameters)
    for name, (shape, dtype) in facts.buffers.items():
        if (buffers[name].shape, buffers[name].dtype) != (shape, dtype):
            module, leaf = _owner(model, name)
            module._buffers[leaf] = torch.empty(shape, dtype=dtype)
    return model


def _owner(model: Any, name: str) -> tuple[Any, str]:
    """Return the module that holds a tensor, and the tensor's name in it."""
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf


def _tie(model: Any, parameters: dict[str, tuple[str, torch.Size, torch.dtype]]) -> None:
    """Make those parameters one that are one in the whole model, and no others."""
    for name, (first, _, _) in parameters.items():
        if first != name:
            module, leaf = _owner(model, name)
            module._parameters[leaf] = model.get_parameter(first)


def _shard(lm: LanguageModel, device: torch.device) -> None:
    """Shard the decoder layers; all else stays whole on every process."""
    from torch.distributed.fsdp import fully_shard

    mesh = torch.distributed.init_device_mesh(device.type, (distributed.size(),))
    for layer in lm.layers:
        fully_shard(layer, mesh=mesh)
    # The whole model is the root of the layers, so that one layer is fetched while another one computes.
    fully_shard(lm.model, mesh=mesh, ignored_params=set(lm.model.parameters()))


def _fill(model: Any, source: Any, device: torch.device) -> None:
    """Send the weights of the main process to all, tensor by tensor; each process keeps its part.

    Args:
        model: the sharded model, whose parameters are on the meta device.
        source: the whole model; None on all processes but the main one.
        device: where this process computes.
    """
    from torch.distributed.tensor import DTensor, distribute_tensor

    given = dict(source.named_parameters()) | dict(source.named_buffers()) if source is not None else {}

    def sent(name: str, like: torch.Tensor) -> torch.Tensor:
        if source is not None:
            return given[name].detach().to(device).contiguous()
        return torch.empty(like.shape, dtype=like.dtype, device=device)

    filled: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():  # tied ones come once
        if isinstance(parameter, DTensor):
            filled[name] = distribute_tensor(sent(name, parameter), parameter.device_mesh, parameter.placements)
        else:
            torch.distributed.broadcast(whole := sent(name, parameter), src=0)
            filled[name] = whole
    model.load_state_dict(filled, assign=True, strict=False)
    for name, buffer in model.named_buffers():
        torch.distributed.broadcast(whole := sent(name, buffer), src=0)
        buffer.copy_(whole)


def _only_in_step(lm: LanguageModel) -> Callable[..., None]:
    """Return a hook before every pass, which raises a ModelError where the other processes run none."""

    def check(module: torch.nn.Module, args: Any) -> None:
        if not lm.in_step:
            raise ModelError(
                f"{lm.name} is sharded over processes (device map fsdp), and this work does not run on them together;"
                " use device map auto in one process"
            )

    return check
