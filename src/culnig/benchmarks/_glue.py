"""GLUE's sentence pairs: two labels, shown as 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from culnig.benchmarks._base import Item, Split
from culnig.benchmarks._external import External, Source, unique
from culnig.benchmarks._tables import Row
from culnig.errors import DataError


class Pair(External):
    """Base of the GLUE tasks; a task says its columns, in the hub's names and in those of the original files."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]]
    """What a column is called, for `id`, `first`, `second` and `label`."""
    labels: ClassVar[Mapping[str, int]]
    """Label -> 0 or 1, in the hub's numbers and in the original file's words."""
    options: tuple[str, str]
    """What 0 and 1 mean; the completion formulation answers with these."""
    names: tuple[str, str]
    """What the two sentences are called in the prompt."""

    def items(self, split: str, seed: int, source: Source) -> Iterator[Item]:
        for row in self._unique(source):
            yield Item(
                id=row.text("id"),
                benchmark=self.name,
                country="none",
                question=f"{self.names[0]}: {row.text('first')}\n{self.names[1]}: {row.text('second')}",
                options=self.options,
                answer=row.label("label", self.labels),
                template=self.name,
            )

    def _unique(self, source: Source) -> Iterator[Row]:
        return unique(map(self._renamed, source.rows("rows")), "id")

    def _renamed(self, row: Row) -> Row:
        values = {}
        for name, columns in self.columns.items():
            found = [column for column in columns if column in row.values]
            if not found:
                raise DataError(f"{row.where}: no column '{' or '.join(columns)}'; there are: {', '.join(row.values)}")
            texts = [str(row.values[column]) for column in found]
            values[name] = "-".join(texts) if name == "id" else texts[0]
        return Row(row.where, row.table, values)


SPLIT = Split("all", "every row: to evaluate", default=True)
