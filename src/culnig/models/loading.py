"""`load_model`: load a LanguageModel from an alias, a GGUF file, a local folder or a hub id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from culnig import distributed
from culnig.errors import CulnigError, ModelError, UsageError
from culnig.models.catalogue import CATALOGUE
from culnig.models.checkpoint_files import check_sizes, refuse_pickles, verify
from culnig.models.fetching import load_gguf
from culnig.models.language_model import LanguageModel
from culnig.models.places import Place, find_place
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
        dtype: float32, bfloat16 or float16; auto is float32 on a CPU and the checkpoint's own dtype on a GPU.
        device: a torch device; auto is the first GPU if there is one.
        revision: commit or branch of a hub id.
        trust_remote_code: whether to run code that comes with the model; off unless the user requests it.
        quantize: "4bit" or "8bit": load folders and hub ids with bitsandbytes.  Suppression then uses hooks.
        merge_adapter: whether to add the PEFT adapter of a folder to the weights.  This is faster, and the weights
            can be edited and exported; the results are the same up to rounding.
        device_map: "auto", "balanced" or "sequential": spread the layers of a folder or hub id over all devices,
            and the rest over the machine's memory (accelerate).  It is slower than one device; use it for models that
            need it.  "fsdp": shard every layer over the processes of a job, which all compute (`models.sharding`).
        say: called with a line of progress before slow steps.

    Raises:
        UsageError: the model, dtype, device or device map does not exist.
        ModelError: the model cannot be loaded, or its architecture is not known.
        FetchError: an alias cannot be fetched.
    """
    name = str(name)
    where = device_of(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise UsageError(f"unknown dtype '{dtype}'; there are auto, {', '.join(DTYPES)}")
    kind = dtype_of(dtype, where)
    if device_map not in (None, "auto", "balanced", "sequential", "fsdp"):
        raise UsageError(f"unknown device map '{device_map}'; there are auto, balanced, sequential and fsdp")
    more = _Options(trust_remote_code, _quantization(quantize, kind), merge_adapter, device_map)
    # transformers' own progress bars and advice would hide our lines.
    with quiet():
        with _explaining(name):
            place = find_place(name, say)
            if device_map != "fsdp":
                return _from_gguf(place, kind, where) if place.gguf else _from_place(place, kind, where, revision, more)
        return _over_processes(name, place, kind, where, revision, more)


def device_of(device: str) -> torch.device:
    """Return the torch device that a user names.

    Raises:
        UsageError: the device is not available.
    """
    if device == "auto":
        if (own := distributed.device()) is not None:
            return own
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device '{device}' is not available here: {' '.join(str(error).split())}") from error
    return found


@dataclass(frozen=True)
class _Options:
    trust: bool = False
    quantization: Any = None
    merge_adapter: bool = False
    device_map: str | None = None


def _quantization(quantize: str | None, dtype: Any) -> Any:
    """Return the config that makes transformers load with bitsandbytes."""
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


def _from_place(place: Place, dtype: Any, device: torch.device, revision: str | None, more: _Options) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _check_files(place)
    options = place_options(place, revision, more.trust)
    tokenizer = AutoTokenizer.from_pretrained(place.tokenizer, **options)
    if more.quantization is not None:
        options["quantization_config"] = more.quantization
    if more.device_map is not None:
        options["device_map"] = more.device_map
    elif more.quantization is not None or device.type != "cpu":
        options["device_map"] = {"": device}  # weights go there one by one, and are never in host memory together
    model: Any = AutoModelForCausalLM.from_pretrained(place.weights, dtype=dtype, use_safetensors=True, **options)
    if getattr(model, "is_quantized", False):
        model = _keep_differentiable(model)
    elif more.device_map is None:
        model = model.to(device)
        model.__dict__.pop("hf_device_map", None)  # on one device it has no meaning, but the Trainer would use it
    commit = getattr(model.config, "_commit_hash", None)
    if place.adapter:
        model = with_adapter(model, place.adapter, merge=more.merge_adapter)
    return LanguageModel(
        model, tokenizer, name=place.name, source=place.source, revision=commit, formulation=place.formulation
    )


def _check_files(place: Place) -> None:
    """Check the files of a local folder, and of its adapter, before anything reads them."""
    for folder in {Path(place.weights), *([place.adapter] if place.adapter else [])}:
        if folder.is_dir():
            verify(folder)
            refuse_pickles(folder)
            check_sizes(folder)


@contextmanager
def _explaining(name: str) -> Iterator[None]:
    """Raise one of our errors where a library's code fails within the block: a foreign file can make it raise anything."""
    try:
        yield
    except CulnigError:
        raise
    except Exception as error:
        raise explained(name, error) from error


def _over_processes(
    name: str, place: Place, dtype: Any, device: torch.device, revision: str | None, more: _Options
) -> LanguageModel:
    """Load a model on the CPU of the main process, and shard it over the processes of the job."""
    from transformers import AutoConfig, AutoTokenizer

    from culnig.models.sharding import check_job, sharded

    check_job(device)
    if more.quantization is not None:
        raise UsageError("device map fsdp shards weights in their own dtype; leave out --quantize")
    if place.adapter and not more.merge_adapter:
        raise UsageError("device map fsdp needs the adapter in the weights: --merge-adapter")
    options = place_options(place, revision, more.trust)
    with _explaining(name):
        _check_files(place)
        config = AutoConfig.from_pretrained(place.weights, **options)
        tokenizer = AutoTokenizer.from_pretrained(place.tokenizer, **options)

    def whole() -> LanguageModel:
        host, alone = torch.device("cpu"), replace(more, device_map=None)
        with _explaining(name):
            return _from_gguf(place, dtype, host) if place.gguf else _from_place(place, dtype, host, revision, alone)

    return sharded(whole, config, tokenizer, device, trust=more.trust)


def place_options(place: Place, revision: str | None, trust: bool) -> dict[str, Any]:
    """Return arguments of `from_pretrained` for config, tokenizer and weights; only a hub id has a revision."""
    local = Path(place.source).exists()
    return {"revision": "main" if local else revision or "main", "trust_remote_code": trust, **place.gguf_options}


def dtype_of(dtype: str, device: torch.device) -> Any:
    """Return the dtype that a user's word means: "auto" is float32 on a CPU, and the checkpoint's own elsewhere."""
    return DTYPES.get(dtype, torch.float32 if device.type == "cpu" else "auto")


def _keep_differentiable(model: Any) -> Any:
    """Return a quantised model, which is already on its device and cannot be moved.

    On some CPUs bitsandbytes repacks 4-bit weights permanently at the first pass without gradients.  The packed form
    has no backward pass, so an evaluation would make scoring impossible.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _from_gguf(place: Place, dtype: Any, device: torch.device) -> LanguageModel:
    assert place.gguf is not None
    model, tokenizer = load_gguf(place.gguf)
    if isinstance(dtype, torch.dtype):
        model = model.to(dtype)
    return LanguageModel(model.to(device), tokenizer, name=place.name, source=place.source)


def explained(name: str, error: Exception) -> CulnigError:
    """Return one of our errors for a library's error about a model."""
    reason = " ".join(str(error).split())
    if isinstance(error, OSError) and not Path(name).exists():
        return UsageError(
            f"no model '{name}': no folder of that name here, and the hub does not provide it ({reason[:160]});"
            f" embedded: {', '.join(CATALOGUE)}"
        )
    if isinstance(error, json.JSONDecodeError):
        return ModelError(f"{name}: its config is not JSON ({reason})")
    return ModelError(f"{name} cannot be loaded: {type(error).__name__}: {reason[:300]}")


def with_adapter(model: Any, folder: Path, *, merge: bool) -> Any:
    """Return the model with the adapter, either separate from its weights or added to them."""
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(model, str(folder))
    return wrapped.merge_and_unload() if merge else wrapped
