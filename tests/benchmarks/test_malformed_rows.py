"""Every reader on every way that one row can be broken: an item less with its reason, or one line that says what and where."""

from __future__ import annotations

import copy

import pytest

from culnig import load_items
from culnig.errors import CulnigError
from tests.benchmarks.test_hub_layouts import FIRST
from tests.helpers.benchmark_files import write_questions
from tests.helpers.public_rows import FORK, HUBS, write_lines

BROKEN = {"nothing": None, "an empty text": "", "a number": 7, "a list": ["x"], "a mapping": {"x": 1}}
LEFT_ALONE = {"blend_built"}
"""Made of annotations, many rows an item; tests/benchmarks/test_benchmarks.py breaks them."""


def written(folder, rows):
    """Write rows of mixed values as JSON Lines, which keeps every one as it is."""
    return write_lines(folder / "rows.jsonl", rows)


def cases(name):
    """Yield (what, rows) of the benchmark's first table with its last row broken in one way."""
    configs = HUBS[name].configs if name in HUBS else {"": {"": FORK}}
    rows = next(iter(next(iter(configs.values())).values()))
    rows = [dict(row) for row in (rows if len(rows) > 1 else [rows[0], copy.deepcopy(rows[0])])]
    for column in rows[-1]:
        yield f"{column} is missing", [*rows[:-1], {k: v for k, v in rows[-1].items() if k != column}]
        for what, value in BROKEN.items():
            yield f"{column} holds {what}", [*rows[:-1], rows[-1] | {column: value}]


def plain(rows):
    """Arrays of Parquet as lists."""
    return [{k: v.tolist() if hasattr(v, "tolist") else v for k, v in row.items()} for row in rows]


@pytest.mark.parametrize("name", sorted({*HUBS, "fork"} - LEFT_ALONE))
def test_a_broken_row_is_named_or_an_error_of_one_line(name, data, tmp_path):
    split = FIRST.get(name, "")
    ask = f"{name}:{split}" if split else name
    if name == "blend":
        write_questions(data / "blend")
    refused = 0
    for number, (what, rows) in enumerate(cases(name)):
        path = written(tmp_path / str(number), plain(rows))
        try:
            items = load_items(f"{ask}@{path}")
        except CulnigError as error:
            refused += 1
            assert "\n" not in str(error) and "rows.jsonl" in str(error), (what, error)
        else:
            used = {item.id for item in items}
            assert items.account.rows == len(used) + sum(items.account.left_out.values()), (what, items.account)
    assert refused, "a reader that takes anything checks nothing"
