"""External benchmarks: their rows come from a local file or folder, or from the Hugging Face hub.

A table is searched in three places, in this order: the place that the user names (`blend:test@PLACE`, or `sources:` in
a run's config), the benchmark's folder in the data folder (`$CULNIG_DATA/blend`), and the hub (library `datasets`).
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from culnig.data.items import Account, Item, ItemList, Split
from culnig.data.tables import Row, read_table
from culnig.errors import DataError, FetchError, UsageError
from culnig.files import data_dir

ALL_SPLITS = "*"
ALL_CONFIGS = "*"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Table:
    """One table of a benchmark.

    Attributes:
        called: what messages call its file or files.
        files: patterns of file names below the benchmark's folder; the first pattern that matches is taken.
        hub: hub id; None if it is not on the hub.
        config: the hub's config; `ALL_CONFIGS` for all of them, one after another.
        split: the hub's split; `ALL_SPLITS` for all of them, one after another.
        several: whether all matching files are parts of one table; otherwise there must be exactly one.
        columns: names of the columns of CSV and TSV files that have no header.
        optional: whether the benchmark can do without this table.
    """

    called: str
    files: tuple[str, ...]
    hub: str | None = None
    config: str | None = None
    split: str = "test"
    several: bool = False
    columns: tuple[str, ...] = ()
    optional: bool = False


class State(NamedTuple):
    """Whether a benchmark can be loaded now, its source if it can, and how to get it if it cannot."""

    ready: bool
    where: str
    how: str


class External(ABC):
    """Base of the benchmarks whose rows are not in this package.  The items are made from the first of `tables`."""

    name: str
    description: str
    source: str
    splits: tuple[Split, ...]
    tables: ClassVar[Mapping[str, Table]]
    folder: str
    """Name of its folder in the data folder."""
    fetch: str = ""
    """How to get the files if they are not on the hub."""

    def load(self, split: str, *, seed: int, place: str | None = None) -> ItemList:
        """Return the items of a split with the account of their rows; `place` says where the rows are.

        Raises:
            UsageError: the place does not exist.
            FetchError: the rows cannot be found; the message says how to get them.
            DataError: a row is broken; the message gives file, row and reason.
        """
        source = Source(self, place)
        items = ItemList(self.items(split, seed, source), source.account)
        if not items:
            raise DataError(f"{self.name}:{split}: no items in {source.account}")
        return items

    @abstractmethod
    def items(self, split: str, seed: int, source: Source) -> Iterable[Item]:
        """Make the items of a split; every row gives one, or is left out with a reason in `source.account`."""

    def state(self, place: str | None = None) -> State:
        """Return whether the rows are available, without reading them."""
        source = Source(self, place)
        needed = [table for table in self.tables.values() if not table.optional]
        missing = [table for table in needed if not (source.files(table) or _in_hub_cache(table))]
        if missing:
            return State(False, "", f"{missing[0].called}: {self.how(missing[0])}")
        return State(True, source.account.source, "")

    def how(self, table: Table) -> str:
        """Return one line that says how to get a missing table."""
        folder = data_dir() / self.folder
        if table.hub is None:
            return f"{self.fetch}, and put {', '.join(t.called for t in self.tables.values())} into {folder}"
        return f"on a machine with a network run `hf download --repo-type dataset {table.hub} --local-dir {folder}`"


class Source:
    """The places of one benchmark's tables in one loading; counts the rows that are read."""

    def __init__(self, benchmark: External, place: str | None) -> None:
        self._benchmark = benchmark
        self._main = next(iter(benchmark.tables.values()))
        self._place = Path(place).expanduser() if place else None
        self._hub = None
        if place and self._place and not self._place.exists():
            if not _HUB_ID.fullmatch(place) or place.count("/") > 1:
                raise UsageError(f"{benchmark.name}@{place}: no such file or folder, and no hub id (owner/name)")
            self._place, self._hub = None, place
        self.account = Account(self._describe())

    def rows(self, name: str) -> Iterator[Row]:
        """Yield the rows of a table in file order."""
        table = self._benchmark.tables[name]
        for row in self._read(table):
            self.account.rows += table is self._main
            yield row

    def files(self, table: Table) -> list[Path]:
        """Return the local files of a table; none if it has to come from the hub.

        Raises:
            DataError: there are several files where one is expected.
        """
        if self._hub:
            return []
        usual = data_dir() / self._benchmark.folder
        if self._place is None:
            return _match(usual, table)
        if table is not self._main:
            beside = self._place.parent if self._place.is_file() else self._place
            return _match(beside, table) or _match(usual, table)
        return [self._place] if self._place.is_file() else _match(self._place, table)

    def path(self, name: str) -> Path:
        """Return the one local file of a table that is not read row by row.

        Raises:
            FetchError: the file does not exist.
        """
        table = self._benchmark.tables[name]
        files = self.files(table)
        if not files:
            raise FetchError(f"{self._benchmark.name}: {self._missing(table)}; {self._benchmark.how(table)}")
        return files[0]

    def _read(self, table: Table) -> Iterator[Row]:
        files = self.files(table)
        if files:
            for path in files:
                yield from read_table(path, table.columns)
            return
        hub = self._hub or table.hub
        if (self._place and table is self._main) or not hub:
            raise FetchError(f"{self._benchmark.name}: {self._missing(table)}; {self._benchmark.how(table)}")
        try:
            yield from hub_rows(hub, table.config, table.split)
        except FetchError as error:
            raise FetchError(
                f"{self._benchmark.name}: {self._missing(table)}, and {error}; {self._benchmark.how(table)}"
            ) from error

    def _missing(self, table: Table) -> str:
        return f"{table.called} not found in {self._place or data_dir() / self._benchmark.folder}"

    def _describe(self) -> str:
        files = self.files(self._main)
        if files:
            return str(files[0]) if len(files) == 1 else f"{files[0].parent} ({len(files)} files)"
        return "/".join(part for part in (self._hub or self._main.hub, self._main.config, self._main.split) if part)


