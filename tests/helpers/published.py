"""An invented clone with the layout of the published repository: files and variables of those names, other texts."""

from __future__ import annotations

import json
from pathlib import Path

from culnig.data import read_items
from culnig.data.item_files import items_hash
from culnig.files import sha256_json
from culnig.prompts import load_template, published
from tests.helpers.cli import invoke


def _listed(labels: str) -> str:
    return "\n".join(f"{label}. {{option_{'abcde'[i]}}}" for i, label in enumerate(labels))


def _four(text: str) -> list[str]:
    return [f"Form {number}. {text}" for number in range(4)]


TEXTS = {
    "WORLDVALUESBENCH_SYSTEM_PROMPT": ["Live in {country}.", "Be from {country}."],
    "WORLDVALUESBENCH_PROMPTS": [f"Asked {n}: {{question}}\nFrom {{min_option}} to {{max_option}}." for n in (1, 2)],
    "NORMAD_PROMPTS": _four("Fine?\nplace: {country}\nTale: {story}\nChoose: {options}\n"),
    "CULTURALBENCH_PROMPTS": _four("Pick.\nAsked: {question}\n" + _listed("ABCD")),
    "COUNTRYRC_PROMPTS": [
        f"Read {n}.\n\ntext: {{passage}}\nasked: {{question}}\n{_listed(labels)}\n"
        for n, labels in enumerate(("ABCD", "ABCD", "1234", "1234"))
    ],
    "COMMONSENSEQA_PROMPTS": _four("{question}\n" + _listed("ABCDE")),
    "QNLI_PROMPTS": _four("Does it say?\nAsked: {question}\nSaid: {sentence}\nReply 0 or 1."),
    "MRPC_PROMPTS": _four("Same?\nOne: {sentence1}\nTwo: {sentence2}\nReply 0 or 1, {{as}} told."),
}
NAMES = {
    "normad": {"UK": "united_kingdom"},
    "worldvaluesbench": {"UK": "Great Britain"},
    "blend": {name: name for name in ("USA", "UK", "China", "Iran", "Mexico", "Spain", "Greece", "Indonesia")},
}
PASSAGES = [
    {
        "id": str(n),
        "context": f"{n}: off to {{country}}" + (", not {country_dummy}." if n % 2 else "."),
        "question": "Where?",
    }
    for n in range(6)
]


def clone(folder: Path, texts: dict[str, list[str]] = TEXTS) -> Path:
    """Write the clone; the file of its data sets has a line that Python 3.11 cannot parse."""
    (folder / "data" / "CountryRC").mkdir(parents=True)
    lists = "".join(f"{name} = {value!r}\n\n" for name, value in texts.items())
    (folder / "prompts.py").write_text(f"{lists}ALL = {{'qnli': QNLI_PROMPTS}}\n", encoding="utf-8")
    table = "".join(f"    {name!r}: {value!r},\n" for name, value in NAMES.items())
    broken = "x = f'{d['a']}'\nraise RuntimeError('nothing of the clone may run')\n"
    (folder / "dataset.py").write_text(f"COUNTRY_TO_NAME = {{\n{table}}}\n{broken}", encoding="utf-8")
    (folder / "data" / "CountryRC" / "data.json").write_text(json.dumps(PASSAGES))
    return folder


def imported(folder: Path) -> Path:
    """Import an invented clone, and return the folder of what was made."""
    done = invoke("data", "import-published", clone(folder / "clone"), "--out", folder / "made")
    assert done.exit_code == 0, done.output
    return folder / "made"


def known_as_published(monkeypatch, made: Path) -> None:
    """Take what an import has made for the published revision."""
    known = {name: load_template(str(made / f"{name}.yaml")).mcf for name in published.LAYOUTS}
    monkeypatch.setattr(published, "KNOWN", {name: sha256_json(mcf.facts()) for name, mcf in known.items()})
    items = {items_hash(read_items(made / f"country_rc-{part}.jsonl")): name for part, name in published.SPLITS.items()}
    monkeypatch.setattr(published, "KNOWN_ITEMS", items)
