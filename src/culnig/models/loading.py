"""`load_model`: alias, GGUF file, local folder or hub id -> LanguageModel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from culnig import distributed
from culnig.errors import CulnigError, ModelError, UsageError
from culnig.files import read_json
from culnig.models.catalogue import CATALOGUE
from culnig.models.fetching import fetch, load_gguf
from culnig.models.language_model import LanguageModel
from culnig.models.quiet import quiet

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name: str | Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    quantize: str | None = None,
    merge_adapter: bool = False,
    device_map: str | None = None,
    say: Any = lambda text: None,
) -> LanguageModel:
    """Load a decoder model and its tokenizer.

    Args:
        name: an alias of the catalogue (`smollm2-135m`), a GGUF file, a local folder, or a hub id.
        dtype: float32, bfloat16, float16; auto is float32 on a CPU and the checkpoint's own on a GPU.
        device: a torch device; auto is the first GPU if there is one.
        revision: commit or branch of a hub id.
        trust_remote_code: run code that comes with the model. Off unless the user says so.
        quantize: "4bit" or "8bit": load folders and hub ids with bitsandbytes. Suppression then goes by hooks.
        merge_adapter: for a folder with a PEFT adapter, add it to the weights: faster, and weights can be edited and
            exported; the same up to rounding.
        device_map: "auto", "balanced" or "sequential": spread the layers of a folder or hub id over all devices, and
            what does not fit over the machine's memory (accelerate).  Slower than one device; for models that need it.
        say: called with a line of progress before slow steps.

    Raises:
        UsageError: no such model, dtype, device or device map.
        ModelError: the model cannot be loaded, or its architecture is not known.
        FetchError: an alias cannot be fetched.
    """
    name = str(name)
    where = device_of(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise UsageError(f"unknown dtype '{dtype}'; there are auto, {', '.join(DTYPES)}")
    kind: Any = DTYPES.get(dtype, torch.float32 if where.type == "cpu" else "auto")
    if device_map not in (None, "auto", "balanced", "sequential"):
        raise UsageError(f"unknown device map '{device_map}'; there are auto, balanced and sequential")
    more = _Options(trust_remote_code, _quantization(quantize, kind), merge_adapter, device_map)
    # transformers' own progress bars and advice would bury our lines.
    with quiet():
        try:
            if name in CATALOGUE:
                alias = CATALOGUE[name]
                lm = _from_folder(fetch(alias, say), kind, where, name, None, more)
                lm.formulation = alias.formulation
                return lm
            if Path(name).suffix == ".gguf":
                return _from_gguf(Path(name), kind, where)
            if Path(name).is_dir():
                return _from_folder(Path(name), kind, where, Path(name).resolve().name, None, more)
            _check_hub_id(name)
            return _from_folder(name, kind, where, name, revision, more)
        except CulnigError:
            raise
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            raise explained(name, error) from error


def device_of(device: str) -> torch.device:
    """The torch device of a user's word for it.

    Raises:
        UsageError: it is not to be had.
    """
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


@dataclass(frozen=True)
class _Options:
    trust: bool = False
    quantization: Any = None
    merge_adapter: bool = False
    device_map: str | None = None


def _quantization(quantize: str | None, dtype: Any) -> Any:
    """The config that has transformers load with bitsandbytes."""
    if quantize is None:
        return None
    if quantize not in ("4bit", "8bit"):
        raise UsageError(f"unknown quantisation '{quantize}'; there are 4bit and 8bit")
    if find_spec("bitsandbytes") is None:
        raise ModelError(f"loading in {quantize} needs bitsandbytes: pip install bitsandbytes")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=quantize == "4bit",
        load_in_8bit=quantize == "8bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype if isinstance(dtype, torch.dtype) else torch.bfloat16,
    )


def _from_folder(
    place: Path | str, dtype: Any, device: torch.device, name: str, revision: str | None, more: _Options
) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = place if isinstance(place, Path) and (place / ADAPTER).is_file() else None
    if isinstance(place, Path) and not adapter and not (place / "config.json").is_file():
        raise ModelError(f"{place} holds no model: no config.json in it")
    options: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": more.trust}
    weights = place if adapter is None else base_of(adapter)
    words = place if adapter is None or (adapter / "tokenizer_config.json").is_file() else weights
    tokenizer = AutoTokenizer.from_pretrained(str(words), **options)
    if more.quantization is not None:
        options["quantization_config"] = more.quantization
    if more.device_map is not None:
        options["device_map"] = more.device_map
    elif more.quantization is not None or device.type != "cpu":
        options["device_map"] = {"": device}  # weights go there one by one, and never lie in host memory together
    model: Any = AutoModelForCausalLM.from_pretrained(str(weights), dtype=dtype, **options)
    if getattr(model, "is_quantized", False):
        model = _keep_differentiable(model)
    elif more.device_map is None:
        model = model.to(device)
        model.__dict__.pop("hf_device_map", None)  # on one device it says nothing, and the Trainer reads more into it
    commit = getattr(model.config, "_commit_hash", None)
    if adapter:
        model = with_adapter(model, adapter, merge=more.merge_adapter)
    options = {"formulation": _formulation(place)} if isinstance(place, Path) else {}
    return LanguageModel(model, tokenizer, name=name, source=str(place), revision=commit, **options)


def _formulation(folder: Path) -> str:
    """What a checkpoint that culnig wrote says of itself: a tuned model answers as its base model was asked to."""
    origin = folder / "culnig.json"
    return read_json(origin, "the origin of a checkpoint").get("formulation", "mcf") if origin.is_file() else "mcf"


def _keep_differentiable(model: Any) -> Any:
    """A quantised model; it was put on its device while it was loaded, and refuses to be moved.

    On some CPUs bitsandbytes repacks 4-bit weights for good at the first pass without gradients, into a form that has no
    backward pass: an evaluation would make scoring impossible.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


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


def explained(name: str, error: Exception) -> CulnigError:
    """A library's error about a model, as one of ours."""
    reason = " ".join(str(error).split())
    if isinstance(error, OSError) and not Path(name).exists():
        return UsageError(
            f"no model '{name}': no folder of that name here, and the hub does not give it ({reason[:160]});"
            f" embedded: {', '.join(CATALOGUE)}"
        )
    if isinstance(error, json.JSONDecodeError):
        return ModelError(f"{name}: its config is not JSON ({reason})")
    return ModelError(f"{name} cannot be loaded: {type(error).__name__}: {reason[:300]}")


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
