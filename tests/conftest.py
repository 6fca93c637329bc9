"""Shared fixtures: tiny random models for unit tests, the embedded model for claims."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parent / "files" / "reference"


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    return REFERENCE


@pytest.fixture(scope="session")
def reference_files(tmp_path_factory) -> dict[str, Path]:
    """The reference items as item files of ours: blend, blendcontrol, countryrc."""
    folder = tmp_path_factory.mktemp("reference")
    files = {}
    for name, rows in json.loads((REFERENCE / "items.json").read_text()).items():
        files[name] = folder / f"{name}.jsonl"
        with files[name].open("w") as stream:
            for row in rows:
                item = {"id": row["id"], "benchmark": name, "country": row["country"]}
                stream.write(json.dumps(item | {"prompt": row["prompt"], "target": row["label"]}) + "\n")
    return files


@pytest.fixture(scope="session")
def tiny():
    """A tiny random Llama with a word tokenizer (the reference model)."""
    import culnig

    return culnig.load_model(REFERENCE)


@pytest.fixture(scope="session")
def smol():
    """The embedded model, fetched once."""
    import culnig

    return culnig.load_model("smollm2-135m")


@pytest.fixture(scope="session")
def word_items():
    """Multiple-choice items in the tiny model's vocabulary, of several lengths, with options of one to three words."""
    import random

    from culnig import Item

    rng = random.Random(1)
    items = []
    for i in range(24):
        words = [f"w{rng.randrange(400)}" for _ in range(rng.randrange(4, 15))]
        options = tuple(" ".join(f"w{rng.randrange(400)}" for _ in range(rng.randrange(1, 4))) for _ in range(4))
        items.append(
            Item(
                id=f"item-{i}",
                benchmark="words",
                country=("China", "Iran", "Spain")[i % 3],
                question=" ".join(words),
                options=options,
                answer=i % 4,
                control=i % 5 == 0,
            )
        )
    return items


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder, and an offline hub without a cache of data sets."""
    monkeypatch.setenv("CULNIG_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _quiet_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


def pytest_configure(config):
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collection_finish(session):
    """Take what is imported out of garbage collection: each `gc.collect()` of a run would go through all of torch again."""
    gc.freeze()
