"""Encoded prompts of items that stay in their file: a chunk of items is rendered and encoded when a prompt is asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from culnig.data import ItemStream, item_stream
from culnig.prompts.encoding import Encoded, encode_anew
from culnig.prompts.policies import PromptPolicy
from culnig.prompts.rendering import render


class EncodedStream(Sequence[Encoded]):
    """The encoded prompts of a stream of items, of which the latest chunk is in memory.

    Whoever asks for prompts in the order of their numbers, up to the order within a chunk, pays for each chunk once.

    Attributes:
        starts: the number of each chunk's first prompt, and the number of prompts.
    """

    def __init__(
        self,
        items: ItemStream,
        tokenizer: Any,
        policy: PromptPolicy,
        max_length: int | None,
        seen: Callable[[list[Encoded]], None],
    ) -> None:
        """Encode all prompts once, so that one which cannot be put to the model is found before any work.

        Args:
            items: the items.
            tokenizer, policy, max_length: as for `encode`.
            seen: called with each chunk's prompts.

        Raises:
            PromptError: as for `encode`.
        """
        self._items, self._size = items, item_stream.CHUNK
        self._encode: Callable[[list[Any]], list[Encoded]] = lambda part: encode_anew(
            render(part, policy), tokenizer, policy, max_length
        )
        self.starts = [0]
        self._latest: tuple[int, list[Encoded]] = (-1, [])
        for chunk in range(-(-len(items) // self._size)):
            found = self._read(chunk)
            self.starts.append(self.starts[-1] + len(found))
            seen(found)
            del found  # before the next chunk comes

    def __len__(self) -> int:
        return self.starts[-1]

    def __iter__(self) -> Iterator[Encoded]:
        for chunk in range(len(self.starts) - 1):
            yield from self._chunk(chunk)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        chunk = bisect_right(self.starts, number) - 1
        return self._chunk(chunk)[number - self.starts[chunk]]

    def _chunk(self, chunk: int) -> list[Encoded]:
        if self._latest[0] != chunk:
            self._latest = (-1, [])  # the former chunk goes before the next one comes
            self._latest = (chunk, self._read(chunk))
        return self._latest[1]

    def _read(self, chunk: int) -> list[Encoded]:
        return self._encode(self._items.read(chunk * self._size, (chunk + 1) * self._size))
