"""`python -m bench.published CLONE`: the published code and culnig on the same model, items and machine.

CLONE is a folder with a clone of github.com/ynklab/CULNIG; a copy of it runs, so it stays as it is.

    python -m bench.published ~/CULNIG
    python -m bench.published ~/CULNIG --model smollm2-135m --per-country 2 --repeats 1

The published selection scripts need Python 3.12 or newer (`--python`), and nothing beyond its standard library.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench._published_sides import ADMITTED, SETS

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests" / "files" / "reference"


@dataclass(frozen=True)
class Figures:
    """One side of one run.

    Attributes:
        scoring: seconds of scoring the three data sets, loading left out.
        processes: seconds of the processes that score.
        selecting: seconds of the commands that select; None where they did not run.
        memory: peak resident bytes of a process that scores.
        beyond: most bytes that scoring holds beyond what its process held before.
        scores: bytes of the score files.
        lists: bytes of the neuron lists.
    """

    scoring: float
    processes: float
    selecting: float | None
    memory: int
    beyond: int
    scores: int
    lists: int


@dataclass(frozen=True)
class Finished:
    """A process that has ended: its output and seconds."""

    output: str
    seconds: float

    def meter(self) -> dict[str, Any]:
        """Return what a side has printed of itself."""
        (line,) = [line for line in self.output.splitlines() if line.startswith("METER ")]
        return json.loads(line.removeprefix("METER "))


def process(command: Sequence[object], cwd: Path | None = None) -> Finished:
    """Run a process."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    begun = time.perf_counter()
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    seconds = time.perf_counter() - begun
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{said}")
    return Finished(done.stdout, seconds)


def published(job: dict[str, Any], scratch: Path, python: str | None) -> tuple[Figures, Path]:
    """Run the published scripts on a copy of the clone; return figures and the folder of their results."""
    path = scratch / "job.json"
    path.write_text(json.dumps(job))
    folder = Path(job["clone"]) / "CULNIG"
    side = [sys.executable, "-m", "bench._published_sides", "theirs", path]
    scored = [process([*side, name], folder) for name in ("blend", "blendcontrol")]
    meters = [one.meter() for one in scored]
    scoring = {name: s for meter in meters for name, s in meter["seconds"].items()}  # country reading counts once
    out = folder.parent / "outputs" / ADMITTED.split("/")[1] / "cultural_neuron"
    selecting = None
    if python is not None:
        asked = ["--model_name", ADMITTED, "--dataset_names", "blend"]
        scripts = ("decide_culture_general_neurons.py", "decide_culture_specific_neuron.py")
        selecting = sum(process([python, folder / script, *asked]).seconds for script in scripts)
    memory = (max(meter[name] for meter in meters) for name in ("peak", "beyond"))
    seconds = sum(one.seconds for one in scored)
    sizes = _size(out, "*_scores.json"), _size(out, "*_neurons_*.json")
    return Figures(sum(scoring.values()), seconds, selecting, *memory, *sizes), out


def culnig(job: dict[str, Any], scratch: Path) -> tuple[Figures, Path]:
    """Run culnig on the same items; return figures and the folder of its results."""
    out = Path(job["out"])
    scored = process([sys.executable, "-m", "bench._published_sides", "ours", scratch / "job.json"])
    files = [part for name, flag in zip(SETS, ("--neur", "--ctrl", "--crc"), strict=True)
             for part in (flag, out / f"{name}.safetensors")]  # fmt: skip
    command = [sys.executable, "-m", "culnig", "select"]
    (out / "neurons").mkdir(exist_ok=True)
    selecting = sum(
        process([*command, kind, *files, "--preset", "paper", "--out", to]).seconds
        for kind, to in (("general", out / "neurons" / "general.json"), ("specific", out / "neurons" / "specific"))
    )
    sizes = _size(out, "*.safetensors"), _size(out / "neurons", "**/*.json")
    meter = scored.meter()
    scoring = sum(meter["seconds"].values())
    return Figures(scoring, scored.seconds, selecting, meter["peak"], meter["beyond"], *sizes), out


def _size(folder: Path, pattern: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(pattern))


def largest_difference(theirs: Path, ours: Path) -> float:
    """Return the largest difference of two score files, relative to the largest value of its module."""
    from culnig import Scores

    scores = Scores.load(ours)
    tables = {module: np.zeros_like(scores.sums[scores.method, module]) for module in scores.modules}
    for key, countries in json.loads(theirs.read_text())["neuron_scores"].items():
        module, layer, neuron = key.rsplit("_", 2)
        for country, value in countries.items():
            tables[module][scores.groups.index(country), int(layer), int(neuron)] = value
    return max(
        float(np.abs(scores.sums[scores.method, module] - table).max() / np.abs(table).max())
        for module, table in tables.items()
    )


def same_lists(theirs: Path, ours: Path) -> tuple[int, int, int]:
    """Return how many of the published neuron lists there are, how many ours equals, and how many in the same order."""

    def rows(file: Path) -> list[tuple[str, int, int]]:
        found = json.loads(file.read_text())["top_neurons"]
        return [(row["module_name"], row["layer_idx"], row["neuron_idx"]) for row in found]

    pairs = [(theirs / "all_neurons_blend_max.json", ours / "general.json")]
    for file in sorted((ours / "specific").glob("*.json")):
        pairs.append((theirs / f"{file.stem.replace(' ', '')}_neurons_blend_all.json", file))
    both = [(rows(a), rows(b)) for a, b in pairs if a.exists() and b.exists()]
    return len(both), sum(set(a) == set(b) for a, b in both), sum(a == b for a, b in both)


