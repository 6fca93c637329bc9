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


def refuse_pickles(folder: Path) -> None:
    """Refuse a folder whose weights are pickled: reading a pickle can run code.

    A folder that holds safetensors is read from them, and what else lies there is not opened.

    Raises:
        ModelError: the folder has weights, and none of them in safetensors.
    """
    if any(folder.glob("*.safetensors")):
        return
    for path in sorted(folder.iterdir()):
        if path.suffix in PICKLES and path.name.startswith(_WEIGHTS):
            raise ModelError(
                f"{path}: pickled weights can run code and are not read; convert them to safetensors"
                " (model.save_pretrained) where you trust them"
            )
