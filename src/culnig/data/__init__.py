"""Items and their accounts, the sources of rows, checks of items, texts, countries and languages."""

from culnig.data.item_files import items_hash, read_items, write_items
from culnig.data.item_stream import ItemStream, in_memory, open_items
from culnig.data.items import BENCHMARKS, Account, Answer, Benchmark, Item, ItemList, Split, account_of
from culnig.data.load import DataConfig, current_name, load_items, parse_name, stream_items, with_place
from culnig.data.texts import load_languages, load_texts

__all__ = [
    "BENCHMARKS",
    "Account",
    "Answer",
    "Benchmark",
    "DataConfig",
    "Item",
    "ItemList",
    "ItemStream",
    "Split",
    "account_of",
    "current_name",
    "in_memory",
    "items_hash",
    "load_items",
    "load_languages",
    "load_texts",
    "open_items",
    "parse_name",
    "read_items",
    "stream_items",
    "with_place",
    "write_items",
]
