"""What the machine offers: its memory, and the most that this process has held, on every operating system."""

from __future__ import annotations

import sys


def total_memory() -> int:
    """Return the bytes of main memory."""
    import psutil

    return int(psutil.virtual_memory().total)


def peak_memory() -> int:
    """Return the most bytes of main memory that this process has held so far."""
    try:
        import resource
    except ImportError:  # Windows has no such module; psutil knows the peak there, and only there
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
