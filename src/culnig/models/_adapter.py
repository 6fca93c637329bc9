"""PEFT adapters: a folder with an `adapter_config.json` is its base model with the adapter in place."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from culnig.errors import ModelError
from culnig.files import read_json

ADAPTER = "adapter_config.json"


def base_of(folder: Path) -> str:
    """Path or hub id of the model that the adapter was made for.

    Raises:
        ModelError: peft is missing, or the adapter does not name its base model.
    """
    if find_spec("peft") is None:
        raise ModelError(f"{folder} holds a PEFT adapter, which needs peft: pip install peft")
    config = read_json(folder / ADAPTER, "a PEFT adapter's config")
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not base:
        raise ModelError(f"{folder / ADAPTER} does not say what its base model is (base_model_name_or_path)")
    # A base model next to its adapter may be named relative to it.
    return str(folder / base) if (folder / base).is_dir() else str(base)


def with_adapter(model: Any, folder: Path, *, merge: bool) -> Any:
    """The model with the adapter in front of its weights, or added to them."""
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(model, str(folder))
    return wrapped.merge_and_unload() if merge else wrapped