def _match(folder: Path, table: Table) -> list[Path]:
    for pattern in table.files:
        found = sorted(path for path in folder.rglob(pattern) if path.is_file())
        if len(found) > 1 and not table.several:
            raise DataError(f"{folder} holds several files of that name: {', '.join(map(str, found))}; keep one")
        if found:
            return found
    return []


def _in_hub_cache(table: Table) -> bool:
    if table.hub is None:
        return False
    from datasets.config import HF_DATASETS_CACHE

    return any(Path(HF_DATASETS_CACHE).glob(f"{table.hub.replace('/', '___').lower()}/{table.config or '*'}"))


def hub_rows(hub: str, config: str | None, split: str) -> Iterator[Row]:
    """Yield the rows of a hub data set.

    Args:
        hub: the hub id.
        config: the config; `ALL_CONFIGS` for all of them.
        split: the split; `ALL_SPLITS` for all of them.

    Raises:
        FetchError: the set, config or split does not exist, or there is no network and it is not in the cache.
    """
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it reports every retry; our error reports once
    try:
        configs = datasets.get_dataset_config_names(hub) if config == ALL_CONFIGS else [config]
        parts = [(c, datasets.load_dataset(hub, c, split=None if split == ALL_SPLITS else split)) for c in configs]
    except Exception as error:  # hub, network and cache raise many kinds of errors; one message fits all of them
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FetchError(f"the hub does not provide {hub} ({reason})") from error
    for part, data in parts:
        for name, rows in data.items() if split == ALL_SPLITS else [(split, data)]:
            where = f"{part}/{name}" if config == ALL_CONFIGS else name
            for number, values in enumerate(rows, start=1):
                yield Row(f"{hub}[{where}] row {number}", str(name), values)


def unique(rows: Iterable[Row], column: str) -> Iterator[Row]:
    """Yield the rows, and check that no value of a column occurs twice.

    Raises:
        DataError: a value occurs twice; the message gives both places.
    """
    seen: dict[str, str] = {}
    for row in rows:
        value = row.text(column)
        if value in seen:
            raise DataError(f"{row.where}: the {column} {value!r} occurs twice; first at {seen[value]}")
        seen[value] = row.where
        yield row
