"""`python -m bench.rows`: seconds and peak memory of statistics and of the report on results of a million rows.

A small run on a random model is made first.  Its results are then repeated under new ids, with shifted
log-odds and shuffled outcomes, until each has as many rows as asked for.  Each command runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import yaml

import culnig
from bench.scale import measured, write_items, write_model
from culnig import EvalResult
from culnig.run.config import load_config

ITEMS = 2000
"""Items of the small run."""
METRICS = ("correct", "lead", "option_logmass")


def make_run(folder: Path) -> Path:
    """Make a small run: the untouched model, a culture-general set and a random one, on generated items."""
    write_model(folder / "model")
    sources = {}
    for number, part in enumerate(("neur", "ctrl", "crc")):
        sources[part] = {"items": str(folder / f"{part}.jsonl")}
        write_items(folder / f"{part}.jsonl", ITEMS + number)
    config = {
        "name": "rows",
        "model": {"name": str(folder / "model")},
        "prompts": {"formulation": "mcf"},
        "identify": sources,
        "test": [{"role": "culture", **sources["neur"]}],
        "studies": ["culture_general"],
        # A layer has eight neurons of a module, so the usual shares would select none, and larger ones leave none to draw.
        "culture_general": {"t_mlp": 0.4, "t_attn": 0.2},
        "random_controls": 1,
        "guards": {"text": None},
        "compute": {"token_budget": 16_384},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return culnig.run(load_config(folder / "config.yaml"), folder / "run").path


def repeat(path: Path, rows: int, seed: int) -> None:
    """Write a result again with its rows repeated: each time with new ids, shifted log-odds and shuffled outcomes."""
    result = EvalResult.load(path)
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(-(-rows // len(result))):
        part = result.rows.copy()
        part["id"] = [f"{name}-{number}" for name in part["id"]]
        part["log_odds"] += rng.normal(size=len(part))
        part["correct"] = rng.permutation(part["correct"].to_numpy())
        parts.append(part)
    EvalResult(pd.concat(parts, ignore_index=True)[:rows], result.meta).save(path)


def prepare(folder: Path, rows: int) -> Path:
    """Make the run, and give each of its results so many rows."""
    run = make_run(folder)
    for seed, path in enumerate(sorted(run.glob("evals/*/*.parquet"))):
        repeat(path, rows, seed)
    return run


def commands(run: Path) -> Iterable[tuple[str, list[str]]]:
    """Yield what is timed: paired statistics of two results, and the report."""
    [before] = run.glob("evals/*/none.parquet")
    after = before.with_name("culture-general.parquet")
    for metric in METRICS:
        yield f"culnig stats --metric {metric}", ["-m", "culnig", "stats", str(after), str(before), "--metric", metric]
    yield "culnig stats --by country", ["-m", "culnig", "stats", str(after), str(before), "--by", "country"]
    yield "culnig report", ["-m", "culnig", "report", str(run)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each result")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    figures = []
    with TemporaryDirectory() as temporary:
        # In a process of its own: the peak of a command starts at that of the process which starts it.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            run = pool.apply(prepare, (Path(temporary), arguments.rows))
        for name, command in commands(run):
            found = measured(command)
            figures.append({"command": name, "rows": arguments.rows, **found})
            print(
                f"{name:<40}{found['seconds']:6.0f} s {found['cpu_seconds']:6.0f} s of processor"
                f" {found['peak_mb']:7.0f} MB",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
