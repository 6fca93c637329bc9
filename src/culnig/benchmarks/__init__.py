"""Benchmarks: raw rows -> `Item`.  One file a benchmark; `load_items` finds them by name."""

from culnig.benchmarks._base import BENCHMARKS, Account, Benchmark, Item, ItemList, Split, account_of
from culnig.benchmarks._files import read_items, write_items
from culnig.benchmarks._load import load_items, parse_name, with_place

__all__ = [
    "BENCHMARKS",
    "Account",
    "Benchmark",
    "Item",
    "ItemList",
    "Split",
    "account_of",
    "load_items",
    "parse_name",
    "read_items",
    "with_place",
    "write_items",
]
