"""One measurement, in one of several processes or alone; process 0 writes it as JSON.  `bench.processes.measure` starts it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.compare import Job, matrix_rate
from bench.measure import peak_extra_bytes, status_bytes, timed
from bench.shapes import load, load_sharded
from culnig import distributed
from culnig.models import LanguageModel
from culnig.passes.forward import answer_logprobs, collate
from culnig.passes.in_step import share_in_step
from culnig.passes.memory import give_back_memory, padded_tokens
from culnig.run._plan_memory import shape_of

WAYS = ("forward", "scoring", "straightforward")
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""FLOP/s of dense bfloat16 products by the makers' data sheets (of the SXM boards), by what the device's name holds."""


def figures(lm: LanguageModel, job: Job, ways: list[str], repeats: int) -> dict[str, Any]:
    """Measure seconds and memory of each way; None and a reason where memory does not suffice."""
    shape = shape_of(lm)
    flops = sum(shape.scoring(row) for rows in job.batches for row in rows)
    found: dict[str, Any] = {
        "model": lm.name, "layers": lm.num_layers, "dtype": str(lm.dtype).removeprefix("torch."),
        "processes": distributed.size(), "sharded": lm.is_sharded, "machine": machine(lm.device), "device": lm.device.type,
        "items": len(job.items), "tokens": job.tokens,
        "padding": 1 - job.tokens / sum(padded_tokens(rows) for rows in job.batches),
        "flops": flops, "seconds": {}, "items_per_second": {}, "tokens_per_second": {}, "memory": {}, "failed": {},
    }  # fmt: skip
    for way in ways:
        try:
            memory, seconds = _measured(lm, _runs(lm, job)[way], repeats)
        except torch.OutOfMemoryError:
            if distributed.size() > 1:
                raise  # the other processes would wait for this one
            found["failed"][way] = "out of memory"
            give_back_memory()
            continue
        found["seconds"][way], found["memory"][way] = seconds, memory
        found["items_per_second"][way] = len(job.items) / seconds
        found["tokens_per_second"][way] = job.tokens / seconds
    if seconds := found["seconds"].get("scoring"):
        rate = matrix_rate(lm.dtype, lm.device)
        nominal = next((peak for name, peak in PEAK.items() if name in found["machine"]), None)
        each = flops / seconds / distributed.size()
        found |= {"flop_rate": each, "matrix_rate": rate, "of_matrix_rate": each / rate}
        found |= {"mfu": each / nominal if nominal and lm.dtype in (torch.bfloat16, torch.float16) else None}
    if {"scoring", "straightforward"} <= found["seconds"].keys():
        found["times_faster"] = found["seconds"]["straightforward"] / found["seconds"]["scoring"]
    return found


def _runs(lm: LanguageModel, job: Job) -> dict[str, Callable[[], None]]:
    return {"forward": lambda: _forward(lm, job), "scoring": job.scoring, "straightforward": job.straightforward}


@torch.no_grad()
def _forward(lm: LanguageModel, job: Job) -> None:
    """A plain forward pass over this process's share of the batches."""
    for rows, _ in share_in_step(lm, job.batches):
        answer_logprobs(lm, collate(rows, lm.device))


def _measured(lm: LanguageModel, run: Callable[[], None], repeats: int) -> tuple[dict[str, int], float]:
    """Return memory in bytes, beyond what was held and the process's most, and the median seconds of all processes together."""
    beyond = peak_extra_bytes(run, lm.device)  # warms up, too
    cuda = lm.device.type == "cuda"
    whole = torch.cuda.max_memory_allocated(lm.device) if cuda else status_bytes("VmHWM")
    times = []
    for _ in range(repeats):
        distributed.wait()
        times.append(timed(lambda: (run(), distributed.wait())))
    return {"beyond": beyond, "peak": whole}, sorted(times)[len(times) // 2]


def machine(device: torch.device) -> str:
    """Return the device's name and what it computes with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.worker", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--fsdp", action="store_true", help="shard the model over the processes")
    parser.add_argument("--pin", action="store_true", help="one core and one thread a process")
    given = parser.parse_args()
    if given.pin:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[distributed.rank() % len(cores)]})
        torch.set_num_threads(1)
    own = distributed.device()
    device = own if own is not None and given.device == "cuda" else torch.device(given.device)
    with distributed.guard(), tempfile.TemporaryDirectory() as scratch:
        lm = (load_sharded if given.fsdp else load)(given.model, given.layers, getattr(torch, given.dtype), device)
        job = Job(lm, given.items, given.batch_size, Path(scratch))
        found = figures(lm, job, given.only, given.repeats)
        if distributed.is_main():
            given.out.write_text(json.dumps(found, indent=1))
        distributed.wait()
    distributed.finish()


if __name__ == "__main__":
    main()
