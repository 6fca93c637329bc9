"""How items are put to the model: everything that can change a prompt, in one recorded object."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from culnig.errors import PromptError
from culnig.settings import Settings

Formulation = Literal["mcf", "cf", "short"]
Switch = Literal["auto", "on", "off"]


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
    template: str | None = Field(None, description="template name or YAML file instead of the benchmark's own")

    @property
    def for_writing(self) -> PromptPolicy:
        """The same policy for short answers."""
        return self.model_copy(update={"formulation": "short"})

    def uses_chat(self, tokenizer: Any) -> bool:
        """Whether prompts go through the tokenizer's chat template.

        Raises:
            PromptError: it is asked for and the tokenizer has none.
        """
        has = bool(getattr(tokenizer, "chat_template", None))
        if self.chat_template == "on" and not has:
            raise PromptError("--chat-template on: this model's tokenizer has no chat template; use auto or off")
        if self.chat_template == "auto":
            return has and self.formulation != "cf"
        return self.chat_template == "on"

    def resolved(self, tokenizer: Any) -> dict[str, Any]:
        """The policy as it is recorded: with `auto` replaced by what was done."""
        return self.model_dump() | {"chat_template": "on" if self.uses_chat(tokenizer) else "off"}


class PromptConfig(Settings):
    """How items are put to the model."""

    formulation: Literal["auto", "mcf", "cf"] = Field("auto", description="auto: the one recommended for the model")
    chat_template: Switch = "auto"
    bos: Switch = "auto"
    wordings: int | Literal["all"] = 1
    system: str | None = None
    template: str | None = None

    def resolved(self, recommended: str) -> dict[str, Any]:
        """The fields of a prompt policy, with the formulation recommended for the model where it is left to it."""
        settings = self.model_dump()
        return settings | {"formulation": recommended if self.formulation == "auto" else self.formulation}
