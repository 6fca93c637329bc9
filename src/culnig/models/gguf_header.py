"""Check the header of a GGUF file before a library reads it: every count and length must fit into the file.

The reader of the package `gguf` believes counts, so a damaged or hostile header can make it work for hours or take all
memory.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

from culnig.errors import ModelError

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Kind of a value -> its bytes; 8 is a text, 9 an array."""
_UNSIGNED, _TEXT, _ARRAY = 4, 8, 9
WIDTHS = ("embedding_length", "feed_forward_length", "head_count")
"""Fields that no tensor is narrower than; a larger one would make a model that the file does not hold."""
DEEPEST = 3
"""Arrays in arrays, at most."""
MOST_DIMS = 8


def check_header(path: Path) -> None:
    """Walk through the header of a GGUF file.

    Raises:
        ModelError: it is no GGUF file, or the header promises more than the file holds.
    """
    try:
        with path.open("rb") as stream:
            _Header(stream, path.stat().st_size).check()
    except _Wrong as error:
        raise ModelError(f"{path}: not a GGUF file, or a damaged one: {error}") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


class _Wrong(Exception):
    """What is wrong with a header."""


class _Header:
    """A walk through a header, with every length checked against what is left of the file."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        self.left = size
        self.size = size

    def check(self) -> None:
        if self.take(4, "the magic number") != b"GGUF":
            raise _Wrong("it does not begin with GGUF")
        version = self.number("<I", "the version")
        if version not in (2, 3):
            raise _Wrong(f"version {version}; versions 2 and 3 are read")
        tensors, fields = self.number("<Q", "the count of tensors"), self.number("<Q", "the count of fields")
        self.fits(tensors, 24, "tensors")
        self.fits(fields, 12, "fields")
        stated: dict[str, int] = {}
        for _ in range(fields):
            name = self.text("the name of a field")
            found = self.value(self.number("<I", "the kind of a field"), 0)
            if found is not None:
                stated[name.rpartition(".")[2]] = found
        largest = max((self.tensor() for _ in range(tensors)), default=0)
        if stated.get("block_count", 0) > tensors:
            raise _Wrong(f"{stated['block_count']:,} layers, and {tensors:,} tensors")
        for key in WIDTHS:
            if stated.get(key, 0) > largest:
                raise _Wrong(f"{key} {stated[key]:,}, and no tensor is so wide")

    def tensor(self) -> int:
        """Check a tensor's entry; return its largest dimension."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self.text("the name of a tensor")
        dims = self.number("<I", "the dimensions of a tensor")
        if dims > MOST_DIMS:
            raise _Wrong(f"a tensor of {dims} dimensions")
        shape = [self.number("<Q", "the shape of a tensor") for _ in range(dims)]
        kind = self.number("<I", "the kind of a tensor")
        offset = self.number("<Q", "the place of a tensor")
        if kind not in set(GGMLQuantizationType):
            raise _Wrong(f"the tensor {name!r} is of the unknown kind {kind}")
        block, width = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if offset + math.prod(shape) * width // block > self.size:
            raise _Wrong(f"the tensor {name!r} is larger than the file")
        return max(shape, default=0)

    def value(self, kind: int, depth: int) -> int | None:
        """Check a value; return it if it is an unsigned number of four bytes."""
        if kind == _TEXT:
            self.text("a text")
        elif kind == _ARRAY:
            inner = self.number("<I", "the kind of an array")
            count = self.number("<Q", "the length of an array")
            if depth >= DEEPEST:
                raise _Wrong("arrays in arrays in arrays")
            self.fits(count, _SIZES.get(inner, 8), "values of an array")
            if inner in _SIZES:
                self.skip(count * _SIZES[inner])
            else:
                for _ in range(count):
                    self.value(inner, depth + 1)
        elif kind == _UNSIGNED:
            return self.number("<I", "a number")
        elif kind in _SIZES:
            self.skip(_SIZES[kind])
        else:
            raise _Wrong(f"a field of the unknown kind {kind}")
        return None

    def text(self, what: str) -> str:
        length = self.number("<Q", what)
        self.fits(length, 1, f"bytes of {what}")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Wrong(f"{what} is not UTF-8") from error

    def number(self, kind: str, what: str) -> int:
        return int(struct.unpack(kind, self.take(struct.calcsize(kind), what))[0])

    def fits(self, count: int, width: int, what: str) -> None:
        if count * width > self.left:
            raise _Wrong(f"{count:,} {what} do not fit into the file")

    def skip(self, size: int) -> None:
        self.left -= size
        self.stream.seek(size, 1)

    def take(self, size: int, what: str) -> bytes:
        if size > self.left:
            raise _Wrong(f"it ends within {what}")
        self.left -= size
        return self.stream.read(size)
