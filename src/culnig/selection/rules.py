"""The thresholds of a selection, and the presets that name them."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from culnig.errors import UsageError

Preset = Literal["corrected", "paper"]
Share = Field(gt=0.0, le=1.0)


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Preset = Field(
        "corrected",
        description="corrected: means over the prompts that were summed; paper: the published implementation's divisors"
        " (a country's sum over the number of all items; unique ids although the sum runs over every wording)",
    )


class GeneralRule(_Rule):
    """Culture-general neurons (METHOD section 5)."""

    t_mlp: float = Field(0.01, gt=0.0, le=1.0, description="share of the MLP pool (gate) that is taken")
    t_attn: float = Field(0.002, ge=0.0, le=1.0, description="share of the attention pool (q, k, v) that is taken")
    r: float = Field(0.01, ge=0.0, le=1.0, description="share of each pool removed for its score on country_rc")
    r_ability: float = Field(
        0.01,
        ge=0.0,
        le=1.0,
        description="share of each pool removed for its score on ability items, where they are scored",
    )


class SpecificRule(_Rule):
    """Culture-specific neurons (METHOD section 5)."""

    t: float = Field(0.003, gt=0.0, le=1.0, description="share of the one pool (gate, q, k, v) that is taken")
    r: float = Field(0.01, ge=0.0, le=1.0, description="share removed for the country's score on country_rc")
    z: float = Field(0.5, description="least z-score of the country's D among all countries' D")


R = TypeVar("R", bound=_Rule)


def make_rule(kind: type[R], preset: str, values: dict[str, Any]) -> R:
    """A rule from a preset and the thresholds that are not None.

    Raises:
        UsageError: unknown preset, or a threshold out of range.
    """
    try:
        return kind(preset=preset, **{key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UsageError(f"{field.replace('_', '-')} = {first['input']!r}: {first['msg']}") from error