def items_of(model: str, per_country: int) -> dict[str, list[dict[str, str]]]:
    """Return the reference items, or for another model items of culnig's own in the same form."""
    if model == "reference":
        return json.loads((REFERENCE / "items.json").read_text())
    from culnig import load_items
    from culnig.prompts import PromptPolicy, render

    taken = {"blend": "everyday:neur", "blendcontrol": "everyday:ctrl", "countryrc": "country_rc:neur"}
    made = {}
    for name, source in taken.items():
        items = load_items(
            source, limit_per_country=per_country, countries="targets" if name == "countryrc" else "blend"
        )
        made[name] = [
            {"id": p.item.id, "dataset_name": name, "country": p.item.country, "prompt": f"{p.text}\n{p.prefix}",
             "label": p.answers[p.gold].strip()}
            for p in render(items, PromptPolicy(formulation="mcf"))
        ]  # fmt: skip
    return made


def newer_python(named: str | None) -> str | None:
    """Return a Python that reads the published selection scripts; None if there is none."""
    for name in [named] if named else [sys.executable, "python3.12", "python3.13", "python3.14", "python3"]:
        if (found := shutil.which(name)) and not subprocess.run(
            [found, "-c", "import sys; sys.exit(sys.version_info < (3, 12))"], capture_output=True, check=False
        ).returncode:
            return found
    return None


def show(both: list[tuple[Figures, Figures]]) -> None:
    """Print medians of both sides, and their ratio."""
    print(f"{'':<42}{'published':>12}{'culnig':>12}{'ratio':>9}")
    rows = (
        ("scoring three sets, s", "scoring", 1),
        ("processes that score, s", "processes", 1),
        ("commands that select 1 + 8 lists, s", "selecting", 1),
        ("peak resident memory of scoring, MB", "memory", 1e6),
        ("of that, beyond the process before it, MB", "beyond", 1e6),
        ("score files, MB", "scores", 1e6),
        ("neuron lists, kB", "lists", 1e3),
    )
    for title, field, unit in rows:
        values = [[getattr(side, field) for side in sides] for sides in zip(*both, strict=True)]
        if None in values[0]:
            print(f"{title:<42}{'not run':>12}{statistics.median(values[1]) / unit:>12.2f}")
            continue
        a, b = (statistics.median(side) / unit for side in values)
        print(f"{title:<42}{a:>12.2f}{b:>12.2f}{a / b:>9.2f}")


def compare(arguments: argparse.Namespace, batch_size: int, python: str | None) -> None:
    """Run both sides in turn at one batch size, and print what they give and take."""
    items = items_of(arguments.model, arguments.per_country)
    both = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            clone, out = Path(scratch) / "clone", Path(scratch) / "ours"
            shutil.copytree(arguments.clone, clone, ignore=shutil.ignore_patterns(".git", "outputs"))
            out.mkdir()
            model = str(REFERENCE) if arguments.model == "reference" else arguments.model
            job = {"model": model, "items": items, "batch_size": batch_size, "clone": str(clone), "out": str(out)}
            theirs, their_folder = published(job, Path(scratch), python)
            ours, our_folder = culnig(job, Path(scratch))
            both.append((theirs, ours))
            files = {
                name: (their_folder / f"{name}_max_scores.json", our_folder / f"{name}.safetensors") for name in SETS
            }
            differences = {name: largest_difference(*pair) for name, pair in files.items()}
            lists = same_lists(their_folder, our_folder / "neurons")
    sizes = ", ".join(f"{len(rows)} {name}" for name, rows in items.items())
    padding = "padded positions count as 0, as published" if batch_size > 1 else "no padding"
    print(f"\n{arguments.model}, {sizes}; batch size {batch_size} ({padding}); medians of {arguments.repeats}")
    largest = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    print(f"scores {'equal' if max(differences.values()) <= 1e-4 else 'DIFFER'}: largest difference, of the module's"
          f" largest value: {largest}")  # fmt: skip
    if python is None:
        print("neuron lists: not compared; the published scripts need Python 3.12 or newer (--python)")
    else:
        print(f"neuron lists: {lists[1]} of {lists[0]} hold the same neurons, {lists[2]} in the same order")
    show(both)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.published", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clone", type=Path, help="folder of a clone of github.com/ynklab/CULNIG")
    parser.add_argument("--model", default="reference", help="the tiny reference model, or an embedded one")
    parser.add_argument("--per-country", type=int, default=2, help="items a country, for a model that is not tiny")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--python", help="a Python of 3.12 or newer, for the published selection scripts")
    arguments = parser.parse_args()
    if not (arguments.clone / "CULNIG" / "calc_neuron_score.py").is_file():
        parser.error(f"{arguments.clone} has no CULNIG/calc_neuron_score.py; give a clone of github.com/ynklab/CULNIG")
    for batch_size in arguments.batch_size:
        compare(arguments, batch_size, newer_python(arguments.python))


if __name__ == "__main__":
    main()
