"""Render items as prompts: the text of each wording, and the continuations that answer it."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from culnig.data import Item
from culnig.data.countries import find
from culnig.errors import PromptError
from culnig.files import sha256_json
from culnig.prompts.policies import PromptPolicy
from culnig.prompts.template import Wording, WordingList, load_template


@dataclass(frozen=True, slots=True)
class Prompt:
    """One wording of one item, as text.

    Attributes:
        item: the item of the prompt.
        wording: id of the wording; "" for a ready-made prompt.
        text: the user's message.
        prefix: the beginning of the answer ("Answer:").
        answers: the possible continuations, one text for each option; labels in mcf, the options themselves in cf.
        gold: index of the right answer.
        system: the system message; in front of the text where there is no chat template.
    """

    item: Item
    wording: str
    text: str
    prefix: str
    answers: tuple[str, ...]
    gold: int
    system: str = ""


def render(items: Iterable[Item], policy: PromptPolicy) -> list[Prompt]:
    """Return all wordings of all items, first in the order of the items, then of the wordings.

    Raises:
        PromptError: a template lacks the formulation, or an item has more options than labels.
    """
    return [prompt for item in items for prompt in _render_item(item, policy)]


def template_hash(items: Iterable[Item], policy: PromptPolicy) -> str:
    """Return the hash of the items' wordings; two files with the same wordings have the same hash."""
    names = {policy.template_of(item.template) for item in items if item.prompt is None}
    wordings = [getattr(load_template(name), policy.formulation) for name in sorted(names)]
    return sha256_json([each.facts() for each in wordings if each is not None])


def _render_item(item: Item, policy: PromptPolicy) -> list[Prompt]:
    if (policy.formulation == "short") != bool(item.answers):
        what = (
            "asks for a short answer: use `culnig answer`"
            if item.answers
            else "has no short answers: use `culnig eval`"
        )
        raise PromptError(f"item {item.id} of {item.benchmark} {what}")
    if item.answers and item.prompt is not None:
        return [Prompt(item, "", item.prompt, item.prefix, _spellings(item), 0)]
    if item.prompt is not None:
        target = item.target or ""
        answers = item.options or (target,)
        return [Prompt(item, "", item.prompt, item.prefix, answers, answers.index(target))]
    name = policy.template_of(item.template)
    wordings: WordingList | None = getattr(load_template(name), policy.formulation)
    if wordings is None:
        raise PromptError(f"the template '{name}' has no {policy.formulation} wordings")
    count = len(wordings.wordings) if policy.wordings == "all" else policy.wordings
    if not 1 <= count <= len(wordings.wordings):
        raise PromptError(
            f"{count} wordings asked for, the template '{name}' has {len(wordings.wordings)} for {policy.formulation}"
        )
    turns = len(item.options) if policy.orders == "cyclic" and policy.formulation == "mcf" else 1
    return [
        _fill(_turned(item, turn), wording, wordings, policy, f"/{turn}" if turns > 1 else "")
        for wording in wordings.wordings[:count]
        for turn in range(turns)
    ]


def _turned(item: Item, turn: int) -> Item:
    """Return the item with its options rotated by `turn` places."""
    if turn == 0:
        return item
    options = (*item.options[turn:], *item.options[:turn])
    return dataclasses.replace(item, options=options, answer=(item.answer - turn) % len(options))


def _fill(item: Item, wording: Wording, among: WordingList, policy: PromptPolicy, order: str = "") -> Prompt:
    text = wording.text if item.question else wording.control
    options, gold = _ordered(item, wording, policy)
    if policy.formulation == "short":
        answers, gold, listed = _spellings(item), 0, ""
    elif policy.formulation == "cf":
        answers = tuple(wording.join + option for option in options)
        listed = ""
    else:
        labels = wording.label_texts(options)
        if len(options) > len(labels):
            raise PromptError(f"item {item.id}: {len(options)} options, but only {len(labels)} labels in {wording.id}")
        answers = tuple(wording.join + label for label in labels[: len(options)])
        pairs = zip(labels, options, strict=False)
        listed = among.separator.join(among.option.replace("{label}", a).replace("{option}", o) for a, o in pairs)
    # Questions are inserted after the other slots and options last, because both may themselves hold braces.
    before, slot, after = (_put(part, item, among) for part in text.partition("{options}"))
    text = before + (listed if slot else "") + after
    system = _put(wording.system, item, among) if item.question else ""
    return Prompt(item, wording.id + order, text, wording.prefix, answers, gold, system)


def _put(text: str, item: Item, among: WordingList) -> str:
    """Fill the slots for country, scale and question; a control names no country."""
    if "{country}" in text:
        known = find(item.country)
        usual = known.phrase if known else item.country
        if among.spelling == "snake_case":
            usual = item.country.lower().replace(" ", "_")
        text = text.replace("{country}", "" if item.control else among.countries.get(item.country, usual))
    if item.scale:
        text = text.replace("{low}", str(item.scale[0])).replace("{high}", str(item.scale[1]))
    if "{line" not in text:
        return text.replace("{question}", item.question)
    first, _, rest = item.question.partition("\n")
    lines = {"line1": first, "line2": rest}
    for slot, name in zip(lines, among.lines, strict=False):
        lines[slot] = lines[slot].removeprefix(f"{name}:").removeprefix(" ")
    return re.sub(r"\{(line1|line2)\}", lambda found: lines[found[1]], text)


def _spellings(item: Item) -> tuple[str, ...]:
    """Return one spelling of each answer that counts as right."""
    return tuple((*answer.texts, *answer.english)[0] for answer in item.answers)


def _ordered(item: Item, wording: Wording, policy: PromptPolicy) -> tuple[tuple[str, ...], int]:
    """Return the options as listed and the gold one's place; only item and wording determine the order."""
    if not item.shuffle or policy.formulation == "cf":
        return item.options, item.answer
    order = list(range(len(item.options)))
    if wording.drawn_by:  # as the published code draws it
        digest = hashlib.md5(f"{item.id}_{wording.drawn_by}".encode(), usedforsecurity=False).hexdigest()
        random.Random(int(digest[:8], 16)).shuffle(order)
        if wording.draws == "labels":
            order = sorted(order, key=lambda i: order[i])
    else:
        random.Random(f"{item.benchmark}/{item.id}/{wording.id}").shuffle(order)
    return tuple(item.options[i] for i in order), order.index(item.answer)
