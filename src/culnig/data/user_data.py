"""A user's own data set: a YAML file that names rows and columns is a benchmark.

docs/extending.md shows one.  Groups can be anything (region, language, religion).  `group` takes a column unchanged;
`country` takes names of countries in any spelling that `countries.py` knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from culnig.data.items import Account, Item, ItemList, Split
from culnig.data.sources import hub_rows
from culnig.data.tables import Row, markup_in, read_table
from culnig.errors import DataError
from culnig.files import require_file
from culnig.parsing import NotParsed, parse_yaml

_SLOT = re.compile(r"\{([^{}]+)\}")
CONTROL = "ctrl"


class ControlRecipe(BaseModel):
    """How a control is made from an item: either `drop` or `template`."""

    model_config = ConfigDict(extra="forbid")

    drop: Literal["question"] | list[str] | None = Field(
        None, description="question: leave it out; a list of columns: leave these empty in the question's text"
    )
    template: str | None = Field(None, description="another text in place of the question; slots as there")

    @model_validator(mode="after")
    def _one(self) -> ControlRecipe:
        if (self.drop is None) == (self.template is None):
            raise ValueError("give either drop or template")
        return self


class UserData(BaseModel):
    """The content of the YAML file."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    file: str | None = Field(None, description="CSV, TSV, JSON, JSON Lines or Parquet; relative to the YAML file")
    hub: str | None = Field(None, description="hub id instead of a file, with config and split")
    config: str | None = None
    split: str = "train"
    id: str | None = Field(None, description="column of a unique id; without it, the row's number")
    question: str | None = Field(None, description="a column, or a text with columns in braces")
    prompt: str | None = Field(None, description="a column with a ready-made prompt, instead of a question")
    prefix: str = Field("", description="how the answer to a ready-made prompt begins")
    options: str | list[str] | None = Field(None, description="one column with a list or object, or a column an option")
    choices: list[str] | None = Field(None, description="the same options for every row, instead of columns")
    answer: str = Field(description="column of the gold answer")
    answer_as: Literal["text", "letter", "index", "number"] = Field(
        "text", description="what it holds: the option's text, its letter, its index from 0, its number from 1"
    )
    group: str | None = Field(None, description="column that scores are summed by, taken as it stands")
    country: str | None = Field(None, description="the same with names of countries, in any known spelling")
    topic: str | None = None
    splits: dict[str, dict[str, str | list[str]]] = Field({}, description="split -> column -> its value or values")
    control: ControlRecipe | None = None
    template: str = Field("question", description="prompt template, by name or as a file")
    shuffle: bool = Field(True, description="list the options in an order drawn for each prompt wording")

    @field_validator("splits")
    @classmethod
    def _reserved(cls, splits: dict[str, Any]) -> dict[str, Any]:
        if CONTROL in splits:
            raise ValueError("'ctrl' is made by the control recipe; give a split of rows another name")
        return splits

    @model_validator(mode="after")
    def _pairs(self) -> UserData:
        for a, b in (("file", "hub"), ("question", "prompt"), ("options", "choices")):
            if (getattr(self, a) is None) == (getattr(self, b) is None):
                raise ValueError(f"give either {a} or {b}")
        if self.group and self.country:
            raise ValueError("give group or country, not both")
        if self.prompt and (self.choices is None or (self.control and self.control.drop)):
            raise ValueError("a ready-made prompt needs choices (its labels), and its control needs a template")
        if self.control and isinstance(self.control.drop, list):
            slots = _SLOT.findall(self.question or "")
            if missing := [column for column in self.control.drop if column not in slots]:
                raise ValueError(f"control drops {', '.join(missing)}, which the question's text does not hold")
        return self


