"""`python -m bench.processes`: scoring in two processes on two cores, against one process on one core.

The two processes have a copy of the model each, or share one (`device_map="fsdp"`).

Each process is pinned to a core of its own and computes with one thread.  Loading is not counted, and neither is the start.
`measure` serves `python -m bench --gpu` too, where each process has a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Failed(Exception):
    """A measurement ended with an error; the message is that error's."""


def measure(model: str, processes: int, options: Sequence[str]) -> dict[str, Any]:
    """Run `bench.worker` in so many processes on one job, and return what it measured.

    Args:
        model: an alias, or the name of a shape (`bench.shapes`).
        processes: how many; more than one are started by torchrun.
        options: further options of `bench.worker`.

    Raises:
        Failed: the processes ended with an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [
            sys.executable,
            *(launch if processes > 1 else []),
            "-m",
            "bench.worker",
            model,
            "--out",
            str(out),
            *options,
        ]
        source = os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]))
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": source}, capture_output=True, text=True)
        if done.returncode or not out.is_file():
            raise Failed(_reason(done.stderr))
        return json.loads(out.read_text())


def _reason(output: str) -> str:
    """Return the message of the first error that processes printed, or their last line."""
    if found := re.search(r"^(?:\[rank\d+\]: ?)?(?:\w+\.)*\w+Error: (.+)$", output, re.MULTILINE):
        return found[1]
    return (output.strip().splitlines() or ["they said nothing"])[-1].strip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.processes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        print("python -m bench.processes: two cores to pin processes to are needed", file=sys.stderr)
        return 2
    options = ["--items", str(given.items), "--repeats", str(given.repeats), "--pin", "--only", "forward", "scoring"]
    try:
        one, two = (measure(given.model, number, options) for number in (1, 2))
        shared = measure(given.model, 2, [*options, "--fsdp"])
    except Failed as error:
        print(f"python -m bench.processes: {error}", file=sys.stderr)
        return 1
    print(f"{given.model}, {one['items']} items, {one['tokens']:,} tokens, one thread a process, {one['machine']}")
    print(f"{'':<16}{'one process, s':>16}{'two processes, s':>18}{'ratio':>8}{'sharded, s':>20}{'ratio':>8}")
    for way, bar in (("forward", ""), ("scoring", ">= 1.7 unsharded")):
        a, b, c = (found["seconds"][way] for found in (one, two, shared))
        print(f"{way:<16}{a:16.2f}{b:18.2f}{a / b:8.2f}{c:20.2f}{a / c:8.2f}   {bar}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
