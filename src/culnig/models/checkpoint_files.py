"""The files of a checkpoint that culnig wrote: signed with their hashes, and verified before they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culnig.errors import ModelError
from culnig.files import read_json, sha256_file, write_json

ORIGIN = "culnig.json"
"""File of a checkpoint that says where it comes from."""
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".msgpack", ".h5")
"""Endings of weight files that a reader has to execute, or that transformers converts from such."""
_WEIGHTS = ("pytorch_model", "adapter_model", "model", "tf_model", "flax_model", "consolidated")


def sign(folder: Path, origin: Mapping[str, Any]) -> None:
    """Write `culnig.json`: where a checkpoint comes from, and the SHA-256 of each of its files."""
    files = {
        path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != ORIGIN
    }
    write_json(folder / ORIGIN, {**origin, "files": files})


def is_signed(folder: Path) -> bool:
    """Return whether a checkpoint holds the hashes of its files."""
    origin = folder / ORIGIN
    return origin.is_file() and isinstance(read_json(origin, "the origin of a checkpoint").get("files"), dict)


def verify(folder: Path) -> None:
    """Check the files of a checkpoint that culnig wrote; others, and those of version 0.1, have no hashes.

    Raises:
        ModelError: a file is missing or has other bytes.
        DataError: `culnig.json` itself is damaged.
    """
    if not (folder / ORIGIN).is_file():
        return
    origin = read_json(folder / ORIGIN, "the origin of a checkpoint")
    files = origin.get("files") if isinstance(origin, dict) else None
    for name, digest in files.items() if isinstance(files, dict) else ():
        path = folder / Path(name).name
        if not path.is_file():
            raise ModelError(f"{folder}: damaged: {name} is missing; make the checkpoint again")
        if sha256_file(path) != digest:
            raise ModelError(f"{path}: damaged: its bytes are not those that were written; make the checkpoint again")


def _safe_weights(folder: Path) -> list[Path]:
    """Return the weight files of a folder that are safetensors."""
    return sorted(path for path in folder.glob("*.safetensors") if path.name.startswith(_WEIGHTS))


def check_sizes(folder: Path) -> None:
    """Check that a folder's config describes no larger model than its weights hold, before one of that size is made.

    Raises:
        ModelError: it does, or a header is damaged.
    """
    from safetensors import SafetensorError, safe_open

    config = read_json(folder / "config.json", "a model's config") if (folder / "config.json").is_file() else {}
    tensors, largest = 0, 0
    for path in _safe_weights(folder):
        try:
            with safe_open(str(path), framework="numpy") as archive:
                for key in archive.keys():  # noqa: SIM118  it is no dictionary
                    tensors, largest = tensors + 1, max(largest, *archive.get_slice(key).get_shape(), 0)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path}: damaged, or no safetensors file ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict) or not tensors:
        return
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        for field, most in (("num_hidden_layers", tensors), ("hidden_size", largest), ("vocab_size", largest)):
            stated = part.get(field)
            if isinstance(stated, int | float) and stated > most:
                raise ModelError(f"{folder}: config.json has {field} {stated:,}, which its weights do not hold")


def refuse_pickles(folder: Path) -> None:
    """Refuse a folder whose weights are pickled: reading a pickle can run code.

    A folder that holds safetensors is read from them, and what else lies there is not opened.

    Raises:
        ModelError: the folder has weights, and none of them in safetensors.
    """
    if _safe_weights(folder):
        return
    for path in sorted(folder.iterdir()):
        if path.suffix in PICKLES and path.name.startswith(_WEIGHTS):
            raise ModelError(
                f"{path}: pickled weights can run code and are not read; convert them to safetensors"
                " (model.save_pretrained) where you trust them"
            )