def read_user_benchmark(path: str) -> UserBenchmark:
    """Read the benchmark that a YAML file describes.

    Raises:
        UsageError: the file does not exist.
        DataError: the file is not YAML, or a setting is wrong; the message names it.
    """
    try:
        text = require_file(path, "a description of a data set (YAML)").read_text(encoding="utf-8")
        data = UserData.model_validate(parse_yaml(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise DataError(f"{path}: {where + ': ' if where else ''}{message}; see docs/extending.md") from error
    except (NotParsed, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return UserBenchmark(data, Path(path))


class UserBenchmark:
    """A benchmark made from a user's own rows."""

    def __init__(self, data: UserData, path: Path) -> None:
        self.data = data
        self.path = path
        self.description = f"your own: {path}"
        self.source = data.hub or str(path.parent / str(data.file))
        self._rows = list(data.splits) or ["all"]
        self._controlled = "neur" if "neur" in self._rows else self._rows[0]

    @property
    def splits(self) -> tuple[Split, ...]:
        made = [
            Split(name, ", ".join(f"{c}: {v}" for c, v in self.data.splits.get(name, {}).items()) or "all rows", only)
            for name in self._rows
            for only in [len(self._rows) == 1]
        ]
        if self.data.control:
            made.insert(1, Split(CONTROL, f"the control of `{self._controlled}`"))
        return tuple(made)

    def load(self, split: str, *, seed: int) -> ItemList:
        """Return the items of a split; the seed has no effect, because the rows determine everything.

        Raises:
            FetchError: a hub set cannot be fetched.
            DataError: a row is broken; the message gives file, row and reason.
        """
        account = Account(self.source)
        items = list(self._items(split, account))
        if not items:
            raise DataError(f"{self.path}: no rows in the split '{split}' ({account})")
        return ItemList(items, account)

    def _items(self, split: str, account: Account) -> Iterator[Item]:
        wanted = self.data.splits.get(self._controlled if split == CONTROL else split, {})
        seen: dict[str, str] = {}
        for number, row in enumerate(self._read(), start=1):
            account.rows += 1
            identity = row.text(self.data.id) if self.data.id else str(number)
            if identity in seen:
                raise DataError(f"{row.where}: the id {identity!r} occurs twice; first at {seen[identity]}")
            seen[identity] = row.where
            item = self._item(row, identity)  # made for every row, so that a broken row raises an error in every split
            if all(str(row.get(column)) in _listed(values) for column, values in wanted.items()):
                yield self._control(item, row) if split == CONTROL else item
            else:
                account.leave_out("in other splits")

    def _read(self) -> Iterator[Row]:
        if self.data.hub:
            return hub_rows(self.data.hub, self.data.config, self.data.split)
        return read_table(require_file(self.path.parent / str(self.data.file), f"the rows that {self.path} names"))

    def _item(self, row: Row, identity: str) -> Item:
        data = self.data
        options = _options(row, data)
        answer = _answer(row, data, options)
        ready = data.prompt is not None
        return Item(
            id=identity,
            benchmark=data.name,
            country=row.country(data.country) if data.country else row.text(data.group) if data.group else "none",
            question="" if ready else _fill(data.question or "", row, ()),
            options=tuple(options.values()),
            answer=answer,
            topic=row.text(data.topic) if data.topic else "",
            prompt=_fill(data.prompt, row, ()) if data.prompt else None,
            target=list(options.values())[answer] if ready else None,
            prefix=data.prefix,
            template=data.template,
            shuffle=data.shuffle and not ready,
        )

    def _control(self, item: Item, row: Row) -> Item:
        import dataclasses

        recipe = self.data.control
        assert recipe is not None
        if recipe.template is not None:
            text = _fill(recipe.template, row, (), always=True)
        elif isinstance(recipe.drop, list):
            text = _fill(self.data.question or "", row, tuple(recipe.drop))
        else:
            text = ""
        changed: dict[str, Any] = {"question": text} if item.prompt is None else {"prompt": text}
        return dataclasses.replace(item, control=True, **changed)


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values


def _fill(text: str, row: Row, dropped: tuple[str, ...], always: bool = False) -> str:
    """Return a column's value, or a text with its columns filled in; leave the `dropped` ones empty."""
    if not _SLOT.search(text):
        return text if always else _clean(row, text)
    filled = _SLOT.sub(lambda slot: "" if slot[1] in dropped else _clean(row, slot[1]), text)
    return "\n".join(line.rstrip() for line in filled.split("\n"))


def _clean(row: Row, column: str) -> str:
    text = row.text(column)
    if markup := markup_in(text):
        raise DataError(f"{row.where}: HTML ({markup}) in '{column}'; turn it into plain text")
    return text


def _options(row: Row, data: UserData) -> dict[str, str]:
    """Return letter -> option."""
    if data.choices is not None:
        values: Any = data.choices
    elif isinstance(data.options, list):
        values = [_clean(row, column) for column in data.options]
    else:
        values = row.get(str(data.options))
    if isinstance(values, Mapping):
        options = {str(letter): str(value).strip() for letter, value in values.items()}
    elif isinstance(values, list | tuple):
        options = {chr(ord("A") + index): str(value).strip() for index, value in enumerate(values)}
    else:
        raise DataError(f"{row.where}: '{data.options}' must hold a list of options, not {values!r}")
    texts = list(options.values())
    if len(texts) < 2 or not all(texts) or len(set(texts)) < len(texts):
        raise DataError(f"{row.where}: needs at least two options, none empty and none twice, not {texts}")
    if markup := next(filter(None, map(markup_in, texts)), None):
        raise DataError(f"{row.where}: HTML ({markup}) in the options; turn it into plain text")
    return options


def _answer(row: Row, data: UserData, options: dict[str, str]) -> int:
    """Return the index of the gold option."""
    known = {
        "text": list(options.values()),
        "letter": list(options),
        "index": [str(index) for index in range(len(options))],
        "number": [str(index + 1) for index in range(len(options))],
    }[data.answer_as]
    value = row.text(data.answer)
    if value not in known:
        raise DataError(
            f"{row.where}: unknown answer {value!r} in '{data.answer}'; as {data.answer_as} it is one of"
            f" {', '.join(known)} (answer_as: text, letter, index or number)"
        )
    return known.index(value)
