"""Command lines of real verbs and options with odd values, and files of odd sizes."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from tests.fuzz.boundary import Tally, called, culnig, peak
from tests.fuzz.documents import Material
from tests.fuzz.rows import DESCRIBED, GOOD
from tests.fuzz.texts import ODD

VERBS = (
    ("score",), ("merge",), ("eval",), ("answer",), ("perplexity",), ("stats",), ("stability",), ("fidelity",), ("report",),
    ("export",), ("modules",), ("finetune",), ("compare",), ("select",), ("select", "general"), ("select", "specific"),
    ("select", "random"), ("select", "guarded"), ("data",), ("data", "list"), ("data", "show"), ("data", "check"), ("models",),
    ("models", "list"), ("models", "inspect"), ("plan",), ("paper-check",), ("run",), (), ("nonsense",), ("--version",),
)  # fmt: skip
OPTIONS = (
    "--model", "--items", "--out", "--neurons", "--op", "--method", "--modules", "--blocks", "--shard", "--formulation",
    "--chat-template", "--dtype", "--device", "--revision", "--countries", "--draws", "--limit-per-country", "--seed", "--json",
    "--control", "--token-budget", "--padded-zeros", "--checkpoint-minutes", "--calibration", "--wordings", "--template", "--by",
    "--metric", "--neur", "--ctrl", "--crc", "--no-ctrl", "--no-crc", "--preset", "--t-mlp", "--like", "--scores", "--culture",
    "--protect", "--harm", "--set", "--redo", "--help", "-n", "--count", "--share", "--top", "--layers", "--text", "--topics",
)  # fmt: skip
NUMBERS = ("-1", "0", "1", "2", "1e9", "0.5", "99999999999999999999", "nan", "1/2", "0/0", "3/2", "-1/-2")


def command_line(material: Material, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A verb with random options and values: files of ours, numbers, odd texts."""
    files = [
        str(p) for p in (material.scores, material.neurons, material.results, material.items, material.gguf, folder)
    ]
    values = [
        *files,
        *NUMBERS,
        *ODD,
        "cf",
        "mcf",
        "culnig",
        "suppress",
        "everyday:neur",
        "everyday",
        "float32",
        "cpu",
        "Iran",
    ]
    verb = list(rng.choice(VERBS))
    words = list(verb)
    for _ in range(rng.randrange(7)):
        words += [rng.choice(OPTIONS), rng.choice(values)] if rng.random() < 0.8 else [rng.choice(values)]
    if rng.random() < 0.5 and verb and verb[0] not in ("run", "finetune", "plan"):
        words += ["--out", str(folder / f"o{rng.randrange(10**6)}")]
    if verb == ["run"] and not any(word.startswith("/") for word in words):
        words.append(str(material.neurons))  # else it would be the quickstart, which runs
    passed = [os.fsdecode(word.encode("utf-8", "surrogatepass").replace(b"\x00", b"")) for word in words]
    tally.add("command line", culnig(*passed), words)


def sizes(folder: Path, tally: Tally, rows: int, cell: int) -> list[str]:
    """Files that are empty, of one row, of very many rows, and with one very large cell; return what was seen."""
    said = []
    made = {
        "empty": lambda ending: "",
        "header or brackets alone": lambda ending: {"csv": "q,a,b,gold,c\n", "tsv": "q\ta\tb\tgold\tc\n"}.get(
            ending, "[]"
        ),
        "one row": lambda ending: _rows(ending, 1, "w1"),
        f"{rows:,} rows": lambda ending: _rows(ending, rows, "w1"),
        f"a cell of {cell / 1e6:.0f} MB": lambda ending: _rows(ending, 2, "w1 " * (cell // 3)),
    }
    for what, content in made.items():
        for ending in ("jsonl", "csv", "tsv", "json", "items", "parquet"):
            said.append(_size(folder, tally, what, ending, content(ending)))
    return said


def _rows(ending: str, number: int, question: str) -> str:
    if ending == "items":
        item = {key: part for key, part in GOOD.items() if key != "id"} | {"question": question}
        end = json.dumps(item)[1:]
        return "".join(f'{{"id": "{i}", {end}\n' for i in range(number))
    row = {"q": question, "a": "w2", "b": "w3", "gold": "w2", "c": "Iran"}
    if ending == "jsonl":
        return (json.dumps(row) + "\n") * number
    if ending == "json":
        return "[" + ",".join([json.dumps(row)] * number) + "]"
    comma = "," if ending in ("csv", "parquet") else "\t"
    return comma.join(row) + "\n" + (comma.join(row.values()) + "\n") * number


def _size(folder: Path, tally: Tally, what: str, ending: str, content: str) -> str:
    """Load one file in a process of its own, and note its rows, its memory and its outcome."""
    from culnig.data import load_items

    path = folder / f"size.{'jsonl' if ending == 'items' else ending}"
    path.write_text(content)
    if ending == "parquet" and content and content != "[]":
        import pandas as pd

        frame = pd.read_csv(path)
        frame.to_parquet(path, index=False)
    number = max(0, content.count("\n") - (ending not in ("items", "jsonl")))
    if ending == "json":
        number = content.count('"gold"')
    (folder / "size.yaml").write_text(DESCRIBED.format(file=path.name))
    name = str(path) if ending == "items" else f"{folder / 'size.yaml'}:all"
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        before = peak()
        case, items = called(load_items, name)
        account = getattr(items, "account", None)
        seen = account.rows if account else len(items or ())
        used = len(items or ()) + (sum(account.left_out.values()) if account else 0)
        said: Any = [case.code, case.err, case.trace, seen, used, peak() - before]
        os.write(writing, json.dumps(said).encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    path.unlink()
    from tests.fuzz.boundary import Case

    if not answer:
        tally.add("sizes", Case(None, "", "", "the process died: out of memory?"), f"{what}, {ending}")
        return f"{what}, {ending}: died"
    code, err, trace, seen, used, mib = json.loads(answer)
    tally.add("sizes", Case(code, "", err, trace), f"{what}, {ending}")
    if code == 0 and not seen == used == number:
        tally.drop("sizes", f"{what}, {ending}: {number} rows in, {seen} seen, {used} used")
    return f"{what}, {ending}: {used:,} rows, {mib:,.0f} MiB more, {'read' if code == 0 else err[:120]}"
