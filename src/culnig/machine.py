"""Memory of the machine, and peak memory of this process, on every operating system."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def total_memory() -> int:
    """Return the bytes of main memory."""
    import psutil

    return int(psutil.virtual_memory().total)


def peak_memory() -> int:
    """Return the peak main memory of this process so far, in bytes."""
    try:
        import resource
    except ImportError:  # Windows has no such module, but only there psutil knows the peak
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def trim_memory() -> None:
    """Have glibc hand freed memory back; over a long run it otherwise holds on to half a gigabyte and more."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
