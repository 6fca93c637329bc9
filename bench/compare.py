"""`python -m bench.compare`: our scoring, the plain passes it is made of, and the straightforward way, side by side.

On the embedded model, and on randomly initialised models of the paper's six shapes with as many layers as fit:

    python -m bench.compare smollm2-135m
    python -m bench.compare all --layers 2 --dtype bfloat16 --items 8
    python -m bench.compare gemma-3-12b --device cuda --dtype bfloat16 --items 256 --repeats 1
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import culnig
from bench import straightforward
from bench.measure import best_of, peak_extra_bytes
from bench.shapes import SHAPES, load
from culnig.models import LanguageModel
from culnig.passes.cpu_kernels import fast_linear
from culnig.passes.forward import Row, answer_logprobs, batches, collate
from culnig.prompts import encode, render
from culnig.run._plan_memory import shape_of


@dataclass(frozen=True)
class Figures:
    """One way on one model: seconds, bytes of memory, bytes on disk."""

    way: str
    seconds: float
    memory: int
    disk: int = 0


class Job:
    """The same items in every way."""

    def __init__(self, lm: LanguageModel, count: int, batch_size: int, scratch: Path) -> None:
        self.lm = lm
        items = culnig.load_items("everyday:neur", countries=["China", "Mexico", "Spain", "UK"], draws=1)
        self.items = (items * (1 + count // len(items)))[:count]
        self.policy = lm.policy("mcf")
        self.encoded = encode(render(self.items, self.policy), lm.tokenizer, self.policy, lm.max_length)
        rows = [Row(key, e.prompt_ids, e.answer_ids) for key, e in enumerate(self.encoded)]
        self.batches = batches(rows, lm.token_budget)
        self.tokens = sum(row.length for row in rows)
        self.batch_size = batch_size
        self.scratch = scratch

    @torch.no_grad()
    def forward(self) -> None:
        for rows in self.batches:
            answer_logprobs(self.lm, collate(rows, self.lm.device))

    def backward(self) -> None:
        """Forward and backward with frozen weights: what a training framework would do for the inputs' gradients."""
        for rows in self.batches:
            batch = collate(rows, self.lm.device)
            embedded = self.lm.model.get_input_embeddings()(batch.input_ids).detach().requires_grad_(True)
            answer_logprobs(self.lm, batch, embedded).answer_logprobs.sum().backward()

    def scoring(self) -> None:
        culnig.score(self.lm, self.items, policy=self.policy).save(self.scratch / "scores.safetensors")

    def straightforward(self) -> None:
        straightforward.score(self.lm, self.encoded, self.scratch / "scores.json", self.batch_size)

    def ways(self) -> dict[str, tuple[Callable[[], None], str]]:
        """Name -> (what to run, the file it writes)."""
        return {
            "plain forward": (self.forward, ""),
            "forward + backward, frozen": (self.backward, ""),
            "culnig score": (self.scoring, "scores.safetensors"),
            "the straightforward way": (self.straightforward, "scores.json"),
        }

    def measure(self, repeats: int) -> list[Figures]:
        ways = self.ways()
        self.forward()  # weights are read from disk at first use
        memory = {name: peak_extra_bytes(run, self.lm.device) for name, (run, _) in ways.items()}  # warms up, too
        seconds = best_of(repeats, *(run for run, _ in ways.values()))
        disk = {name: (self.scratch / file).stat().st_size if file else 0 for name, (_, file) in ways.items()}
        return [Figures(name, s, memory[name], disk[name]) for name, s in zip(ways, seconds, strict=True)]


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Measured FLOP/s of a large matrix product, with the kernels that scoring uses."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    with torch.no_grad(), fast_linear(torch.device("cpu")):
        return 2 * size**3 / min(best_of(1, lambda: torch.nn.functional.linear(a, b))[0] for _ in range(6))


def show(lm: LanguageModel, job: Job, figures: list[Figures], rate: float) -> None:
    ours = next(f for f in figures if f.way == "culnig score")
    print(f"\n{lm.name}: {lm.num_layers} layers, {lm.num_neurons:,} neurons, {lm.dtype}, {lm.device}; {len(job.items)} items,"
          f" {job.tokens:,} tokens")  # fmt: skip
    print(f"{'':<28}{'s':>9}{'x culnig':>10}{'memory, MB':>12}{'x culnig':>10}{'disk, MB':>10}{'x culnig':>10}")
    for f in figures:
        disk = f"{f.disk / 1e6:10.2f}{f.disk / ours.disk:10.2f}" if f.disk else ""
        print(f"{f.way:<28}{f.seconds:9.2f}{f.seconds / ours.seconds:10.2f}{f.memory / 1e6:12.0f}"
              f"{f.memory / max(1, ours.memory):10.2f}{disk}")  # fmt: skip
    shape = shape_of(lm)
    flops = 4 * shape.layer_weights * job.tokens
    print(
        f"{len(job.items) / ours.seconds:.1f} items a second; 4 x layer weights x tokens at {flops / ours.seconds / 1e12:.2f}"
        f" TFLOP/s: {flops / ours.seconds / rate:.0%} of the measured {rate / 1e12:.2f} TFLOP/s matrix rate"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help=f"an alias; or a shape: {', '.join(SHAPES)}; or all (shapes)")
    parser.add_argument("--layers", type=int, help="layers of the random models; all of them if not given")
    parser.add_argument("--items", type=int, default=16, help="items; four times as many are measured as well")
    parser.add_argument("--batch-size", type=int, default=4, help="of the straightforward way")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stock-kernels", action="store_true", help="PyTorch's own kernels for culnig, too")
    arguments = parser.parse_args()
    os.environ["CULNIG_ONEDNN"] = "0" if arguments.stock_kernels else "1"
    dtype, device = getattr(torch, arguments.dtype), torch.device(arguments.device)
    rate = matrix_rate(dtype, device)
    for name in SHAPES if arguments.models == ["all"] else arguments.models:
        lm = load(name, arguments.layers, dtype, device)
        for count in (arguments.items, 4 * arguments.items):
            with tempfile.TemporaryDirectory() as scratch:
                job = Job(lm, count, arguments.batch_size, Path(scratch))
                show(lm, job, job.measure(arguments.repeats), rate)
        del lm, job
        gc.collect()


if __name__ == "__main__":
    main()
