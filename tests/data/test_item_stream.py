"""Large item files: read line by line, left on the disk, and the same as lists in every result."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from bench.scale import write_items

from culnig import load_items
from culnig.data import Item, ItemStream, item_stream, items_hash, open_items, read_items, stream_items
from culnig.errors import DataError


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(item_stream, "CHUNK", 20)


@pytest.fixture
def path(tmp_path):
    write_items(tmp_path / "items.jsonl", 90)
    return tmp_path / "items.jsonl"


def test_a_stream_is_the_list(path, small_chunks):
    listed, stream = read_items(path), open_items(path)
    assert isinstance(stream, ItemStream) and len(stream) == 90
    assert list(stream) == listed and items_hash(stream) == items_hash(listed)
    assert stream[7] == listed[7] and stream[-1] == listed[-1] and list(stream[10:70:9]) == listed[10:70:9]
    assert [len(chunk) for chunk in stream.chunks()] == [20, 20, 20, 20, 10]
    chosen = {"countries": ["Iran", "China"], "limit_per_country": 15, "seed": 3}
    kept = stream_items(path, **chosen)
    assert isinstance(kept, ItemStream) and list(kept) == load_items(path, **chosen)
    path.unlink()
    assert list(stream) == listed  # the file is held open


def test_a_file_of_one_chunk_is_a_list(path):
    assert type(open_items(path)) is list and open_items(path) == read_items(path)


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n\n"])
def test_ends_of_lines_and_a_byte_order_mark(path, small_chunks, end):
    listed = read_items(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", end))
    assert read_items(path) == listed and list(open_items(path)) == listed


def test_a_broken_row_is_named_by_its_line(path, small_chunks):
    path.write_text(path.read_text() + "\n{}\n")
    with pytest.raises(DataError, match=r"items\.jsonl:92: field 'id'"):
        open_items(path)
    path.write_bytes(path.read_bytes().replace(b"{}", b'{"id": "\xff"}'))
    with pytest.raises(DataError, match="not UTF-8 text"):
        open_items(path)


def test_a_file_that_changes_is_refused(path, small_chunks):
    stream = open_items(path)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(DataError, match="changed while it was in use"):
        list(stream)


def _peak(call) -> int:
    """Return the peak of memory within a call, in bytes."""
    gc.collect()
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def _items_alive() -> int:
    """Return the number of items in memory, those of other tests included."""
    gc.collect()
    return sum(isinstance(thing, Item) for thing in gc.get_objects())


def test_prompts_of_a_stream_take_few_bytes(tmp_path, tiny, small_chunks):
    """An item with its prompt takes 5,000 bytes in memory; what scoring keeps of it takes 60."""
    from culnig.attribution.batch import prepare

    peaks, others = [], _items_alive()
    for number in (100, 1100):
        write_items(tmp_path / "items.jsonl", number)
        items = stream_items(tmp_path / "items.jsonl")
        made = []
        peaks.append(_peak(lambda: made.append(prepare(tiny, items, tiny.scoring_policy("mcf")))))  # noqa: B023
        batches = made[0].batches(range(number), 500)
        assert sorted(key for batch in batches for key in batch) == list(range(number))
        assert _items_alive() < others + 100
    assert peaks[1] - peaks[0] < 1000 * 300
