"""Make prompt templates and CountryRC's items from a clone of the published repository, ynklab/CULNIG.

The clone is read as text; nothing of it is run, and none of its texts is part of culnig.  What is known here is only
where it keeps its prompts, what its slots mean, and the hash of each template that its published revision gives.
"""

from __future__ import annotations

import ast
import random
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any, Literal

from culnig.data.countries import TARGETS, canonical
from culnig.data.item_files import items_hash, read_items, write_items
from culnig.data.items import Item
from culnig.errors import DataError, UsageError
from culnig.files import read_json, sha256_json, write_text
from culnig.prompts.template import LABELS, Template, load_template

REVISION = "323d480bd65d9b664ec98df4ac17c072aa5bffbd"
"""The revision whose hashes are known."""


@dataclass(frozen=True)
class Layout:
    """How the published code keeps the prompts of one benchmark.

    Attributes:
        variable: the list of texts in its prompts.py.
        slots: its slots -> ours; slots of options are found by themselves.
        labels: kind of labels; None where the listed options show it.
        system: the list of system messages; each stands with each text.
        lines: names in front of the lines of our questions.
        option: how an option is listed, where one slot stands for all of them.
        countries: the benchmark in its table of countries' names.
        spelling: how the benchmark spells countries that the table lacks.
        draws: what its draw by item and text puts in order; None where nothing is drawn.
    """

    variable: str
    slots: dict[str, str]
    labels: Literal["digits", "digits-from-0", "options"] | None = None
    system: str = ""
    lines: tuple[str, ...] = ()
    option: tuple[str, str] | None = None
    countries: str = ""
    spelling: Literal["phrase", "snake_case"] = "phrase"
    draws: Literal["options", "labels"] | None = None


LAYOUTS = {
    "culturalbench": Layout("CULTURALBENCH_PROMPTS", {"question": "{question}"}, draws="options"),
    "normad": Layout(
        "NORMAD_PROMPTS",
        {"country": "{country}", "story": "{line2}", "options": "{options}"},
        labels="digits",
        lines=("Country", "Story"),
        option=("{label}: {option}", ", "),
        countries="normad",
        spelling="snake_case",
        draws="labels",
    ),
    "world_values_numbers": Layout(
        "WORLDVALUESBENCH_PROMPTS",
        {"country": "{country}", "question": "{question}", "min_option": "{low}", "max_option": "{high}"},
        labels="options",
        system="WORLDVALUESBENCH_SYSTEM_PROMPT",
        countries="worldvaluesbench",
    ),
    "passage": Layout("COUNTRYRC_PROMPTS", {"passage": "{line1}", "question": "{line2}"}),
    "commonsenseqa": Layout("COMMONSENSEQA_PROMPTS", {"question": "{question}"}),
    "qnli": Layout(
        "QNLI_PROMPTS",
        {"question": "{line1}", "sentence": "{line2}"},
        labels="digits-from-0",
        lines=("Question", "Sentence"),
    ),
    "mrpc": Layout(
        "MRPC_PROMPTS",
        {"sentence1": "{line1}", "sentence2": "{line2}"},
        labels="digits-from-0",
        lines=("First sentence", "Second sentence"),
    ),
}
"""Name of our template -> where its published texts are.  BLEnD's rows bring their own prompts."""
PASSAGES = Path("data") / "CountryRC" / "data.json"
DUMMY = "{country_dummy}"
SPLITS: dict[Literal["neur", "test"], str] = {"neur": "country_rc:fifty-neur", "test": "country_rc:fifty-test"}
"""Half of the passages -> the split of ours in the same design."""
KNOWN = {
    "culturalbench": "a825189b9bfab321753314066251408647b33e6406af1525147434d595737c08",
    "normad": "53fad533e9960da71b4fb951caaa8ae5d687d183f8356cdb746654e82b2485ac",
    "world_values_numbers": "f0e433531263e12bc4af037333ba42f96ca8369de21faa17c0e9d81bd25763ba",
    "passage": "3be7e6a3ce3f1aea8791d20f974fa0fb13c554964a87195a9596fc594ed23de8",
    "commonsenseqa": "93ef11bd2399f6a0abce9d31f2b569f603c0f3436b38fab0603bf2cf030f99db",
    "qnli": "f6047fb72cd2e753595e173fee3beb2b205fc97323555489a4af7ee2dd3a6ee3",
    "mrpc": "efcd6c678ae05ae43636978b03aea10fe2ab56fa8b47b469a5ac8a8a7f113b2f",
}
"""Template -> SHA-256 of the wordings that the published revision gives."""
KNOWN_ITEMS = {
    "277eba84f4698e33cf480beebde2892218dac726d989bdd18ec8deb0fa112a4b": "country_rc:fifty-neur",
    "a269400e2530cc70d79d39f9acb81a6db9013b39536201c29b9b67b013b9b525": "country_rc:fifty-test",
}
"""Hash of the items that the published revision gives -> the split of ours in the same design."""


