"""A simulated second device: its tensors hold their numbers on the CPU, and refuse to meet tensors of other devices.

It is PyTorch's open-registration device, `privateuseone`, with hooks in Python and no kernels.  A tensor on it wraps
one on the CPU, and every operation on such tensors runs on the wrapped ones.  Operations that mix devices raise an
error, as on a GPU.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
"""Operations that move tensors between devices."""


def there() -> torch.device:
    """Return the second device; the first call creates it."""
    setup = getattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend", None)
    if setup is None:
        pytest.skip("this PyTorch has no devices in Python")
    if not there.made:
        setup(rename="second")
        there.made = True
        _give_kernels()
    return torch.device("second", 0)


there.made = False


def _give_kernels() -> None:
    """Define what PyTorch itself allocates on the device without asking a Python mode."""

    def empty(size, *args, **kwargs):
        return Elsewhere(torch.empty(size, dtype=kwargs.get("dtype")))

    def empty_strided(size, stride, *args, **kwargs):
        return Elsewhere(torch.empty_strided(size, stride, dtype=kwargs.get("dtype")))

    def copy_from(source, target, non_blocking=False):
        ends = [t.inner if isinstance(t, Elsewhere) else t for t in (source, target)]
        ends[1].copy_(ends[0])
        return target

    there.kernels = torch.library.Library("aten", "IMPL", "PrivateUse1")
    there.kernels.impl("empty.memory_format", empty)
    there.kernels.impl("empty_strided", empty_strided)
    there.kernels.impl("_copy_from", copy_from)


class Elsewhere(torch.Tensor):
    """A tensor on the second device."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=there(),
        )

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"Elsewhere({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _is_elsewhere(device):
    return device is not None and torch.device(device).type == there().type


def _run(func, args, kwargs):
    """Run an operation on the CPU, and mark the device of its results."""
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    away = [isinstance(tensor, Elsewhere) for tensor in tensors]
    if func not in MOVES and any(away):
        # As on a GPU, a single number and an index from the CPU may take part.
        strangers = [t for t, gone in zip(tensors, away, strict=True) if not gone and t.ndim > 0]
        if strangers:
            raise RuntimeError(f"{func}: tensors on {there()} and on the CPU {[tuple(t.shape) for t in strangers]}")
    result_away = any(away)
    if func is torch.ops.aten.copy_.default:
        result_away = away[0]
    if "device" in kwargs and kwargs["device"] is not None:
        result_away = _is_elsewhere(kwargs["device"])
        kwargs = kwargs | {"device": torch.device("cpu")}
    inner = tree_map_only(Elsewhere, lambda tensor: tensor.inner, (args, kwargs))
    result = func(*inner[0], **inner[1])
    if not result_away:
        return result
    for tensor in tensors:  # in-place operations return the same wrapper
        if isinstance(tensor, Elsewhere) and result is tensor.inner:
            return tensor
    return tree_map_only(torch.Tensor, Elsewhere, result)


class _Factories(TorchDispatchMode):
    """Catches operations that create tensors on the second device from none."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


@contextmanager
def second_device():
    """Let tensors be made on, and moved to, the second device within the block."""
    device = there()
    # The autograd engine has no thread for a simulated device.
    with torch.autograd.set_multithreading_enabled(False), _Factories():
        yield device


def move(model, device):
    """Put a model's parameters and buffers on the second device; `Module.to` would need their storage."""
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is not None:
                    there_now = Elsewhere(tensor.detach())
                    store[name] = torch.nn.Parameter(there_now, False) if store is module._parameters else there_now
    return model
