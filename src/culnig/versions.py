"""Versions of everything that can change a number; every output records them."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("culnig", "torch", "transformers", "tokenizers", "numpy", "scipy", "safetensors")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return package -> version, also for Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