@dataclass(frozen=True)
class Clone:
    """The files of a clone that are read.

    Attributes:
        path: its folder.
        texts: variables of its prompts.py.
        countries: benchmark -> the code's name of a country -> the benchmark's.
    """

    path: Path
    texts: dict[str, list[str]]
    countries: dict[str, dict[str, str]] = field(default_factory=dict)


def read_clone(path: Path | str) -> Clone:
    """Read a clone's prompts and names of countries, without running it.

    Raises:
        UsageError: the folder is no clone of the published repository.
        DataError: a file of it cannot be read as it is in the published revision.
    """
    folder = Path(path)
    for name in ("prompts.py", "dataset.py"):
        if not (folder / name).is_file():
            raise UsageError(f"{path}: it has no {name}; give the folder of a clone of github.com/ynklab/CULNIG")
    return Clone(folder, _lists(folder / "prompts.py"), _countries(folder / "dataset.py"))


def _source(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {error}") from error


def _lists(file: Path) -> dict[str, list[str]]:
    """Return the lists of texts that a Python file assigns at its top level."""
    try:
        parsed = ast.parse(_source(file))
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{file}: not Python: {error}") from error
    found: dict[str, list[str]] = {}
    for line in parsed.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            try:
                value = ast.literal_eval(line.value)
            except ValueError:  # it names other variables
                continue
            if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
                found[line.targets[0].id] = value
    return found


def _countries(file: Path) -> dict[str, dict[str, str]]:
    """Return the table of countries' names; the rest of its file may need a later Python than ours."""
    table = re.search(r"^COUNTRY_TO_NAME = (\{.*?^\})", _source(file), re.MULTILINE | re.DOTALL)
    try:
        value: Any = ast.literal_eval(table[1]) if table else None
        return {name: dict(names) for name, names in value.items()}
    except (ValueError, SyntaxError, AttributeError) as error:
        raise DataError(f"{file}: it has no table COUNTRY_TO_NAME as the published revision has") from error


def template_of(clone: Clone, name: str) -> dict[str, Any]:
    """Return the template of a benchmark as our YAML has it.

    Raises:
        DataError: its texts are not laid out as in the published revision.
    """
    layout = LAYOUTS[name]
    where = f"{clone.path / 'prompts.py'}: {layout.variable}"
    texts = clone.texts.get(layout.variable)
    systems = clone.texts.get(layout.system) if layout.system else [""]
    if not texts or not systems:
        raise DataError(f"{clone.path / 'prompts.py'}: it has no list {layout.system if texts else layout.variable}")
    wordings: list[dict[str, Any]] = []
    forms = set()
    for number, system in enumerate(systems, start=1):
        for text in texts:
            made, labels, form = _converted(text, layout, where)
            forms.add(form)
            count = sum(other["labels"] == labels for other in wordings) + 1
            if system:
                count, labels_id = count - (number - 1) * len(texts), f"persona-{number}-range"
                wording = {"id": f"{labels_id}-{count}", "system": _filled(system, layout, where)}
            else:
                wording = {"id": f"{labels.removesuffix('-from-0')}-{count}"}
            wording |= {"labels": labels, "text": made, "control": _without_question(made), "join": ""}
            wordings.append(wording | ({"drawn_by": text, "draws": layout.draws} if layout.draws else {}))
    if len(forms) > 1:
        raise DataError(f"{where}: its texts list options in different forms")
    option, separator = forms.pop()
    listed: dict[str, Any] = {"option": option, "separator": separator, "lines": list(layout.lines)}
    names = {canonical(ours): theirs for ours, theirs in clone.countries.get(layout.countries, {}).items()}
    listed |= {"countries": names, "spelling": layout.spelling}
    return {"mcf": listed | {"wordings": wordings}}


def _converted(text: str, layout: Layout, where: str) -> tuple[str, str, tuple[str, str]]:
    """Return a text with our slots, its kind of labels, and how it lists an option."""
    if layout.labels:
        return _filled(text, layout, where), layout.labels, layout.option or ("{label}. {option}", "\n")
    block = re.search(r"(\w)([^\w{]+)\{option_a\}([^{]*?)\w[^\w{]+\{option_b\}.*\{option_\w\}", text, re.DOTALL)
    labels = {"A": "letters", "1": "digits"}.get(block[1]) if block else None
    if block is None or labels is None:
        raise DataError(f"{where}: a text does not list its options as the published revision does")
    count = len(re.findall(r"\{option_\w\}", block[0]))
    slots = [f"{{option_{letter}}}" for letter in string.ascii_lowercase[:count]]
    expected = block[3].join(label + block[2] + slot for label, slot in zip(LABELS[labels], slots, strict=False))
    if block[0] != expected:
        raise DataError(f"{where}: the labels of a text are not in order")
    kept = text.replace(block[0], "{options}")
    return _filled(kept, layout, where), labels, ("{label}" + block[2] + "{option}", block[3])


def _filled(text: str, layout: Layout, where: str) -> str:
    """Return a text with our slots in the place of the published ones."""
    slots = layout.slots | {"options": "{options}"}
    made = ""
    try:
        for literal, slot, _, _ in string.Formatter().parse(text):
            made += literal + ("" if slot is None else slots[slot])
    except (KeyError, ValueError) as error:
        raise DataError(f"{where}: a text has a slot that is not in the published revision: {error}") from error
    return made


def _without_question(text: str) -> str:
    """Return a text without the lines that hold the question; the published code has controls for BLEnD alone."""
    slots = ("{question}", "{line1}", "{line2}", "{country}")
    return "\n".join(line for line in text.split("\n") if not any(slot in line for slot in slots))


def is_published(name: str) -> bool:
    """Say whether the template of this name or path is what the published revision gives.

    It is judged by what it holds, so a file that was edited after the import is not.
    """
    template = load_template(name)
    return template.mcf is not None and sha256_json(template.mcf.facts()) in KNOWN.values()


def items_of(clone: Clone, split: Literal["neur", "test"]) -> list[Item]:
    """Return CountryRC's items as the published code makes them: a half of its passages, with its draws.

    Raises:
        UsageError: the clone has no passages.
        DataError: the passages are not laid out as in the published revision.
    """
    file = clone.path / PASSAGES
    passages, pool = read_json(file, "CountryRC's passages"), list(clone.countries.get("blend", ()))
    wordings = [wording["id"] for wording in template_of(clone, "passage")["mcf"]["wordings"]]
    texts = clone.texts[LAYOUTS["passage"].variable]
    half = len(passages) // 2
    try:
        part = passages[:half] if split == "neur" else passages[half:]
        return [
            _item(passage, country, number, wordings[number], _drawn(passage, country, text, pool))
            for country in TARGETS
            for number, text in enumerate(texts)
            for passage in part
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{file}: a passage is not as in the published revision: {error}") from error


def _drawn(passage: dict[str, str], country: str, text: str, pool: list[str]) -> tuple[list[str], str]:
    """Return the options in the published order, and the dummy country; both are drawn by passage, text and country."""
    key = f"{passage['context']}_{passage['question']}_{text}_{country}"
    rng = random.Random(int(md5(key.encode(), usedforsecurity=False).hexdigest()[:8], 16))
    options = [*rng.sample([other for other in pool if other != country], 3), country]
    rng.shuffle(options)
    dummy = rng.choice([other for other in options if other != country]) if DUMMY in passage["context"] else ""
    return options, dummy


def _item(passage: dict[str, str], country: str, number: int, wording: str, drawn: tuple[list[str], str]) -> Item:
    options, dummy = drawn
    text = passage["context"].replace("{country}", country).replace(DUMMY, dummy)
    return Item(
        id=f"{passage['id']}/{country}/{number}",
        benchmark="country_rc",
        country=country,
        question=f"{text}\n{passage['question']}",
        options=tuple(options),
        answer=options.index(country),
        topic="dummy" if dummy else "plain",
        variant=str(number),
        template=f"passage#{wording}",
    )


def known_items(path: str) -> str | None:
    """Return the split of `country_rc` that an item file is the published form of; None if it is none."""
    if not path.endswith(".jsonl") or not Path(path).is_file():
        return None
    return KNOWN_ITEMS.get(items_hash(read_items(path)))


def save_all(clone: Clone, folder: Path | str) -> Iterator[tuple[Path, bool]]:
    """Write one template file for each benchmark, and CountryRC's items of both halves.

    Everything is read before anything is written.

    Yields:
        each file, and whether it holds what the published revision gives.
    """
    import yaml

    templates = {name: template_of(clone, name) for name in LAYOUTS}
    items = {split: items_of(clone, split) for split in SPLITS}
    for name, content in templates.items():
        checked = Template.model_validate(content).mcf
        assert checked is not None
        digest = sha256_json(checked.facts())
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=10_000)
        head = f"# Made by `culnig data import-published` from {clone.path}.  SHA-256 of its wordings: {digest}\n"
        file = Path(folder) / f"{name}.yaml"
        write_text(file, head + text)
        yield file, KNOWN.get(name) == digest
    for split, made in items.items():
        file = Path(folder) / f"country_rc-{split}.jsonl"
        write_items(made, file)
        yield file, KNOWN_ITEMS.get(items_hash(made)) == SPLITS[split]
