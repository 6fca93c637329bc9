"""Rows: items in JSON Lines, users' tables in CSV, TSV, JSON, JSON Lines and Parquet."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.boundary import Tally, called, culnig
from tests.fuzz.texts import HALVES, mutated, text, value

GOOD = {"id": "1", "benchmark": "b", "country": "Iran", "question": "w1 w2", "options": ["w3", "w4"], "answer": 0}
FIELDS = (
    "id",
    "benchmark",
    "country",
    "question",
    "options",
    "answer",
    "topic",
    "variant",
    "prompt",
    "target",
    "prefix",
)
FIELDS += ("template", "language", "control", "shuffle", "scale", "answers")
DESCRIBED = """name: own
file: {file}
question: q
options: [a, b]
answer: gold
country: c
"""
COLUMNS = ("q", "a", "b", "gold", "c")

item_rows = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from(FIELDS), value, max_size=8).map(lambda more: GOOD | more),
        st.dictionaries(text, value, max_size=4),
        st.builds(lambda field, odd: GOOD | {field: odd}, st.sampled_from(FIELDS), value),
        st.just(GOOD),
    ),
    min_size=0,
    max_size=4,
)
good_cell = st.sampled_from(("w1", "w2", "w3 w4", "w5"))
good_row = st.tuples(good_cell, st.just("w1"), st.just("w9"), st.just("w9"), st.sampled_from(("Iran", "us", "Spain")))
odd_question = st.tuples(text, st.just("w1"), st.just("w9"), st.just("w1"), st.just("Spain"))
odd_row = st.tuples(text | good_cell, good_cell, st.just("w9") | text, good_cell | text, st.just("Iran") | text)
table_rows = st.one_of(
    st.lists(good_row, max_size=5),
    st.lists(odd_question, min_size=1, max_size=4),
    st.lists(odd_row | good_row, max_size=5),
)


def check_items(path: Path, kind: str, tally: Tally, what: Any) -> None:
    """Check an item file through the command line, and account for its rows."""
    from culnig.data import load_items

    tally.add(kind, culnig("data", "check", path), what)
    case, items = called(load_items, str(path))
    if case.outcome == "traceback":
        tally.add(kind, case, what)
    if items is None:
        tally.rows["refused with their file, which is named"] += 1
        return
    lines = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    tally.rows["used"] += len(items)
    if len(lines) != len(items):
        tally.drop(kind, f"{len(lines)} rows in, {len(items)} items: {what}")


def generated_items(rows: list[dict[str, Any]], folder: Path, tally: Tally, rng: random.Random) -> None:
    """Items of any shape, in JSON Lines."""
    path = folder / "items.jsonl"
    lines = [json.dumps(row, ensure_ascii=rng.random() < 0.5) for row in rows]
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    check_items(path, "items, generated", tally, lines)


def mutated_items(folder: Path, tally: Tally, rng: random.Random) -> None:
    """A good item file with some bytes changed."""
    path = folder / "items.jsonl"
    half = rng.choice(HALVES).encode("utf-8", "surrogatepass")
    good = "\n".join(json.dumps(GOOD | {"id": str(i)}) for i in range(4)).encode()
    content = good.replace(b"w2", half) if rng.random() < 0.05 else mutated(good, rng)
    path.write_bytes(content)
    check_items(path, "items, mutated", tally, content)


def user_table(rows: list[tuple[str, ...]], ending: str, folder: Path, tally: Tally, rng: random.Random) -> None:
    """A user's table of one format, generated; sometimes mutated as well."""
    path = folder / f"rows.{ending}"
    path.unlink(missing_ok=True)
    written = _write(path, rows, ending)
    changed = rng.random() < 0.4
    if changed:
        path.write_bytes(mutated(path.read_bytes(), rng))
    (folder / "own.yaml").write_text(DESCRIBED.format(file=path.name))
    kind = f"table, {ending}"
    tally.add(kind, culnig("data", "check", folder / "own.yaml"), path.read_bytes()[:300])
    from culnig.data import load_items

    case, items = called(load_items, f"{folder / 'own.yaml'}:all")
    if case.outcome == "traceback":
        tally.add(kind, case, path.read_bytes()[:300])
    if items is None:
        tally.rows["refused with their file, which is named"] += 1
        return
    account = items.account
    tally.rows["used"] += len(items)
    tally.rows["named as left out"] += sum(account.left_out.values())
    if account.rows != len(items) + sum(account.left_out.values()) or (not changed and written != account.rows):
        tally.drop(kind, f"{written} rows in, {account}: {path.read_bytes()[:300]!r}")


def _write(path: Path, rows: list[tuple[str, ...]], ending: str) -> int:
    """Write rows; return how many the file holds."""
    if ending == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
        pq.write_table(pa.table({n: pa.array(c, pa.string()) for n, c in columns.items()}), path)
        return len(rows)
    objects = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    if ending == "jsonl":
        path.write_text("".join(json.dumps(each) + "\n" for each in objects))
    elif ending == "json":
        path.write_text(json.dumps(objects))
    elif ending == "csv":
        made = io.StringIO(newline="")
        writer = csv.writer(made)
        writer.writerows([COLUMNS, *rows])
        path.write_bytes(made.getvalue().encode("utf-8", "surrogatepass"))
    else:
        clean = [[cell.translate({9: " ", 10: " ", 13: " "}) for cell in row] for row in rows]
        path.write_bytes(
            "".join("\t".join(row) + "\n" for row in [list(COLUMNS), *clean]).encode("utf-8", "surrogatepass")
        )
    return len(rows)
