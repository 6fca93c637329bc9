"""`python -m tests.fuzz [CASES] [--seed S]`: the cases of all kinds, with counts by kind and outcome."""

from __future__ import annotations

import argparse
import gc
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given
from hypothesis import seed as seeded
from hypothesis import settings as limits

from tests.fuzz import commands, documents, rows
from tests.fuzz.boundary import Tally, culnig, peak, table

SHARES = {
    "items, generated": 14, "items, mutated": 10, "table, csv": 9, "table, tsv": 6, "table, json": 4, "table, jsonl": 5,
    "table, parquet": 7, "YAML config": 8, "YAML user benchmark": 6, "template": 7, "neuron file": 7, "score file": 7,
    "result file": 4, "GGUF header": 2, "model folder": 1, "command line": 5,
}  # fmt: skip
"""Kind -> its share of the cases, in percent with what `sizes` adds."""
MOST = 16 << 30
"""Bytes of address space; more is an out-of-memory error, as on a small machine."""


def main() -> int:
    """Run the cases; return 1 if a traceback, a silent drop or another exit code was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("cases", nargs="?", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cell", type=int, default=100_000_000)
    asked = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="culnig-fuzz-") as scratch:
        os.chdir(scratch)  # command lines with relative names write here
        tally, said = fuzz(asked.cases, Path(scratch), asked.seed, asked.only, asked.rows, asked.cell)
    print(table(tally, list(tally.counts)))
    print(f"\nrows of data: {dict(tally.rows)}")
    print("\n".join(said))
    print(f"{tally.total:,} cases, {time.monotonic() - begun:.0f} s, peak {peak():,.0f} MiB, seed {asked.seed}")
    for each in tally.bad:
        print(f"\n--- {each}")
    return int(bool(tally.bad))


def fuzz(
    cases: int, folder: Path, seed: int = 0, only: str = "", many: int = 0, cell: int = 0
) -> tuple[Tally, list[str]]:
    """Run so many cases of all kinds; return the counts, and what sizes gave."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST, resource.getrlimit(resource.RLIMIT_AS)[1]))
    os.environ.setdefault("PIP_NO_INDEX", "1")
    rng = random.Random(seed)
    tally = Tally()
    material = documents.make(folder / "good")
    work = folder / "work"
    work.mkdir()
    gc.collect()
    gc.freeze()
    for kind, share in SHARES.items():
        if only in kind:
            begun = time.monotonic()
            number = max(1, cases * share // 100)
            _run(kind, number, material, work, tally, rng)
            print(f"{kind}: {number:,} cases, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    said = commands.sizes(work, tally, many, cell) if many and only in "sizes" else []
    return tally, said


def _run(kind: str, number: int, material: documents.Material, work: Path, tally: Tally, rng: random.Random) -> None:
    """Run the cases of one kind: drawn by hypothesis where they have a structure, else mutated."""
    strategies: dict[str, tuple[Any, Callable[[Any], None]]] = {
        "items, generated": (rows.item_rows, lambda drawn: rows.generated_items(drawn, work, tally, rng)),
        "YAML config": (documents.settings, lambda drawn: documents.config_file(drawn, material, work, tally, rng)),
        "neuron file": (documents.neuron_files, lambda drawn: documents.neuron_file(drawn, material, work, tally, rng)),
        "result file": (documents.result_rows, lambda drawn: documents.result_file(drawn, material, work, tally, rng)),
    }
    ending = kind.rpartition(" ")[2]
    if kind.startswith("table"):
        strategies[kind] = (rows.table_rows, lambda drawn: rows.user_table(drawn, ending, work, tally, rng))
    plain: dict[str, Callable[[], None]] = {
        "items, mutated": lambda: rows.mutated_items(work, tally, rng),
        "YAML user benchmark": lambda: documents.described(material, work, tally, rng),
        "template": lambda: documents.template(material, work, tally, rng),
        "score file": lambda: documents.score_file(material, work, tally, rng),
        "GGUF header": lambda: documents.gguf_file(material, work, tally, rng),
        "model folder": lambda: documents.model_folder(material, work, tally, rng),
        "command line": lambda: commands.command_line(material, work, tally, rng),
    }
    if kind in plain:
        for _ in range(number):
            plain[kind]()
        return
    strategy, call = strategies[kind]
    every = limits(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    before = tally.total
    while tally.total - before < number:  # hypothesis stops early where it believes to have seen everything
        seeded(rng.randrange(1 << 30))(every(given(strategy)(call)))()


if __name__ == "__main__":
    assert culnig("--version").code == 0
    sys.exit(main())
