"""What the command line says of an error: one line, without secrets and without what would move the cursor."""

from __future__ import annotations

import os
import re

SECRETS = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.IGNORECASE)
"""Variables of the environment whose values are never printed."""
_IN_URL = re.compile(r"(\w+://)[^/\s@]+@")
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
LONGEST = 2_000
"""Characters of a line; more than that no one reads, and a cell of a file may have millions."""


def without_secrets(text: str) -> str:
    """Return a text without tokens, and without the user and password of a URL."""
    for name, value in os.environ.items():
        if SECRETS.search(name) and len(value) >= 6:
            text = text.replace(value, "***")
    return _HUB_TOKEN.sub("hf_***", _IN_URL.sub(r"\1***@", text))


def printable(text: str) -> str:
    """Return a text as one line of limited length that every terminal can show.

    Control characters and halves of surrogate pairs become escapes, and so do characters that reverse or hide text.
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}"
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return " " if char in "\n\r\t" else f"\\u{ord(char):04x}"


def explained(error: Exception) -> str | None:
    """Return one line for an error of the machine: its files, its memory or its devices; None for a bug."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or _out_of_memory(error):
        return (
            "out of memory with the smallest batch; what is done is kept: use a larger device, --dtype bfloat16,"
            f" a smaller token budget, shorter prompts or --device-map auto ({said[:160] or 'MemoryError'})"
        )
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        return f"{where}{error.strerror or said}; what is done is kept, and the same command goes on from there"
    if isinstance(error, RuntimeError) and ("CUDA error" in said or "NCCL" in said or "Gloo" in said):
        return f"the device or the connection to another process failed: {said[:300]}"
    return None


def _out_of_memory(error: Exception) -> bool:
    if type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in said or "out of memory" in said)
