"""`python -m bench.scale`: peak memory and speed of scoring, evaluation and statistics by the number of items.

Each command runs in a process of its own, on a random model of one layer, and its peak resident memory is what the system
counted for it.  Items are multiple-choice questions that are written line by line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

COUNTRIES = ("China", "Iran", "Spain", "Mexico")
NUMBERS = (10_000, 100_000, 1_000_000)
VERBS = ("score", "eval", "answer")
BUDGET = 16_384


def write_items(path: Path, number: int, *, short: bool = False) -> None:
    """Write generated items as JSON Lines: questions with four options, or questions for short answers."""
    rng = random.Random(number)

    def words(count: int) -> str:
        return " ".join(f"w{rng.randrange(400)}" for _ in range(count))

    with path.open("w", encoding="utf-8") as stream:
        for i in range(number):
            row: dict[str, Any] = {
                "id": f"q{i}", "benchmark": "scale", "country": COUNTRIES[i % 4],
                "question": words(rng.randint(3, 8)),
            }  # fmt: skip
            if short:
                row |= {"language": "en", "answers": [{"texts": [words(1)]}]}
            else:
                row |= {"options": [f"{word} {i}" for word in ("w1", "w2", "w3", "w4")], "answer": i % 4}
            stream.write(json.dumps(row) + "\n")


def write_model(folder: Path) -> Path:
    """Write a random model of one layer of width 8, with its tokenizer."""
    from bench.tiny import build, tokenizer

    model = build(
        "llama", hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1
    )
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def measured(command: Sequence[str]) -> dict[str, float]:
    """Run a command, and return its seconds, its processor's seconds and its peak resident memory in MB.

    Raises:
        RuntimeError: the command failed.
    """
    begun = time.perf_counter()
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said[-500:]}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    seconds = {"seconds": time.perf_counter() - begun, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    return {**seconds, "peak_mb": usage.ru_maxrss / unit}


def commands(folder: Path, number: int, verbs: Iterable[str]) -> Iterable[tuple[str, list[str]]]:
    """Yield each verb with its command line, once its inputs are there."""
    model = folder / "model"
    for verb in verbs:
        items = folder / f"{'short' if verb == 'answer' else 'items'}-{number}.jsonl"
        if not items.exists():
            write_items(items, number, short=verb == "answer")
        out = folder / f"{verb}-{number}.{'safetensors' if verb == 'score' else 'parquet'}"
        options = ["--token-budget", str(BUDGET), *(["--max-new-tokens", "1"] if verb == "answer" else [])]
        if verb != "answer":
            options += ["--formulation", "mcf"]
        yield verb, ["-m", "culnig", verb, "-m", str(model), "-i", str(items), "-o", str(out), *options]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=NUMBERS, help="numbers of items")
    parser.add_argument("--verbs", nargs="+", default=VERBS, choices=VERBS)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    figures = []
    with TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "model").exists():
            # In a process of its own: the peak of a command starts at that of the process which starts it.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(write_model, (folder / "model",))
        for number in arguments.items:
            for verb, command in commands(folder, number, arguments.verbs):
                found = measured(command)
                figures.append({"verb": verb, "items": number, **found})
                shown = (
                    f"{found['peak_mb']:9.0f} MB {found['seconds']:9.0f} s {found['cpu_seconds']:9.0f} s of processor"
                )
                print(f"{verb:<8}{number:>10,} items {shown}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
