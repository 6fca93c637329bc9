"""Time and peak memory of a function, in this process."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def best_of(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function, run in turn so that all meet the same machine."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, times in zip(functions, seconds, strict=True):
            times.append(timed(function))
    return [statistics.median(times) for times in seconds]


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call; work queued on a GPU is waited for."""
    _synchronize()
    begun = time.perf_counter()
    function()
    _synchronize()
    return time.perf_counter() - begun


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_extra_bytes(function: Callable[[], object], device: torch.device) -> int:
    """Most memory that a call holds beyond what was held before it: of the GPU, or resident memory (Linux)."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = status_bytes("VmRSS")
    function()
    return status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """Return a field of this process's memory, in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
