"""`load_model`: alias, GGUF file, local folder or hub id -> LanguageModel."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

from culnig import distributed
from culnig.errors import CulnigError, ModelError, UsageError
from culnig.models._catalogue import CATALOGUE
from culnig.models._fetch import fetch, load_gguf
from culnig.models._language_model import LanguageModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name: str | Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    say: Any = lambda text: None,
) -> LanguageModel:
    """Load a decoder model and its tokenizer.

    Args:
        name: an alias of the catalogue (`smollm2-135m`), a GGUF file, a local folder, or a hub id.
        dtype: float32, bfloat16, float16; auto is float32 on a CPU and the checkpoint's own on a GPU.
        device: a torch device; auto is the first GPU if there is one.
        revision: commit or branch of a hub id.
        trust_remote_code: run code that comes with the model. Off unless the user says so.
        say: called with a line of progress before slow steps.

    Raises:
        UsageError: no such model, dtype or device.
        ModelError: the model cannot be loaded, or its architecture is not known.
        FetchError: an alias cannot be fetched.
    """
    name = str(name)
    where = _device(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise UsageError(f"unknown dtype '{dtype}'; there are auto, {', '.join(DTYPES)}")
    kind: Any = DTYPES.get(dtype, torch.float32 if where.type == "cpu" else "auto")
    # transformers' own progress bars and advice would bury our lines.
    with _quiet():
        try:
            if name in CATALOGUE:
                alias = CATALOGUE[name]
                lm = _from_folder(fetch(alias, say), kind, where, name, None, trust_remote_code)
                lm.formulation = alias.formulation
                return lm
            if Path(name).suffix == ".gguf":
                return _from_gguf(Path(name), kind, where)
            if Path(name).is_dir():
                return _from_folder(Path(name), kind, where, Path(name).resolve().name, None, trust_remote_code)
            _check_hub_id(name)
            return _from_folder(name, kind, where, name, revision, trust_remote_code)
        except CulnigError:
            raise
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            raise _explained(name, error) from error


def _device(device: str) -> torch.device:
    if device == "auto":
        if (own := distributed.device()) is not None:
            return own
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device '{device}' is not to be had here: {' '.join(str(error).split())}") from error
    return found


def _from_folder(
    place: Path | str, dtype: Any, device: torch.device, name: str, revision: str | None, trust: bool
) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if isinstance(place, Path) and not (place / "config.json").is_file():
        raise ModelError(f"{place} holds no model: no config.json in it")
    options = {"revision": revision or "main", "trust_remote_code": trust}
    tokenizer = AutoTokenizer.from_pretrained(str(place), **options)
    model: Any = AutoModelForCausalLM.from_pretrained(str(place), dtype=dtype, **options)
    return LanguageModel(
        model.to(device), tokenizer, name=name, source=str(place), revision=getattr(model.config, "_commit_hash", None)
    )


def _from_gguf(path: Path, dtype: Any, device: torch.device) -> LanguageModel:
    if not path.is_file():
        raise UsageError(f"no such GGUF file: {path}")
    model, tokenizer = load_gguf(path)
    if isinstance(dtype, torch.dtype):
        model = model.to(dtype)
    return LanguageModel(model.to(device), tokenizer, name=path.stem, source=str(path))


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


def _explained(name: str, error: Exception) -> CulnigError:
    reason = " ".join(str(error).split())
    if isinstance(error, OSError) and not Path(name).exists():
        return UsageError(
            f"no model '{name}': no folder of that name here, and the hub does not give it ({reason[:160]});"
            f" embedded: {', '.join(CATALOGUE)}"
        )
    if isinstance(error, json.JSONDecodeError):
        return ModelError(f"{name}: its config is not JSON ({reason})")
    return ModelError(f"{name} cannot be loaded: {type(error).__name__}: {reason[:300]}")


class _quiet:
    """Silence transformers' progress bars and warnings within a block."""

    def __enter__(self) -> None:
        from transformers.utils import logging as hf_logging

        self._bars = hf_logging.is_progress_bar_enabled()
        self._level = hf_logging.get_verbosity()
        hf_logging.disable_progress_bar()
        hf_logging.set_verbosity(logging.ERROR)

    def __exit__(self, *exc: object) -> None:
        from transformers.utils import logging as hf_logging

        hf_logging.set_verbosity(self._level)
        if self._bars:
            hf_logging.enable_progress_bar()
