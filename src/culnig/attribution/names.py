"""Methods by name: the registry, and how a name carries a method's options.

A name is a method and, behind colons, the options in which it differs from its default: `culnig`, `culnig:sum`,
`culnig:last:logp:unweighted`, `ig:steps=8`.  Options are the fields of the method's class.

This file knows nothing of scores or of models, so that score files and methods can both import it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from culnig.errors import UsageError
from culnig.registry import Registry


class Named(BaseModel):
    """A method as its name describes it; fields are options.

    Attributes:
        base: the registered name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = ""

    @cached_property
    def name(self) -> str:
        """Return the canonical name: options that differ from their default, in a fixed order."""
        words = [self.base]
        for field, info in _options_of(type(self)).items():
            value = getattr(self, field)
            if value != info.default and not self.implied(field):
                words.append(str(value) if get_origin(info.annotation) is Literal else f"{field}={value}")
        return ":".join(words)

    def implied(self, field: str) -> bool:
        """Return whether an option's value goes without saying, given the other options; names leave it out."""
        return False


NAMED: Registry[type[Named]] = Registry("method", "culnig.attribution.methods", "culnig.methods")
"""The registered classes; `culnig.attribution.method.METHODS` is the same registry, typed as methods."""


def parse_name(text: str) -> Named:
    """Make the method that a name describes: "culnig:sum" gives `culnig` with positions="sum".

    Raises:
        UsageError: no such method or option, or a value out of range.
    """
    base, *words = text.strip().split(":")
    kind = NAMED.get(base)
    values: dict[str, Any] = {"base": base}
    for word in words:
        field, value = _option(kind, base, word)
        if field in values:
            raise UsageError(f"method '{text}': {field} is given twice")
        values[field] = value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"method '{text}': {'.'.join(map(str, first['loc']))} = {first['input']}: {first['msg']}"
        ) from error


def _describe_options(kind: type[Named]) -> list[str]:
    """An entry for each option, the default first: "max|sum|mean|last|absmax", "steps=20"."""
    entries = []
    for field, info in _options_of(kind).items():
        choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
        ordered = sorted(choices, key=lambda choice: choice != info.default)
        entries.append("|".join(map(str, ordered)) or f"{field}={info.default}")
    return entries


def _options_of(kind: type[Named]) -> dict[str, Any]:
    """A method's fields but its name; how positions are put together comes first, as one says it."""
    fields = {field: info for field, info in kind.model_fields.items() if field != "base"}
    return dict(sorted(fields.items(), key=lambda pair: pair[0] != "positions"))


def _option(kind: type[Named], base: str, word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    for field, info in _options_of(kind).items():
        if equals and name == field:
            return field, value
        if not equals and get_origin(info.annotation) is Literal and word in get_args(info.annotation):
            return field, word
    options = ", ".join(_describe_options(kind)) or "none"
    raise UsageError(f"method '{base}' has no option '{word}'; its options: {options}")
