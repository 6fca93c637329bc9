"""Token batches: prompts with their answers as branches, and one forward pass that gives the log-probabilities.

A row holds one prompt, followed by the tokens of all its answers side by side:

    prompt tokens | answer 1 without its last token | answer 2 without its last token | ...

Every branch sees the prompt and itself, and its positions continue those of the prompt.  Each distinct prompt token is
therefore computed once, not once an answer.  The last token of an answer is only predicted and never read, so it is
left out.  A letter (mcf) thus adds no token, and the same code serves both formulations.  Rows are padded on the right,
where causal attention never looks.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from culnig import distributed
from culnig.errors import ModelError
from culnig.models.language_model import LanguageModel
from culnig.passes.cpu_kernels import fast_linear
from culnig.passes.logprobs import token_logprobs_at

TokenRow = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and its answers as token ids; `key` is the caller's own number for it."""

    key: int
    prompt: TokenRow
    answers: tuple[TokenRow, ...]

    @property
    def length(self) -> int:
        return len(self.prompt) + sum(len(answer) - 1 for answer in self.answers)

    @property
    def num_prompts(self) -> int:
        return 1

    @property
    def needed(self) -> int:
        """The number of tokens whose logits are needed; all of them in a row without answers, which is read."""
        return 1 + sum(len(answer) - 1 for answer in self.answers) if self.answers else self.length

    @property
    def pairs(self) -> int:
        """The number of pairs of a token and one that it sees, itself included."""
        prompt, branches = len(self.prompt), [len(answer) - 1 for answer in self.answers]
        return prompt * (prompt + 1) // 2 + sum(b * prompt + b * (b + 1) // 2 for b in branches)


