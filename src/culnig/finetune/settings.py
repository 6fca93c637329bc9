"""Settings of a fine-tuning: what is updated, and how it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from culnig.data import DataConfig
from culnig.errors import UsageError
from culnig.finetune.ranking import parse_share
from culnig.models.settings import ModelConfig
from culnig.prompts import PromptConfig
from culnig.settings import Settings, read_settings


class PickConfig(Settings):
    """A choice of projections by the neurons they hold, up to a budget."""

    pick: Literal["top", "bottom", "random"]
    share: float = Field(0.1, gt=0, le=1, description="of the decoder's parameters: 10% or 0.1")
    neurons: str = Field(description="neuron set (JSON) that ranks the projections")
    seed: int = Field(0, ge=0, description="order of projections with the same count; order of random")
    by: Literal["module", "block"] = Field(
        "module", description="ranked by a projection's own neurons, or by those of its block, as published"
    )
    among: Literal["all", "gates", "mlp"] = Field(
        "all", description="the projections to choose from: all, the gates alone, or the MLP blocks alone"
    )

    @field_validator("share", mode="before")
    @classmethod
    def _share(cls, value: Any) -> Any:
        try:
            return parse_share(value) if isinstance(value, str) else value
        except UsageError as error:
            raise ValueError(str(error)) from error


class LoraConfig(Settings):
    """Low-rank adapters, merged into the weights at the end."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


class UpdateConfig(Settings):
    """The parameters that training may change."""

    what: Literal["all", "modules", "lora"] = Field(
        "all", description="the whole decoder; chosen projections; or adapters on chosen projections"
    )
    modules: PickConfig | list[str] | str | None = Field(
        None, description="a pick, a list of paths, or a regular expression of full paths (as PEFT's target_modules)"
    )
    lora: LoraConfig = LoraConfig()
    protect: str | None = Field(None, description="neuron set whose rows keep their values")
    only: str | None = Field(None, description="neuron set whose rows are all that changes")

    @model_validator(mode="after")
    def _together(self) -> UpdateConfig:
        if self.what != "all" and not self.modules:
            raise ValueError(f"what: {self.what} needs modules: a pick, a list of paths, or a regular expression")
        if self.what == "all" and self.modules:
            raise ValueError("modules are given, but what: all updates everything; say what: modules, or what: lora")
        if self.only and (self.what != "all" or self.protect):
            raise ValueError("only: a neuron set is all that changes; leave what, modules and protect out")
        return self


class TrainingConfig(Settings):
    """The settings of the training; the defaults are the paper's."""

    learning_rate: float = Field(3e-5, gt=0)
    schedule: str = Field("constant", description="a schedule of transformers: constant, linear, cosine, ...")
    warmup_steps: int = Field(0, ge=0)
    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1, description="stop after so many updates")
    batch: int = Field(4, ge=1, description="prompts a forward pass, on each device")
    accumulation: int = Field(4, ge=1, description="forward passes an update")
    optimizer: str = Field("adamw_torch", description="an optimizer of transformers")
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, ge=0, description="greatest norm of the gradient; 0 is no clipping")
    mixed_precision: Literal["no", "bf16", "fp16"] = Field(
        "no", description="autocast; weights that train are float32 meanwhile, and saved in the model's dtype"
    )
    checkpoint_minutes: float = Field(5.0, ge=0, description="keep the progress so often; 0 after every update")
    report_to: list[str] = Field(
        [], description="wandb, tensorboard, ...: nothing is sent or written unless named here"
    )
    arguments: dict[str, Any] = Field({}, description="any other field of transformers' TrainingArguments")


class FinetuneConfig(Settings):
    """All settings of one fine-tuning."""

    name: str = Field(
        "finetune", pattern=r"^[A-Za-z0-9._-]+$", description="names the default output folder, runs/<name>"
    )
    seed: int = Field(0, ge=0, description="order of the data, random adapters")
    data_seed: int | None = Field(None, ge=0, description="draw of the items; null is the seed")
    sources: dict[str, str] = Field({}, description="benchmark -> file, folder or hub id that its rows come from")
    model: ModelConfig = ModelConfig()
    prompts: PromptConfig = PromptConfig()
    task: DataConfig = Field(description="items to train on")
    validate_on: DataConfig | None = Field(None, description="items whose loss is measured after every epoch")
    update: UpdateConfig = UpdateConfig()
    training: TrainingConfig = TrainingConfig()


def load_finetune_config(path: str | Path, overrides: Sequence[str] = ()) -> FinetuneConfig:
    """Read a fine-tuning's config from a YAML file; arguments and errors as in `read_settings`."""
    return read_settings(FinetuneConfig, path, overrides)
