"""The settings of a run that studies look at: model, data, test sets with their roles, rules, guards."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from culnig.attribution import parse_methods
from culnig.data import DataConfig, parse_name
from culnig.errors import UsageError
from culnig.integrations.tracking import TrackingConfig
from culnig.intervention import Operation
from culnig.models.settings import ModelConfig
from culnig.prompts import PromptConfig
from culnig.selection import GeneralRule, SpecificRule
from culnig.settings import Settings

S = TypeVar("S", bound=Settings)


class TestConfig(DataConfig):
    """A set of items to evaluate on, and what it stands for."""

    __test__ = False  # not a test case, whatever pytest thinks of the name
    role: Literal["culture", "ability", "facts", "surface", "task", "short"] = Field(
        description="culture: what should fall; ability: what should stay; facts: what tells culture from recall;"
        " surface: reading of country names; task: what a fine-tuning is to teach; short: short answers that the model writes"
    )

    @property
    def label(self) -> str:
        """Benchmark and split, without the place of the rows; the whole text of a file's name."""
        name, split, _ = parse_name(self.items)
        return f"{name}:{split}" if split else name


class IdentifyConfig(Settings):
    """The sets that neurons are found on."""

    neur: DataConfig = DataConfig(items="everyday:neur")
    ctrl: DataConfig = DataConfig(items="everyday:ctrl")
    crc: DataConfig = DataConfig(items="country_rc:neur")
    ability: DataConfig | None = Field(None, description="ability items; neurons that score high on them are removed")


class GuardConfig(Settings):
    """What tells a model that lost culture from one that broke."""

    text: str | None = Field(
        "plain", description="text for perplexity: plain (embedded), a text file, or null for none"
    )
    conditions: Literal["all", "main"] = Field(
        "all",
        description="suppressions guarded: all (random controls and every country's set too), or the culture-general set",
    )
    reading: Literal["all", "main"] = Field("all", description="the same for country reading alone, the dearest guard")


class ComputeConfig(Settings):
    """Speed and memory; nothing here changes a result."""

    token_budget: int | None = Field(None, ge=16, description="padded tokens a batch; null suits the device")
    checkpoint_minutes: float = Field(5.0, ge=0, description="keep the progress of scoring so often")
    scores_from: str | None = Field(None, description="a finished run with the same model and items: take its scores")


class RunSettings(Settings):
    """The settings of a run that every study may look at.  `run.config.RunSettings` adds the studies' own."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9._-]+$", description="names the default output folder, runs/<name>")
    seed: int = Field(0, ge=0)
    model: ModelConfig = ModelConfig()
    prompts: PromptConfig = PromptConfig()
    identify: IdentifyConfig = IdentifyConfig()
    test: list[TestConfig] = Field(min_length=1)
    scoring: str = Field(
        "culnig", description="scoring methods with their options (culnig,culnig:sum,atp); studies select by the first"
    )
    blocks: int | None = Field(None, ge=2, description="keep sums of so many blocks of items, to resample them (20)")
    block_groups: bool = Field(
        False,
        description="keep them by country as well, to resample culture-specific sets; blocks x countries as large",
    )
    padded_zeros: int | None = Field(
        None, ge=1, description="let padded positions enter maxima as 0, as the published code does in batches of 16"
    )
    sources: dict[str, str] = Field({}, description="benchmark -> file, folder or hub id that its rows come from")
    operation: str = Field(
        "suppress",
        description="suppress, enhance, scale=FACTOR; mean, control: replace by the mean over identify.neur, identify.ctrl",
    )
    culture_general: GeneralRule = GeneralRule()
    culture_specific: SpecificRule = SpecificRule()
    specific_test: Literal["all", "targets"] = Field(
        "all", description="countries that culture-specific sets are tested on; targets: those that have a set"
    )
    random_controls: int = Field(5, ge=1, le=1000, description="random sets to compare with")
    random_kind: Literal["matched", "uniform", "pool", "whole"] = Field(
        "matched",
        description="where they are drawn: matched (same modules and layers), uniform (same pools, none of the set's own),"
        " pool (same pools, the set's own included), whole (gate, q, k, v as one pool, as published)",
    )
    matched_controls: int = Field(
        0, ge=0, le=1000, description="matched random sets besides, on the first culture and ability test sets"
    )
    specific_controls: int = Field(
        1, ge=0, le=100, description="random sets of each country's set, drawn alike, on the target countries' items"
    )
    specific_equal: bool = Field(
        False, description="also suppress each country's set cut to the size of the smallest, its best neurons"
    )
    correction: Literal["holm", "bh"] = Field("holm", description="of p-values over test sets, and over countries")
    guards: GuardConfig = GuardConfig()
    studies: list[str] = Field(["culture_general", "culture_specific"], min_length=1)
    seeds: int = Field(1, ge=1, le=100, description="fine-tunings of each arm (studies finetune and restore)")
    keep_tuned: bool = Field(False, description="keep the tuned checkpoints, not only what was measured on them")
    compute: ComputeConfig = ComputeConfig()
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("test")
    @classmethod
    def _distinct(cls, tests: list[TestConfig]) -> list[TestConfig]:
        for number, test in enumerate(tests):
            if any(test.label == other.label for other in tests[:number]):
                raise ValueError(f"{test.label} is listed twice; results are kept by its name")
        return tests

    @field_validator("operation")
    @classmethod
    def _operation(cls, text: str) -> str:
        try:
            Operation.parse(text)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return text

    @field_validator("block_groups")
    @classmethod
    def _of_blocks(cls, kept: bool, info: ValidationInfo) -> bool:
        if kept and info.data.get("blocks") is None:
            raise ValueError("there are no blocks to keep by country; set blocks, too (20)")
        return kept

    @field_validator("scoring")
    @classmethod
    def _method(cls, text: str) -> str:
        return checked_methods(text)

    @property
    def done(self) -> Operation:
        """What is done to the neurons of the run's conditions."""
        return Operation.parse(self.operation)

    def test_of(self, role: str) -> TestConfig | None:
        """The first test set of a role, on which all studies look."""
        return next(iter(self.tests_of(role)), None)

    def tests_of(self, role: str) -> list[TestConfig]:
        """All test sets of a role."""
        return [test for test in self.test if test.role == role]

    def section(self, kind: type[S]) -> S:
        """A study's own settings: the field of that type.

        Raises:
            UsageError: the config has no such section; its study is not registered.
        """
        for name in type(self).model_fields:
            if isinstance(value := getattr(self, name), kind):
                return value
        raise UsageError(f"the config has no settings of the kind {kind.__name__}; is its study registered?")


def checked_methods(methods: str) -> str:
    """The text, if it names methods; pydantic wants a ValueError."""
    try:
        parse_methods(methods)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return methods
