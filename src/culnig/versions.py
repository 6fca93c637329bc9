"""Versions of everything that can change a number; recorded with every output."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("culnig", "torch", "transformers", "tokenizers", "numpy", "scipy", "safetensors")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Package -> version, and Python's."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
