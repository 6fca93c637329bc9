"""Convert prompts to token ids."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from culnig.data import Item
from culnig.errors import PromptError
from culnig.prompts.calibration import length_of
from culnig.prompts.policies import ChatTemplate, PromptPolicy
from culnig.prompts.rendering import Prompt

PART = 2048
"""Texts that a tokenizer gets at once."""
KEPT = 6
"""Number of results of `encode` that are kept for each tokenizer."""
_LATEST: WeakKeyDictionary[Any, OrderedDict[Any, list[Encoded]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Encoded:
    """One prompt as token ids.

    Attributes:
        item: the item of the prompt.
        wording: id of the prompt's wording.
        prompt_ids: the prompt's tokens; in mcf also the tokens with which all labels begin (a blank before a digit).
        answer_ids: the tokens of each answer after the prompt; one token each in mcf, but for numbers on a scale.
        gold: index of the right answer.
        in_context: whether the answers were tokenised in their place after the prompt.  If a tokenizer would merge
            the two across the boundary, answers are tokenised alone.
        lengths: characters of each answer.
    """

    item: Item
    wording: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[tuple[int, ...], ...]
    gold: int
    in_context: bool
    lengths: tuple[int, ...] = ()


def encode(
    prompts: Sequence[Prompt], tokenizer: Any, policy: PromptPolicy, max_length: int | None = None
) -> list[Encoded]:
    """Tokenise prompts and their answers.

    The latest results of each tokenizer are kept, because every condition of a run asks for the same ones.

    Args:
        prompts: the result of `render`.
        tokenizer: a transformers tokenizer.
        policy: the policy of `render`; it decides chat template and BOS.
        max_length: longest row (prompt and one answer) that the model takes.

    Raises:
        PromptError: a chat template fails, an answer label is not one token or equals another one, or a prompt is empty
            or too long (nothing is ever truncated).
    """
    if not prompts:
        raise PromptError("no items left to encode")
    latest = _LATEST.setdefault(tokenizer, OrderedDict())
    key = (tuple(prompts), policy.model_dump_json(), max_length, policy.chat(tokenizer))
    if key not in latest:
        latest[key] = encode_anew(prompts, tokenizer, policy, max_length)
        if len(latest) > KEPT:
            latest.popitem(last=False)
    latest.move_to_end(key)
    return list(latest[key])


def encode_prompts(
    prompts: Sequence[Prompt], tokenizer: Any, policy: PromptPolicy, max_length: int | None = None, room: int = 0
) -> list[tuple[int, ...]]:
    """Tokenise prompts alone, for a model that writes its answers; leave `room` tokens for these.

    Raises:
        PromptError: a chat template fails, or a prompt is empty or too long (nothing is ever truncated).
    """
    if not prompts:
        raise PromptError("no items left to encode")
    texts, tokens = _texts(prompts, tokenizer, policy)
    rows = tokens(texts)
    for prompt, ids in zip(prompts, rows, strict=True):
        if not ids:
            raise PromptError(f"item {prompt.item.id}: the prompt has no tokens")
        if max_length is not None and len(ids) + room > max_length:
            raise PromptError(
                f"item {prompt.item.id}: {len(ids)} tokens and {room} for the answer, the model takes {max_length}"
            )
    return [tuple(ids) for ids in rows]


def forget_encoded(tokenizer: Any) -> None:
    """Drop the results of `encode` that are kept for a tokenizer."""
    _LATEST.pop(tokenizer, None)


def encode_anew(
    prompts: Sequence[Prompt], tokenizer: Any, policy: PromptPolicy, max_length: int | None
) -> list[Encoded]:
    """Do as `encode`, and keep nothing."""
    texts, tokens = _texts(prompts, tokenizer, policy)
    prompt_ids = tokens(texts)
    joined = tokens([text + answer for text, p in zip(texts, prompts, strict=True) for answer in p.answers])
    alone = ids_of([answer for p in prompts for answer in p.answers], tokenizer, special=False)
    encoded, start = [], 0
    for prompt, ids in zip(prompts, prompt_ids, strict=True):
        stop = start + len(prompt.answers)
        answers = [whole[len(ids) :] for whole in joined[start:stop]]
        in_context = all(a and whole[: len(ids)] == ids for a, whole in zip(answers, joined[start:stop], strict=True))
        if not in_context:
            answers = alone[start:stop]
        elif policy.formulation == "mcf":
            ids, answers = _past_shared(ids, answers)
        row = Encoded(
            prompt.item,
            prompt.wording,
            tuple(ids),
            tuple(map(tuple, answers)),
            prompt.gold,
            in_context,
            length_of(prompt.answers),
        )
        _check(row, prompt, policy, getattr(tokenizer, "unk_token_id", None), max_length)
        encoded.append(row)
        start = stop
    return encoded


def _past_shared(prompt: list[int], answers: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """Move the tokens with which all labels begin to the end of the prompt.

    Many tokenizers never join a blank and a digit: " 1" and " 2" are the blank and the digit, and the digit is
    the label.
    """
    shared = 0
    shortest = min(map(len, answers))
    while len(answers) > 1 and shared < shortest - 1 and len({answer[shared] for answer in answers}) == 1:
        shared += 1
    return [*prompt, *answers[0][:shared]], [answer[shared:] for answer in answers]


def ids_of(texts: Sequence[str], tokenizer: Any, special: bool) -> list[list[int]]:
    """Tokenise texts, `PART` at a time: beside the ids, a tokenizer makes 2 KB of a text for as long as its call lasts."""
    found: list[list[int]] = []
    for start in range(0, len(texts), PART):
        found += tokenizer(list(texts[start : start + PART]), add_special_tokens=special)["input_ids"]
    return found


class _Tokens:
    """Tokenises texts under the BOS policy; a chat template writes its own special tokens."""

    def __init__(self, tokenizer: Any, policy: PromptPolicy, chat: bool) -> None:
        self._tokenizer = tokenizer
        self._special = not chat and policy.bos != "off"
        self._bos = tokenizer.bos_token_id if policy.bos == "on" else None
        if policy.bos == "on" and self._bos is None:
            raise PromptError("--bos on: this model's tokenizer has no BOS token")

    def __call__(self, texts: list[str]) -> list[list[int]]:
        rows = ids_of(texts, self._tokenizer, self._special)
        if self._bos is None:
            return rows
        return [row if row[:1] == [self._bos] else [self._bos, *row] for row in rows]


def prompt_texts(prompts: Sequence[Prompt], tokenizer: Any, policy: PromptPolicy) -> list[str]:
    """Return the text before each answer, as the model sees it; without a tokenizer (None) no chat template is used.

    Raises:
        PromptError: a chat template fails.
    """
    if tokenizer is None:
        return [_plain(prompt) for prompt in prompts]
    return _texts(prompts, tokenizer, policy)[0]


def _plain(prompt: Prompt) -> str:
    text = f"{prompt.system}\n{prompt.text}" if prompt.system else prompt.text
    return f"{text}\n{prompt.prefix}" if prompt.prefix else text


def _texts(prompts: Sequence[Prompt], tokenizer: Any, policy: PromptPolicy) -> tuple[list[str], _Tokens]:
    """Return the text before each answer, and the tokenising function."""
    chat = policy.chat(tokenizer)
    texts = [_with_chat(prompt, tokenizer, policy, chat) if chat else _plain(prompt) for prompt in prompts]
    return texts, _Tokens(tokenizer, policy, chat is not None)


def _with_chat(prompt: Prompt, tokenizer: Any, policy: PromptPolicy, chat: ChatTemplate) -> str:
    system = "\n".join(part for part in (policy.system, prompt.system) if part)
    given = policy.system is not None or bool(prompt.system)
    messages = [{"role": "system", "content": system}] if given else []
    messages.append({"role": "user", "content": prompt.text})
    try:
        # enable_thinking is ignored by templates that do not know it.
        text = tokenizer.apply_chat_template(
            messages, chat_template=chat.text, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except Exception as error:  # a template is a program of the model's author and can raise any exception
        reason = " ".join(str(error).split())
        raise PromptError(f"the model's chat template fails on item {prompt.item.id}: {reason}; try off") from error
    return text + prompt.prefix


def _check(row: Encoded, prompt: Prompt, policy: PromptPolicy, unk: int | None, max_length: int | None) -> None:
    where = f"item {row.item.id}"
    if not row.prompt_ids:
        raise PromptError(f"{where}: the prompt has no tokens")
    if any(not answer for answer in row.answer_ids):
        raise PromptError(f"{where}: an answer has no tokens: {prompt.answers}")
    if policy.formulation == "mcf":
        for answer, ids in zip(prompt.answers, row.answer_ids, strict=True):
            several = len(ids) > 1 and row.item.scale is None  # of a number, the first token is the greedy prediction
            if several or ids[0] == unk:
                what = "unknown to the tokenizer" if ids[0] == unk else f"{len(ids)} tokens, not one"
                raise PromptError(f"{where}: the answer label {answer!r} is {what}; use --formulation cf")
    elif len(row.answer_ids) < 2:
        raise PromptError(f"{where}: the completion formulation needs at least two options")
    if len(set(row.answer_ids)) < len(row.answer_ids):
        raise PromptError(f"{where}: two answers have the same tokens: {prompt.answers}")
    longest = len(row.prompt_ids) + max(map(len, row.answer_ids))
    if max_length is not None and longest > max_length:
        raise PromptError(f"{where}: {longest} tokens, the model takes {max_length}; shorten the prompt")
