"""Benchmarks: raw rows -> `Item`.  One file a benchmark; `load_items` finds them by name."""

from culnig.benchmarks._base import BENCHMARKS, Account, Benchmark, Item, ItemList, Split, account_of
from culnig.benchmarks._files import read_items, write_items
from culnig.benchmarks._load import load_items, parse_name, with_place
from culnig.benchmarks._texts import load_texts

__all__ = [
    "BENCHMARKS",
    "Account",
    "Benchmark",
    "Item",
    "ItemList",
    "Split",
    "account_of",
    "load_items",
    "load_texts",
    "parse_name",
    "read_items",
    "with_place",
    "write_items",
]
