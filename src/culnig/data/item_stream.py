"""Items that stay in their file: a large item file is checked once, and each item is parsed anew when it is asked for."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from culnig.data.item_files import lines_of, no_items, opened, parse_line
from culnig.data.items import Item
from culnig.errors import DataError
from culnig.parsing import require_file

CHUNK = 8_192
"""The number of items that are in memory together; a file of no more items is a list."""
Change = Callable[[Item], Item]


class ItemStream(Sequence[Item]):
    """The items of a file as a sequence that takes 8 bytes an item.

    The file is held open, so that it may be deleted; it must not be written to.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, starts: np.ndarray, change: Change | None = None, of: ItemStream | None = None):
        """Make a stream of the rows that begin at some bytes.

        Args:
            path: a file that `open_items` has checked.
            starts: int64 [items], where each row begins.
            change: what is done to each item.
            of: the stream whose open file is used.
        """
        self.path = path
        self._starts = starts
        self._change = change
        self._stream: BinaryIO = of._stream if of else opened(path)
        self._state: tuple[int, int] = of._state if of else self._seen()

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Item]:
        for start in range(0, len(self), CHUNK):
            yield from self.read(start, start + CHUNK)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> ItemStream: ...
    def __getitem__(self, index: int | slice) -> Item | ItemStream:
        if isinstance(index, slice):
            return ItemStream(self.path, self._starts[index], self._change, self)
        place = range(len(self))[index]
        return self.read(place, place + 1)[0]

    def read(self, start: int, stop: int) -> list[Item]:
        """Return the items from number `start` up to `stop`.

        Raises:
            DataError: the file has been changed since it was checked.
        """
        if self._seen() != self._state:
            raise DataError(f"{self.path}: it was changed while it was in use; run the same command again")
        items, place = [], -1
        for begin in self._starts[start:stop].tolist():
            if begin != place:
                self._stream.seek(begin)
            raw = self._stream.readline()
            place = begin + len(raw)
            # A line may end with a carriage return alone.
            item = parse_line(raw.splitlines()[0].decode("utf-8"), str(self.path))
            items.append(self._change(item) if self._change else item)
        return items

    def chunks(self) -> Iterator[list[Item]]:
        """Yield all items, `CHUNK` at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.read(start, start + CHUNK)

    def changed(self, change: Change) -> ItemStream:
        """Return the same items, each with a change."""
        before = self._change
        both = change if before is None else lambda item: change(before(item))
        return ItemStream(self.path, self._starts, both, self)

    def where(self, keep: Callable[[int, Item], bool]) -> ItemStream:
        """Return the items of which `keep(number, item)` is true."""
        kept = np.fromiter((keep(number, item) for number, item in enumerate(self)), bool, len(self))
        return ItemStream(self.path, self._starts[kept], self._change, self)

    def _seen(self) -> tuple[int, int]:
        found = os.fstat(self._stream.fileno())
        return found.st_size, found.st_mtime_ns


def open_items(path: Path | str) -> Sequence[Item]:
    """Read an item file as `read_items` does; if it has more than `CHUNK` items, they stay in the file.

    Raises:
        UsageError: the file does not exist.
        DataError: the file is empty or a row is broken; the message gives file, line and reason.
    """
    path = require_file(path, "an item file (JSON Lines)")
    starts, items = array("q"), []
    for number, start, line in lines_of(path):
        item = parse_line(line, f"{path}:{number}")
        starts.append(start)
        if len(starts) <= CHUNK:
            items.append(item)
        elif items:
            items.clear()
    if not starts:
        raise no_items(path)
    return items or ItemStream(path, np.frombuffer(starts, dtype=np.int64))


def in_memory(items: Any) -> Sequence[Item]:
    """Return the items as they are if they are a stream, else as a list."""
    return items if isinstance(items, ItemStream) else list(items)