class Packed(Protocol):
    """What is put into batches: a row, or a tree of several."""

    @property
    def key(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def num_prompts(self) -> int: ...
    @property
    def needed(self) -> int: ...
    @property
    def pairs(self) -> int: ...


P = TypeVar("P", bound=Packed)


def batches(rows: Sequence[P], token_budget: int) -> list[list[P]]:
    """Group rows of similar length into batches of at most `token_budget` padded tokens (at least one row each).

    Batches go from long rows to short ones, so that a run that does not fit in memory fails at its first batch.
    """
    ordered = sorted(rows, key=lambda row: (-row.length, row.key))
    starts = batch_starts([row.length for row in ordered], token_budget)
    return [ordered[start:stop] for start, stop in itertools.pairwise([*starts, len(ordered)])]


def batch_starts(lengths: Sequence[int], token_budget: int) -> list[int]:
    """Return the place at which each batch begins, of rows in order of their lengths, long ones first.

    Several processes get batches of about equal size, and equally many each where there are enough rows, so that
    they end at about the same time.  The number of batches is the least such one that the budget allows.
    """
    starts, processes = _starts(lengths, token_budget), distributed.size()
    if processes == 1 or not lengths:
        return starts
    wanted = min(len(lengths), processes * math.ceil(len(starts) / processes))
    smaller = bisect.bisect_left(range(token_budget), True, key=lambda budget: len(_starts(lengths, budget)) <= wanted)
    return _halved(_starts(lengths, smaller), len(lengths), wanted)


def _halved(starts: list[int], rows: int, wanted: int) -> list[int]:
    """Return the starts of `wanted` batches: those of the most rows are halved until there are so many."""
    while len(starts) < wanted:
        sizes = [stop - start for start, stop in itertools.pairwise([*starts, rows])]
        most = max(range(len(sizes)), key=sizes.__getitem__)
        starts = [*starts[: most + 1], starts[most] + sizes[most] // 2, *starts[most + 1 :]]
    return starts


def _starts(lengths: Sequence[int], token_budget: int) -> list[int]:
    starts: list[int] = []
    longest = 0
    for place, length in enumerate(lengths):
        if not starts or longest * (place - starts[-1] + 1) > token_budget:
            starts.append(place)
            longest = length
    return starts


@dataclass(frozen=True)
class Batch:
    """Rows as tensors.

    Attributes:
        rows: the prompts with their answers, in the tensors' order; of several trees, those of one after the other.
        input_ids: [B, T]
        positions: [B, T], None if they simply count up.
        tree_mask: [B, T, T], True where a token may look; None if plain causal attention is right.
        real: [B, T], True at tokens, False at padding; None if there is no padding.
        logit_rows, logit_columns: [Q], the positions whose logits are needed.
        after_prompt: [rows], the index in [Q] of each prompt's last position.
        answer_index: for each token of each answer, (its row in [Q], token id, answer's number over the batch).
        first_answer: [rows + 1], the first number of each row's answers in the numbering over the batch.
    """

    rows: list[Row]
    input_ids: torch.Tensor
    positions: torch.Tensor | None
    tree_mask: torch.Tensor | None
    real: torch.Tensor | None
    logit_rows: torch.Tensor
    logit_columns: torch.Tensor
    answer_index: torch.Tensor
    after_prompt: torch.Tensor
    first_answer: list[int]

    @property
    def num_answers(self) -> int:
        return self.first_answer[-1]


def collate(rows: Sequence[Row], device: torch.device, pad_id: int = 0) -> Batch:
    """Make tensors of rows on the device."""
    width = max(row.length for row in rows)
    branching = any(row.length > len(row.prompt) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id)
    positions = torch.arange(width).repeat(len(rows), 1)
    # Causal for the prompt and inside a branch; tokens of one answer do not see those of another.
    mask = torch.ones(width, width, dtype=torch.bool).tril().repeat(len(rows), 1, 1) if branching else None
    logit_at: list[tuple[int, int]] = []
    answer_index: list[tuple[int, int, int]] = []
    after_prompt: list[int] = []
    first_answer = [0]
    for b, row in enumerate(rows):
        length = len(row.prompt)
        input_ids[b, :length] = torch.tensor(row.prompt)
        after_prompt.append(len(logit_at))
        logit_at.append((b, length - 1))
        cursor = length
        for number, answer in enumerate(row.answers, start=first_answer[-1]):
            branch = len(answer) - 1
            answer_index.append((after_prompt[-1], answer[0], number))
            if branch and mask is not None:
                stop = cursor + branch
                input_ids[b, cursor:stop] = torch.tensor(answer[:-1])
                positions[b, cursor:stop] = torch.arange(length, length + branch)
                mask[b, cursor:stop, length:cursor] = False
                for offset, token in enumerate(answer[1:]):
                    answer_index.append((len(logit_at), token, number))
                    logit_at.append((b, cursor + offset))
                cursor = stop
        first_answer.append(first_answer[-1] + len(row.answers))
    lengths = torch.tensor([row.length for row in rows])
    padded = bool((lengths < width).any())
    where = torch.tensor(logit_at)
    return Batch(
        rows=list(rows),
        input_ids=input_ids.to(device),
        positions=positions.to(device) if branching else None,
        tree_mask=mask.to(device) if mask is not None else None,
        real=(torch.arange(width) < lengths[:, None]).to(device) if padded else None,
        logit_rows=where[:, 0].to(device),
        logit_columns=where[:, 1].to(device),
        answer_index=torch.tensor(answer_index).to(device),
        after_prompt=torch.tensor(after_prompt).to(device),
        first_answer=first_answer,
    )


@contextmanager
def logits_only_at(head: torch.nn.Module, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """Pass only the hidden states at [rows, columns] to the head within the block: logits are [Q, V], not [B, T, V].

    A hook before the head does this.  `logits_to_keep` would not do, because it keeps the same columns of every row.
    The steps of a family after its head (scaling, soft-capping) are elementwise and remain valid.
    """

    def pick(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0][rows.to(args[0].device), columns.to(args[0].device)],)

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def embeddings_given(lm: LanguageModel, embedded: torch.Tensor | None) -> Iterator[None]:
    """Let the model go on from these embeddings [B, T, H] of its token ids within the block; None for its own.

    A hook puts them in the place of the embedding layer's output.  `inputs_embeds` would not do, because some families
    make more of the token ids than embeddings (Gemma 3n).
    """
    if embedded is None:
        yield
        return
    # A copy, because a family may scale its embeddings in place.
    handle = lm.model.get_input_embeddings().register_forward_hook(lambda module, args, output: embedded.clone())
    try:
        yield
    finally:
        handle.remove()


def _attention_masks(lm: LanguageModel, batch: Batch) -> Any:
    """Return the tree mask in the form that the model takes; with sliding windows, one mask for each kind of layer.

    Raises:
        ModelError: such a mask has no effect on a kind of layer, where branches would see each other.
    """
    if batch.tree_mask is None:
        return None
    if reason := no_branches(lm):
        raise ModelError(f"{lm.model.config.model_type} cannot keep answers apart ({reason}); score with mcf")
    allowed = batch.tree_mask[:, None]
    window = getattr(lm.text_config, "sliding_window", None)
    kinds = set(getattr(lm.text_config, "layer_types", None) or [])
    sliding = "sliding_attention" in kinds or (not kinds and lm.family.windowed)
    if not window or not sliding or batch.input_ids.shape[1] <= window:
        return _as_bias(lm, allowed)
    assert batch.positions is not None
    near = (batch.positions[:, :, None] - batch.positions[:, None, :] < window)[:, None]
    if not kinds:
        return _as_bias(lm, allowed & near)
    return {"full_attention": _as_bias(lm, allowed), "sliding_attention": _as_bias(lm, allowed & near)}


def no_branches(lm: LanguageModel) -> str:
    """Return why answers cannot stand side by side behind one prompt; "" if a mask and positions can keep them apart.

    A layer that takes no mask would let them see each other, and one that counts columns would put them at wrong distances.
    """
    if other := set(getattr(lm.text_config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}:
        return f"layers of kind {', '.join(sorted(other))}"
    if getattr(lm.text_config, "alibi", False):
        return "alibi counts columns, not positions"
    if any(isinstance(module, torch.nn.Conv1d) for module in lm.layers.modules()):
        return "a convolution runs over its tokens"
    return lm.family.no_branches


def _as_bias(lm: LanguageModel, allowed: torch.Tensor) -> torch.Tensor:
    """Return the mask [B, 1, T, T], boolean for sdpa and additive for eager attention."""
    kind = lm.text_config._attn_implementation
    if kind == "sdpa":
        return allowed
    if kind != "eager":
        raise ModelError(f"attention '{kind}' takes no tree mask; load the model with sdpa or eager attention")
    bias = torch.zeros(allowed.shape, dtype=lm.dtype, device=allowed.device)
    return bias.masked_fill(~allowed, torch.finfo(lm.dtype).min)


@dataclass(frozen=True)
class Answers:
    """Log-probabilities of a batch's answers.

    Attributes:
        answer_logprobs: [answers of the batch], summed token log-probability of each answer after its prompt.
        top_ids: [rows], the most probable next token after each prompt.
    """

    answer_logprobs: torch.Tensor
    top_ids: torch.Tensor


def answer_logprobs(lm: LanguageModel, batch: Batch, embedded: torch.Tensor | None = None) -> Answers:
    """Run one forward pass; it is differentiable in `embedded`, the embeddings of the tokens, if they are given.

    Log-probabilities are taken over the whole vocabulary, in float32.
    """
    positions = {} if batch.positions is None else {"position_ids": batch.positions}
    masks = _attention_masks(lm, batch)
    head = lm.model.get_output_embeddings()
    with (
        embeddings_given(lm, embedded),
        logits_only_at(head, batch.logit_rows, batch.logit_columns),
        fast_linear(lm.device),
    ):
        logits = lm.model(input_ids=batch.input_ids, attention_mask=masks, use_cache=False, **positions).logits
    at, token, answer = batch.answer_index.to(logits.device).unbind(1)
    token_logprobs = token_logprobs_at(logits, at, token)
    sums = torch.zeros(batch.num_answers, device=logits.device).index_add(0, answer, token_logprobs)
    return Answers(sums, logits.detach()[batch.after_prompt.to(logits.device)].argmax(dim=-1))
