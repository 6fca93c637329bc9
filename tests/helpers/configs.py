"""Configs and item files of whole runs on the tiny model."""

from __future__ import annotations

import json
import random

import yaml

WORDS = [f"w{i}" for i in range(400)]


def write_items(path, split, count=48, control=False):
    """Write an item file in the tiny model's vocabulary."""
    rng = random.Random(split)
    rows = []
    for i in range(count):
        country = ("China", "Iran", "Spain", "Mexico")[i % 4]
        options = rng.sample(WORDS, 4)
        question = "" if control else " ".join(rng.sample(WORDS, 6))
        rows.append(
            {
                "id": f"{i}",
                "benchmark": "words",
                "country": country,
                "question": question,
                "options": options,
                "answer": i % 4,
                "control": control,
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def write_config(folder, reference_dir):
    """Write a config of a whole run on the tiny model, with its item files."""
    neur, test, ability, crc = (write_items(folder / f"{n}.jsonl", n) for n in ("neur", "test", "ability", "crc"))
    ctrl = write_items(folder / "ctrl.jsonl", "neur", control=True)
    config = {
        "name": "tiny",
        "model": {"name": str(reference_dir)},
        "prompts": {"formulation": "cf"},
        "identify": {"neur": {"items": neur}, "ctrl": {"items": ctrl}, "crc": {"items": crc}},
        "test": [
            {"role": "culture", "items": test},
            {"role": "ability", "items": ability},
            {"role": "surface", "items": crc},
        ],
        "culture_general": {"t_attn": 0.01},
        "culture_specific": {"t": 0.01, "z": 0.2},
        "random_controls": 2,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def write_guarded_config(folder, model, study, **guarded):
    """Write a run with a guarded selection of few neurons: own texts, protected skills, and one of its studies."""
    path = write_config(folder, model)
    texts = folder / "texts.txt"
    texts.write_text("\n\n".join(f"w{i} w{i + 1} w{i + 3} w{i + 7}" for i in range(12)))
    settings = yaml.safe_load(path.read_text())
    settings |= study
    settings["guarded"] = {
        "protect": {"skills": {"items": write_items(folder / "skills.jsonl", "skills")}},
        "own_texts": str(texts),
        "items": 8,
        "texts": 6,
    } | guarded
    path.write_text(yaml.safe_dump(settings))
    return path
