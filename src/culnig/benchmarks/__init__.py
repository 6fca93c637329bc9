"""Benchmarks: raw rows -> `Item`.  One file a benchmark; `load_items` finds them by name."""

from culnig.benchmarks._base import BENCHMARKS, Benchmark, Item, Split
from culnig.benchmarks._files import read_items, write_items
from culnig.benchmarks._load import load_items
from culnig.benchmarks._texts import load_texts

__all__ = ["BENCHMARKS", "Benchmark", "Item", "Split", "load_items", "load_texts", "read_items", "write_items"]
