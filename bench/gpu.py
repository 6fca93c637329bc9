"""`python -m bench --gpu`: the six shapes on GPUs, ours against the straightforward way, in 1, 4 and 8 processes.

One JSON file holds, for each shape and number of processes, seconds, items and tokens a second, FLOP/s, MFU and peak memory.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from bench.processes import Failed, measure
from bench.shapes import SHAPES
from culnig.versions import versions

PROCESSES = (1, 4, 8)


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("--gpu")
    group.add_argument("--gpu", action="store_true", help="measure the six shapes on GPUs instead")
    group.add_argument("--device", default="cuda", help="cpu tries the way of a measurement without a GPU")
    group.add_argument("--shapes", nargs="+", default=list(SHAPES), help="shapes, or trial, which is tiny")
    group.add_argument("--layers", type=int, help="layers of the shapes; all of them if not given")
    group.add_argument("--items", type=int, default=256)
    group.add_argument("--repeats", type=int, default=3)
    group.add_argument("--fsdp", action="store_true", help="several processes share one model (device map fsdp)")
    group.add_argument("--processes", type=int, nargs="+", help="1, 4 and 8 where there are as many GPUs, if not given")


def run(given: argparse.Namespace) -> int:
    """Measure, print a table and write one JSON; return the exit code."""
    there = torch.cuda.device_count() if given.device == "cuda" else None
    if there == 0:
        print(
            "python -m bench --gpu: PyTorch sees no GPU here; --device cpu --shapes trial tries its way without one",
            file=sys.stderr,
        )
        return 2
    numbers = given.processes or [n for n in PROCESSES if n <= (there or 1)]
    if there is not None and max(numbers) > there:
        print(f"python -m bench --gpu: {max(numbers)} processes need as many GPUs; there are {there}", file=sys.stderr)
        return 2
    rows = [row for shape in given.shapes for row in _shape(given, shape, numbers)]
    path = given.json or Path("bench-gpu.json")
    path.write_text(json.dumps({"versions": versions(), "rows": rows}, indent=1))
    print(f"written to {path}")
    return 1 if any("error" in row for row in rows) else 0


def _shape(given: argparse.Namespace, shape: str, numbers: list[int]) -> list[dict[str, Any]]:
    """Measure one shape; the straightforward way knows one process only."""
    rows = []
    for number in numbers:
        ways = ["forward", "scoring", *(["straightforward"] if number == 1 else [])]
        options = ["--device", given.device, "--dtype", "bfloat16" if given.device == "cuda" else "float32"]
        options += ["--items", str(given.items), "--repeats", str(given.repeats), "--only", *ways]
        options += ["--layers", str(given.layers)] if given.layers else []
        options += ["--fsdp"] if given.fsdp and number > 1 else []
        try:
            rows.append(measure(shape, number, options))
            print(line(rows[-1]), flush=True)
        except Failed as error:
            rows.append({"model": shape, "processes": number, "error": str(error)})
            print(f"{shape}, {number} processes: {error}", file=sys.stderr)
    return rows


def line(row: dict[str, Any]) -> str:
    """Return one measurement as a line of the table."""
    parts = [f"{row['model']}, {row['layers']} layers, {row['processes']} x {row['machine']}"]
    parts += ["one model on all (fsdp)"] if row["sharded"] else []
    if "scoring" in row["seconds"]:
        seconds, memory = row["seconds"], row["memory"]["scoring"]
        parts += [
            f"{row['items_per_second']['scoring']:.1f} items/s, {row['tokens_per_second']['scoring']:,.0f} tokens/s",
            f"scoring / forward {seconds['scoring'] / seconds['forward']:.2f}" if "forward" in seconds else "",
            f"{row['of_matrix_rate']:.0%} of the matrix rate",
            f"MFU {row['mfu']:.0%}" if row["mfu"] is not None else "",
            f"peak {memory['peak'] / 1e9:.2f} GB",
            f"{row['times_faster']:.1f} x the straightforward way" if "times_faster" in row else "",
        ]
    parts += [f"{way}: {why}" for way, why in row["failed"].items()]
    return "; ".join(part for part in parts if part)
