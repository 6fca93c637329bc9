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


def check_job() -> None:
    """Raise a UsageError where there is only one process to keep the weights, or PyTorch is too old."""
    from torch.distributed.fsdp import fully_shard

    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise UsageError(f"device map fsdp needs PyTorch 2.7 or newer; this is {torch.__version__}")
    if distributed.size() < 2:
        raise UsageError(
            "device map fsdp shards a model over the processes of a job, and there is one;"
            " start several: torchrun --nproc-per-node N -m culnig ... (or use auto)"
        )


def sharded(whole: Whole, config: Any, tokenizer: Any, device: torch.device, *, trust: bool = False) -> LanguageModel:
    """Return a model that is sharded over all processes; every process calls this function.

    Args:
        whole: loads the model on the CPU; its weights are sent tensor by tensor.
        config: the model's config.
        tokenizer: its tokenizer.
        device: where this process computes.
        trust: whether code that comes with the model may run.

    Raises:
        ModelError: the weights have several dtypes, which FSDP2 cannot put together.
    """
    source = whole() if distributed.is_main() else None
    facts = distributed.from_main(lambda: _facts(source))
    lm = LanguageModel(_without_weights(config, facts.dtype, trust), tokenizer, **facts.names)
    lm.hashes = facts.hashes
    _shard(lm, device)
    _fill(lm.model, source.model if source else None, device)
    lm.is_sharded = True
    lm.model.register_forward_pre_hook(_only_in_step(lm), prepend=True)
    return lm


@dataclass(frozen=True)
class _Facts:
    """What all processes have to know of the whole model; its hashes need all weights."""

    names: dict[str, Any]
    hashes: Hashes
    dtype: torch.dtype


def _facts(lm: LanguageModel | None) -> _Facts:
    assert lm is not None
    dtypes = {parameter.dtype for parameter in lm.model.parameters()}
    if len(dtypes) > 1:
        kinds = ", ".join(sorted(str(each).removeprefix("torch.") for each in dtypes))
        raise ModelError(f"{lm.name} has weights of several dtypes ({kinds}), and device map fsdp needs one: --dtype")
    names = {"name": lm.name, "source": lm.source, "revision": lm.revision, "formulation": lm.formulation}
    return _Facts(names, lm.hashes, dtypes.pop())


def _without_weights(config: Any, dtype: torch.dtype, trust: bool) -> Any:
    """Return the model with its parameters on the meta device, and its buffers on the CPU."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=trust)
    model.tie_weights()  # every parameter was replaced by one of its own
    return model


def _shard(lm: LanguageModel, device: torch.device) -> None:
    """Shard the decoder layers; all else stays whole on every process."""
    from torch.distributed.fsdp import fully_shard

    mesh = torch.distributed.init_device_mesh(device.type, (distributed.size(),))
    inside = {parameter for layer in lm.layers for parameter in layer.parameters()}
    for layer in lm.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(lm.model, mesh=mesh, ignored_params={p for p in lm.model.parameters() if p not in inside})


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
    model.tie_weights()
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
