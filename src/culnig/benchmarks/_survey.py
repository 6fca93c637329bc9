"""Counting a survey's answers by country, column by column: a block of rows is read, then each question is one bincount."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from culnig.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

PERSON = "D_INTERVIEW"
COUNTRY = "B_COUNTRY"


class Counts(NamedTuple):
    """Answers of a survey.

    Attributes:
        countries: as the file spells them, in order of appearance.
        answers: question -> counts [countries, steps of its scale].
        people: people asked.
        outside: answers that are no step of their question's scale.
    """

    countries: list[str]
    answers: dict[str, np.ndarray]
    people: int
    outside: int


def count_answers(people: Path, values: Path, scales: Mapping[str, tuple[int, int]]) -> Counts:
    """Count each country's answers to each question.

    Args:
        people: TSV with a row a person: D_INTERVIEW, B_COUNTRY.
        values: TSV with a row a person: D_INTERVIEW, and a column a question, empty where not answered.
        scales: question -> lowest and highest step.  Those without a column are not counted.

    Raises:
        DataError: a missing column, a person twice or without a country, or an answer that is no whole number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    ids, codes, countries = _countries(people)
    questions = [name for name in scales if name in _header(values)]
    answers = {name: np.zeros((len(countries), high - low + 1), int) for name, (low, high) in scales.items()}
    answers = {name: answers[name] for name in questions}
    total = outside = 0
    types = {PERSON: pa.string()} | dict.fromkeys(questions, pa.float64())
    for block in _blocks(values, [PERSON, *questions], types):
        position = pc.index_in(block.column(PERSON), value_set=ids)
        if position.null_count:
            row = int(np.flatnonzero(position.is_null().to_numpy(zero_copy_only=False))[0])
            person = block.column(PERSON)[row].as_py()
            raise DataError(f"{values}:{total + row + 2}: the person {person} is not in {people}")
        of_person = codes[position.to_numpy(zero_copy_only=False)]
        for name in questions:
            given = block.column(name).to_numpy(zero_copy_only=False)
            outside += _add(answers[name], given, of_person, scales[name], f"{values}: column {name}")
        total += block.num_rows
    return Counts(countries, answers, total, outside)


def _add(counts: np.ndarray, given: np.ndarray, of_person: np.ndarray, scale: tuple[int, int], where: str) -> int:
    """Add one block's answers to one question; returns how many are outside the scale."""
    answered = ~np.isnan(given)
    steps = given[answered].astype(int)
    if (steps != given[answered]).any():
        raise DataError(f"{where}: the answer {given[answered][steps != given[answered]][0]} is no whole number")
    low, high = scale
    inside = (steps >= low) & (steps <= high)
    cells = of_person[answered][inside] * counts.shape[1] + (steps[inside] - low)
    counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    return int((~inside).sum())


def _countries(path: Path) -> tuple[pa.Array, np.ndarray, list[str]]:
    """Persons, the number of each one's country, and the countries."""
    import pyarrow as pa

    blocks = list(_blocks(path, [PERSON, COUNTRY], {PERSON: pa.string(), COUNTRY: pa.string()}))
    table = pa.Table.from_batches(blocks)
    ids = table.column(PERSON).combine_chunks()
    if len(ids.unique()) < len(ids):
        raise DataError(f"{path}: {len(ids) - len(ids.unique())} values of {PERSON} stand more than once")
    encoded = table.column(COUNTRY).combine_chunks().dictionary_encode()
    if table.column(COUNTRY).null_count:
        empty = int(np.flatnonzero(encoded.indices.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{path}:{empty + 2}: {COUNTRY} is empty")
    return ids, encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig") as stream:
        return stream.readline().rstrip("\r\n").split("\t")


def _blocks(path: Path, columns: Sequence[str], types: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
    """A TSV's columns, some megabytes at a time."""
    import pyarrow as pa
    import pyarrow.csv

    try:
        header = _header(path)
        if missing := [column for column in columns if column not in header]:
            raise DataError(f"{path}:1: no column '{missing[0]}'; this begins {' '.join(header[:5])[:100]!r}")
        yield from pa.csv.open_csv(
            path,
            # One thread: pyarrow names the row of a broken cell only then.
            read_options=pa.csv.ReadOptions(block_size=4 << 20, use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(columns), column_types=dict(types), null_values=[""], strings_can_be_null=True
            ),
        )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:1: not UTF-8 text (byte {error.start})") from error
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error
