"""The verbs that work for longer than seconds, each as a job on the tiny model, and every study as a run of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tests.faults import forked
from tests.helpers.configs import WORDS, write_config, write_items

REFERENCE = Path(__file__).parents[1] / "files" / "reference"
TRAINING = {"learning_rate": 0.003, "batch": 8, "accumulation": 1, "checkpoint_minutes": 0}
MODEL = ("--model", str(REFERENCE), "--formulation", "cf")
SMALL = ("--token-budget", "80")
CHUNK = 7
"""Items that a stream holds at once here; it divides no file evenly."""


@dataclass(frozen=True)
class Job:
    """A command whose output is `out`, a file or a folder.

    Attributes:
        verb: the row of the table.
        name: the verb, and of `run` the study.
        args: the command line up to `--out`.
        out: name of the output below the folder of one execution.
        once: whether a second execution refuses an output that is there.
        chunk: items that a stream holds at once, so that small files are streams of many chunks; None is the usual number.
    """

    verb: str
    name: str
    args: tuple[str, ...]
    out: str
    once: bool = False
    chunk: int | None = None

    def command(self, folder: Path) -> list[str]:
        return [*self.args, "--out", str(folder / self.out)]


STUDIES: dict[str, dict[str, Any]] = {
    "culture_general": {"culture_general": {"t_attn": 0.01}},
    "culture_specific": {},
    "ability_change": {"studies": ["culture_general", "ability_change"]},
    "ablations": {"scoring": "culnig,culnig:unweighted,culnig:skip_first"},
    "calibration": {"studies": ["culture_general", "calibration"]},
    "costly_neurons": {
        "studies": ["culture_general", "costly_neurons"],
        "guards": {"text": "TEXT"},
        "costly_neurons": {"exact": 2, "beyond": -1},
    },
    "dose": {"studies": ["culture_general", "dose"], "dose": {"factors": [0.5, 2.0]}},
    "fidelity": {"fidelity": {"items": "NEUR", "groups": 2, "layers": 1, "top": 6, "top_share": 0.1}},
    "finetune": {
        "finetune": {"task": "TASK", "arms": ["top", "protect"], "share": 0.2, "along": [0.5], "training": TRAINING}
    },
    "instance": {},
    "language_neurons": {"language_neurons": {"texts": "TEXTS", "percentile": 80}},
    "layers": {"studies": ["culture_general", "culture_specific", "layers"]},
    "method_comparison": {"scoring": "culnig,culnig:sum", "method_comparison": {"budgets": [0.05]}},
    "modules": {"modules": {"random_controls": 1}},
    "overlap": {
        "overlap": {
            "benchmarks": {name: {"neur": part, "ctrl": "CTRL"} for name, part in (("own", "NEUR"), ("b", "TASK"))}
        }
    },
    "protocol": {"studies": ["culture_general", "protocol"], "guards": {"text": None, "reading": "main"}},
    "related": {"studies": ["culture_general", "culture_specific", "related"]},
    "restore": {"restore": {"task": "NEUR", "training": TRAINING}},
    "stability": {"blocks": 5, "stability": {"resamples": 2, "halves": 1, "budget": 0.05}},
    "thresholds": {"thresholds": {"t": [0.01], "r": [0.01], "specific_t": [0.05], "specific_z": [0.0]}},
    "transfer": {
        "guards": {"text": None, "reading": "main"},
        "transfer": {"benchmarks": {"own": {"neur": "NEUR", "ctrl": "CTRL"}}},
    },
    "guarded": {"guarded": {"items": 8, "texts": 6, "step": 2, "steps": 2, "max_neurons": 4}},
    "frontier": {
        "scoring": "culnig,random",
        "frontier": {"sizes": [1, 2], "guarded": ["greedy"]},
        "guards": {"text": "TEXT"},
        "guarded": {"items": 8, "texts": 6, "step": 1, "steps": 2, "max_neurons": 2},
    },
    "guarded_specific": {
        "guarded_specific": {"items": 8, "texts": 6, "step": 2, "max_neurons": 2, "own_texts": "TEXT", "harm": {}},
    },
    "guarded_beside": {
        "studies": ["culture_general", "guarded_beside"],
        "guards": {"text": "TEXT"},
        "guarded_beside": {"neurons": "NEURONS"},
    },
    "neuron_cards": {
        "studies": ["culture_general", "neuron_cards"],
        "guards": {"text": "TEXT"},
        "neuron_cards": {"top": 3, "per_country": 2, "alone": 1},
    },
    "diff": {"studies": ["culture_general", "diff"], "diff": {"tuned": "TUNED", "random_sets": 1}},
}
"""Study -> its settings; words in capitals stand for files."""
NEEDS_MORE = {
    "published": "it compares with figures of published models, which the tiny model is not",
    "short_answers": "it needs a benchmark of written answers; `answer` runs the same code",
}
"""Studies that are not run here, and why."""


def make(folder: Path, studies: Sequence[str] = tuple(STUDIES)) -> list[Job]:
    """Write the inputs of all jobs into a folder, and return the jobs."""
    folder.mkdir(parents=True, exist_ok=True)
    config = write_config(folder, REFERENCE)
    items = {n: str(folder / f"{n}.jsonl") for n in ("neur", "ctrl", "crc", "test", "ability")}
    items |= {name: write_items(folder / f"{name}.jsonl", name, count=32) for name in ("task", "skills")}
    _write_texts(folder)
    _write_short(folder)
    score = ("score", *MODEL, *SMALL)
    for part in ("neur", "ctrl", "crc"):
        control = ["--control"] if part == "ctrl" else []
        forked.finish([*score, "--items", items[part], *control, "--out", str(folder / f"{part}.safetensors")])
    for i in (1, 2, 3):
        args = [*score, "--items", items["neur"], "--shard", f"{i}/3", "--blocks", "4"]
        forked.finish([*args, "--out", str(folder / f"part-{i}.safetensors")])
    parts = [word for part in ("neur", "ctrl", "crc") for word in (f"--{part}", str(folder / f"{part}.safetensors"))]
    neurons = folder / "neurons.json"
    forked.finish(["select", "general", *parts, "--t-attn", "0.01", "--out", str(neurons)])
    if "diff" in studies:
        forked.finish(["export", "--model", str(REFERENCE), "--neurons", str(neurons), "--out", str(folder / "tuned")])
    return [*_verbs(folder, items, neurons), *(_study(name, folder, config, items) for name in studies)]


def _verbs(folder: Path, items: dict[str, str], neurons: Path) -> list[Job]:
    suppressed = ("--neurons", str(neurons), "--op", "suppress")
    tuned = folder / "tune.yaml"
    settings = {"model": {"name": str(REFERENCE)}, "prompts": {"formulation": "cf"}}
    settings |= {"name": "tune", "task": {"items": items["task"]}, "training": {**TRAINING, "epochs": 3}}
    tuned.write_text(yaml.safe_dump(settings))
    guarded = (
        "select",
        "guarded",
        *MODEL,
        "--culture",
        items["neur"],
        "--controls",
        items["ctrl"],
        "--protect",
        f"skills={items['skills']}",
    )
    few = ("--max-neurons", "4", "--step", "2", "--ranked-on", "8", "--checked-on", "16")
    texts = ("--texts", str(folder / "text.txt"))
    exact = ("--layers", "1", "--top", "4", "--top-share", "10", "--groups", "2")
    shards = [str(folder / f"part-{i}.safetensors") for i in (1, 2, 3)]
    every = ("--checkpoint-minutes", "0", "--blocks", "4")
    answering = ("--model", str(REFERENCE), *SMALL, "--items", str(folder / "short.jsonl"), "--max-new-tokens", "6")
    verbs = [
        Job("score", "score", ("score", *MODEL, *SMALL, *every, "--items", items["neur"]), "s.safetensors"),
        Job("eval", "eval", ("eval", *MODEL, *SMALL, *suppressed, "--items", items["test"]), "e.parquet"),
        Job("answer", "answer", ("answer", *answering), "a.parquet"),
        Job("finetune", "finetune", ("finetune", str(tuned)), "tuned"),
        Job("fidelity", "fidelity", ("fidelity", *MODEL, *SMALL, *exact, "--items", items["neur"]), "fidelity"),
        Job("merge", "merge", ("merge", *shards), "merged.safetensors"),
        Job("export", "export", ("export", "--model", str(REFERENCE), *suppressed), "checkpoint", once=True),
        Job("select guarded", "select guarded", (*guarded, *few, *texts, "--harm", "perplexity=50%"), "g.json"),
    ]
    return verbs + [replace(job, name=f"{job.name}, a stream", chunk=CHUNK) for job in verbs[:3]]


def _study(name: str, folder: Path, config: Path, items: dict[str, str]) -> Job:
    """A run of one study; sets of items that a study names are those of the folder."""
    settings = yaml.safe_load(config.read_text())
    files: dict[str, Any] = {part.upper(): {"items": path} for part, path in items.items()}
    files |= {"TEXT": str(folder / "text.txt"), "TEXTS": str(folder / "texts"), "TUNED": str(folder / "tuned")}
    files["NEURONS"] = str(folder / "neurons.json")
    own = _filled(STUDIES[name], files)
    settings |= {"studies": [name], "random_controls": 1, "name": name, "guards": {"text": None}} | own
    settings["compute"] = {"token_budget": 400, "checkpoint_minutes": 0}
    if "guarded" in own:
        settings["guarded"] |= {"protect": {"skills": {"items": items["skills"]}}, "own_texts": files["TEXT"]}
    if name == "finetune":
        settings["test"] = [*settings["test"][:2], {"role": "task", "items": items["task"]}]
    path = folder / f"run-{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return Job("run", f"run {name}", ("run", str(path)), "run")


def _filled(value: Any, files: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(part, files) for key, part in value.items()}
    return files.get(value, value) if isinstance(value, str) else value


def _write_texts(folder: Path) -> None:
    rng = random.Random(0)
    (folder / "text.txt").write_text("\n\n".join(f"w{i} w{i + 1} w{i + 3} w{i + 7} w{i + 9}" for i in range(12)))
    (folder / "texts").mkdir(exist_ok=True)
    for number, language in enumerate(("one", "two", "three")):
        words = WORDS[100 * number : 100 * number + 100]
        (folder / "texts" / f"{language}.txt").write_text(
            "\n\n".join(" ".join(rng.sample(words, 12)) for _ in range(6))
        )


def _write_short(folder: Path) -> None:
    rng = random.Random(1)
    rows = [
        {
            "id": str(i),
            "benchmark": "short",
            "country": ("Iran", "Spain")[i % 2],
            "question": " ".join(rng.sample(WORDS, 5)),
            "language": "en",
            "answers": [{"texts": [rng.choice(WORDS)]}],
        }
        for i in range(24)
    ]
    (folder / "short.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
