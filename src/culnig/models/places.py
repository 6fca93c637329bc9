"""The places of a model's config, weights and tokenizer: alias, GGUF file, local folder, PEFT adapter or hub id.

`load_model` and the skeleton of a plan both use this module, so a plan describes the model that a run loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from culnig.errors import ModelError, UsageError
from culnig.files import read_json
from culnig.models.catalogue import CATALOGUE
from culnig.models.fetching import fetch

ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Place:
    """The places of a model's parts.

    Attributes:
        name: the model's name in reports and neuron sets.
        source: the folder, file or hub id where it was found.
        weights: folder or hub id of config and weights; with an adapter, those of the base model.
        tokenizer: folder or hub id of the tokenizer.
        adapter: folder of a PEFT adapter, or None.
        gguf: the GGUF file, or None.
        formulation: the formulation recommended for the model.
    """

    name: str
    source: str
    weights: str
    tokenizer: str
    adapter: Path | None = None
    gguf: Path | None = None
    formulation: str = "mcf"

    @property
    def gguf_options(self) -> dict[str, Any]:
        """Arguments that make transformers read the GGUF file; empty for other models."""
        return {"gguf_file": self.gguf.name} if self.gguf else {}


def find_place(name: str | Path, say: Any = lambda text: None) -> Place:
    """Find a model; an alias is fetched on first use.

    Raises:
        UsageError: there is no such file, alias, folder or hub id.
        ModelError: a folder holds no model, or an adapter cannot be used.
        FetchError: an alias cannot be fetched.
    """
    name = str(name)
    if name in CATALOGUE:
        return _folder(fetch(CATALOGUE[name], say), name, CATALOGUE[name].formulation)
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UsageError(f"no such GGUF file: {path}")
        folder = str(path.parent)
        return Place(path.stem, name, folder, folder, gguf=path)
    if path.is_dir():
        return _folder(path, path.resolve().name, recommended(name))
    _check_hub_id(name)
    return Place(name, name, name, name)


def check_place(name: str) -> None:
    """Check that a model can be found, as far as possible without fetching it; errors are those of `find_place`."""
    if name not in CATALOGUE:
        find_place(name)


def recommended(name: str) -> str:
    """Return the formulation recommended for a model; nothing is fetched.

    A checkpoint that culnig wrote records its own: a tuned model answers in the formulation of its base model.
    """
    if name in CATALOGUE:
        return CATALOGUE[name].formulation
    origin = Path(name) / "culnig.json"
    return read_json(origin, "the origin of a checkpoint").get("formulation", "mcf") if origin.is_file() else "mcf"


def _folder(folder: Path, name: str, formulation: str) -> Place:
    """Return the place of a local folder that holds a model or an adapter."""
    own = str(folder)
    if not (folder / ADAPTER).is_file():
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} holds no model: no config.json in it")
        return Place(name, own, own, own, formulation=formulation)
    base = base_of(folder)
    tokenizer = own if (folder / "tokenizer_config.json").is_file() else base
    return Place(name, own, base, tokenizer, adapter=folder, formulation=formulation)


def base_of(folder: Path) -> str:
    """Return the path or hub id of the model that the adapter was made for.

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


def _check_hub_id(name: str) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(
            f"no model '{name}': not an alias ({', '.join(CATALOGUE)}), not a file or folder here, not a hub id"
        ) from error
    if "/" not in name:
        raise UsageError(
            f"no model '{name}': not an alias ({', '.join(CATALOGUE)}) and not a folder here;"
            " a hub id has the form owner/name"
        )
