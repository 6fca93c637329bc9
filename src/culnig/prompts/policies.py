"""How items are presented to the model: everything that can change a prompt, in one recorded object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from culnig.errors import PromptError, UsageError
from culnig.prompts.calibration import Calibration
from culnig.settings import Settings

Formulation = Literal["mcf", "cf", "short"]
Switch = Literal["auto", "on", "off"]
DEFAULT = "default"
"""Name of the chat template that is used if a tokenizer has several."""


class PromptPolicy(BaseModel):
    """Formulation, chat template, BOS and wordings of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    formulation: Formulation = Field(
        "mcf", description="mcf: answer with a label; cf: score each option's text; short: write it"
    )
    chat_template: Switch = Field("auto", description="auto: on if the tokenizer has one, off for cf")
    bos: Switch = Field("auto", description="auto: what the tokenizer does; on or off force it")
    wordings: int | Literal["all"] = Field(1, description="how many prompt wordings of each item, from the first on")
    system: str | None = Field(None, description="system prompt, with a chat template only")
    template: str | None = Field(
        None,
        description="template name or YAML file instead of the benchmark's own, or a folder with files of its name",
    )
    calibration: Calibration = Field(
        "none", description="what is taken off an option's log-probability: none, length, pmi, contrast"
    )
    offsets_from: Literal["untouched", "current"] = Field(
        "untouched",
        description="the model that offsets are measured on: the untouched one, or as it is, suppressed too",
    )
    orders: Literal["given", "cyclic"] = Field(
        "given", description="mcf: options in the order given, or once in each cyclic order"
    )

    @model_validator(mode="after")
    def _suits(self) -> PromptPolicy:
        if self.calibration == "length" and self.formulation == "mcf":
            raise ValueError("all labels have one length; calibration length is for cf")
        if self.orders == "cyclic" and self.formulation == "cf":
            raise ValueError("cf lists no options; cyclic orders are for mcf")
        return self

    @property
    def for_writing(self) -> PromptPolicy:
        """The same policy for short answers."""
        return self.model_copy(update={"formulation": "short", "calibration": "none", "orders": "given"})

    def template_of(self, own: str) -> str:
        """Return the template of a benchmark whose own is `own`: `NAME` or `NAME#wording`.

        Raises:
            UsageError: the policy names a folder that holds no templates.
        """
        if self.template is None or not Path(self.template).is_dir():
            return self.template or own
        name, mark, wording = own.partition("#")
        file = Path(self.template) / f"{name}.yaml"
        if file.is_file():
            return f"{file}{mark}{wording}"
        if not any(Path(self.template).glob("*.yaml")):
            raise UsageError(f"{self.template}: this folder holds no prompt template (NAME.yaml)")
        return own

    def chat(self, tokenizer: Any) -> ChatTemplate | None:
        """Return the chat template for prompts; None if they are used as they are.

        Raises:
            PromptError: a template is required and the tokenizer has none, or it has several and none is the default.
        """
        has = bool(getattr(tokenizer, "chat_template", None))
        if self.chat_template == "on" and not has:
            raise PromptError("--chat-template on: this model's tokenizer has no chat template; use auto or off")
        wanted = self.chat_template == "on" or (self.chat_template == "auto" and has and self.formulation != "cf")
        return chat_template_of(tokenizer) if wanted else None

    def resolved(self, tokenizer: Any) -> dict[str, Any]:
        """Return the policy as it is recorded: `auto` is replaced by the choice that was made.

        `chat_template_name` is included only if the tokenizer has several templates.
        """
        chat = self.chat(tokenizer)
        recorded = self.model_dump() | {"chat_template": "on" if chat else "off"}
        return recorded | ({"chat_template_name": chat.name} if chat and chat.name else {})


def default_calibration(formulation: str) -> Calibration:
    """Return the calibration that a formulation gets if none is named.

    cf gets pmi, chosen on `everyday:neur` (docs/results.md).  mcf gets none, as in the paper: a label has no word
    frequency.
    """
    return "pmi" if formulation == "cf" else "none"


SCORE_CALIBRATION: Calibration = "none"
"""The calibration of P in scores where none is named, chosen on `everyday:neur` (docs/results.md)."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A tokenizer's chat template.

    Attributes:
        name: its name among several; "" if the tokenizer has only one.
        text: the template itself.
    """

    name: str
    text: str


def chat_template_of(tokenizer: Any) -> ChatTemplate:
    """Return the tokenizer's chat template; if it has several, the one named `default`.

    Raises:
        PromptError: there are several, and none has that name.
    """
    given = tokenizer.chat_template
    if isinstance(given, str):
        return ChatTemplate("", given)
    if not isinstance(given, Mapping):  # the form of tokenizer_config.json: [{"name": ..., "template": ...}]
        given = {entry["name"]: entry["template"] for entry in given}
    if DEFAULT not in given:
        raise PromptError(
            f"this model's tokenizer has several chat templates ({', '.join(sorted(given))}) and none is named"
            f" '{DEFAULT}'; use --chat-template off, or give one of them that name"
        )
    return ChatTemplate(DEFAULT, given[DEFAULT])


def recorded(prompts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a file says of its prompts, completed by what files of earlier versions do not say."""
    return {"calibration": "none", "offsets_from": "untouched", "orders": "given"} | dict(prompts) if prompts else {}


class PromptConfig(Settings):
    """How items are presented to the model."""

    formulation: Literal["auto", "mcf", "cf"] = Field("auto", description="auto: the one recommended for the model")
    chat_template: Switch = "auto"
    bos: Switch = "auto"
    wordings: int | Literal["all"] = 1
    system: str | None = None
    template: str | None = None
    calibration: Literal["auto", "none", "length", "pmi", "contrast"] = Field(
        "auto", description="taken off an option's log-probability; auto: pmi for cf, none for mcf, as published"
    )
    score_calibration: Literal["auto", "none", "length", "pmi", "contrast"] = Field(
        "auto", description="the same for P in scores; auto: none, as published"
    )
    offsets_from: Literal["untouched", "current"] = "untouched"
    orders: Literal["given", "cyclic"] = "given"

    def policy(self, recommended: str) -> PromptPolicy:
        """Return the prompt policy; `auto` takes what is recommended for the model.

        Raises:
            UsageError: two settings exclude each other.
        """
        formulation = recommended if self.formulation == "auto" else self.formulation
        calibration = default_calibration(formulation) if self.calibration == "auto" else self.calibration
        return self._policy(formulation, calibration)

    def scoring_policy(self, recommended: str) -> PromptPolicy:
        """Return the prompt policy that scores are made under: the same, but for the calibration.

        Raises:
            UsageError: two settings that do not go together.
        """
        formulation = recommended if self.formulation == "auto" else self.formulation
        calibration = SCORE_CALIBRATION if self.score_calibration == "auto" else self.score_calibration
        return self._policy(formulation, calibration)

    def _policy(self, formulation: str, calibration: str) -> PromptPolicy:
        values = self.model_dump(exclude={"score_calibration"})
        return make_policy(values | {"formulation": formulation, "calibration": calibration})


def make_policy(values: Mapping[str, Any], before: str = "") -> PromptPolicy:
    """Return the policy of some values.

    Args:
        values: fields and their values.
        before: prefix of a field's name in an error ("--" on the command line).

    Raises:
        UsageError: a value is not allowed for its field, or two values exclude each other.
    """
    try:
        return PromptPolicy.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        where = f"{before}{str(first['loc'][0]).replace('_', '-')} {first['input']}: " if first["loc"] else ""
        raise UsageError(f"{where}{message[0].lower()}{message[1:]}") from error
