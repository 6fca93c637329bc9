"""Item -> Prompt: the text of each wording, and the continuations that answer it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from culnig.benchmarks import Item
from culnig.errors import PromptError
from culnig.prompts._policy import PromptPolicy
from culnig.prompts._template import LABELS, Wording, WordingList, load_template


@dataclass(frozen=True, slots=True)
class Prompt:
    """One wording of one item, as text.

    Attributes:
        item: where it comes from.
        wording: id of the wording; "" for a ready-made prompt.
        text: what the user says.
        prefix: how the answer begins ("Answer:").
        answers: what may follow, a text for each option; labels in mcf, the options themselves in cf.
        gold: index of the right one.
    """

    item: Item
    wording: str
    text: str
    prefix: str
    answers: tuple[str, ...]
    gold: int


def render(items: Iterable[Item], policy: PromptPolicy) -> list[Prompt]:
    """All wordings of all items, items in order and wordings within an item.

    Raises:
        PromptError: a template lacks the formulation, or an item has more options than labels.
    """
    return [prompt for item in items for prompt in _render_item(item, policy)]


def _render_item(item: Item, policy: PromptPolicy) -> list[Prompt]:
    if item.prompt is not None:
        target = item.target or ""
        answers = item.options or (target,)
        return [Prompt(item, "", item.prompt, "", answers, answers.index(target))]
    template = load_template(policy.template or item.template)
    wordings: WordingList | None = getattr(template, policy.formulation)
    if wordings is None:
        raise PromptError(f"the template '{policy.template or item.template}' has no {policy.formulation} wordings")
    count = len(wordings.wordings) if policy.wordings == "all" else policy.wordings
    if not 1 <= count <= len(wordings.wordings):
        raise PromptError(
            f"{count} wordings asked for, the template '{policy.template or item.template}' has"
            f" {len(wordings.wordings)} for {policy.formulation}"
        )
    return [_fill(item, wording, wordings.option, policy) for wording in wordings.wordings[:count]]


def _fill(item: Item, wording: Wording, option_format: str, policy: PromptPolicy) -> Prompt:
    text = wording.text if item.question else wording.control
    if policy.formulation == "cf":
        answers = tuple(wording.join + option for option in item.options)
        listed = ""
    else:
        labels = LABELS[wording.labels]
        if len(item.options) > len(labels):
            raise PromptError(f"item {item.id}: {len(item.options)} options, but only {len(labels)} {wording.labels}")
        answers = tuple(wording.join + label for label in labels[: len(item.options)])
        pairs = zip(labels, item.options, strict=False)
        listed = "\n".join(option_format.replace("{label}", a).replace("{option}", o) for a, o in pairs)
    # Options go in last: a question or option may itself hold braces.
    before, slot, after = text.partition("{options}")
    text = (
        before.replace("{question}", item.question)
        + (listed if slot else "")
        + after.replace("{question}", item.question)
    )
    return Prompt(item, wording.id, text, wording.prefix, answers, item.answer)
