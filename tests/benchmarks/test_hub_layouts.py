"""Every benchmark on the hub, in the layout of its data card: found there, and in a copy of the hub's files."""

from __future__ import annotations

import shutil

import pytest

from culnig import load_items
from culnig.data import BENCHMARKS
from culnig.data.sources import External
from tests.helpers.public_rows import HUBS, write_hub

FIRST = {"blend": "neur", "blend_built": "neur"}
"""Benchmark -> the split to read, where none is the default."""
NOT_ON_THE_HUB = {"fork", "geomlama", "world_values", "blend_short"}
ITEMS = {
    "blend": 4, "blend_built": 14, "culturalbench": 8, "normad": 3, "commonsenseqa": 1, "qnli": 1, "mrpc": 1, "qnli_train": 1, "mrpc_train": 1,
    "commonsenseqa_train": 1,
    "copal": 4, "global_mmlu_cs": 4, "include": 4, "mmlu": 4, "arc_easy": 2, "arc_challenge": 2, "hellaswag": 1,
    "piqa": 2, "winogrande": 1, "blimp": 6, "lambada": 1,
}  # fmt: skip


def test_every_benchmark_of_others_has_its_layout_here():
    external = {name for name, benchmark in BENCHMARKS.items() if isinstance(benchmark, External)}
    assert external == {*HUBS, *NOT_ON_THE_HUB} == {*ITEMS, *NOT_ON_THE_HUB}


@pytest.mark.parametrize("name", sorted(HUBS))
def test_the_hub_and_its_files_give_the_same(name, data, tmp_path):
    split = f"{name}:{FIRST.get(name, 'all')}" if name in FIRST else name
    write_hub(tmp_path, name)
    items = load_items(split)
    assert len(items) == ITEMS[name] and items.account.source.startswith(HUBS[name].hub)
    made = {i.id.rpartition("/")[0] for i in items} if name == "blend_built" else items
    assert items.account.rows == len(made) + sum(items.account.left_out.values())
    if name != "blend_built" and not name.startswith("copal"):  # their files are others than the hub's Parquet files
        folder = data / BENCHMARKS.get(name).folder
        shutil.copytree(tmp_path / HUBS[name].hub, folder)
        shutil.rmtree(tmp_path / HUBS[name].hub)
        copied = load_items(split)
        assert copied == items and str(folder) in copied.account.source
