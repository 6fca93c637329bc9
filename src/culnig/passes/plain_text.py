"""Plain text cut to what a model reads at once, and the log-probability of each of its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from culnig.errors import DataError, UsageError
from culnig.models.language_model import LanguageModel
from culnig.passes.cpu_kernels import fast_linear
from culnig.passes.forward import embeddings_given

WINDOW = 1024
"""Tokens read together at most; a longer paragraph is read in pieces, each without what came before."""


def pieces(lm: LanguageModel, paragraphs: Sequence[str], bos: str) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Paragraphs cut to what fits a window: (paragraph, piece, token ids) in order.

    Raises:
        UsageError: no text, an unknown `bos`, or BOS asked of a tokenizer without one.
        DataError: a paragraph with fewer than two tokens.
    """
    if bos not in ("auto", "on", "off"):
        raise UsageError(f"unknown BOS policy '{bos}'; there are auto, on and off")
    if bos == "on" and lm.tokenizer.bos_token_id is None:
        raise UsageError("BOS is asked for, but this model's tokenizer has none")
    if not paragraphs:
        raise UsageError("no text to read")
    window = min(lm.max_length or WINDOW, WINDOW)
    for number, ids in enumerate(lm.tokenizer(list(paragraphs), add_special_tokens=bos != "off")["input_ids"]):
        if bos == "on" and ids[:1] != [lm.tokenizer.bos_token_id]:
            ids = [lm.tokenizer.bos_token_id, *ids]
        if len(ids) < 2:
            raise DataError(f"paragraph {number + 1} has fewer than two tokens: {paragraphs[number]!r}")
        starts = list(range(0, len(ids), window))
        if len(ids) - starts[-1] < 2:  # a last piece of one token predicts nothing: the one before it is cut shorter
            starts[-1] -= 1
        for piece, (start, stop) in enumerate(zip(starts, [*starts[1:], len(ids)], strict=True)):
            yield number, piece, tuple(ids[start:stop])


def token_logprobs(
    lm: LanguageModel, rows: Sequence[tuple[int, ...]], *, padded: bool = False, differentiable: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """log P of tokens 1, 2, ... of each row given those before, over the whole vocabulary, in float32.

    Rows are padded on the right, where causal attention never looks.

    Args:
        lm: the model.
        rows: token ids.
        padded: keep the shape [rows, longest row - 1], whatever padding predicts; else only the rows' own tokens, [tokens].
        differentiable: start from embeddings that a backward pass reaches, which are returned too.
    """
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), lm.tokenizer.pad_token_id or 0)
    for b, row in enumerate(rows):
        ids[b, : len(row)] = torch.tensor(row)
    placed, embedded = ids.to(lm.device), None
    if differentiable:
        embedded = lm.model.get_input_embeddings()(placed).detach().requires_grad_(True)
    with embeddings_given(lm, embedded), fast_linear(lm.device):
        logits = lm.model(input_ids=placed, use_cache=False).logits[:, :-1].float()
    target = ids[:, 1:].to(logits.device)
    picked = logits.gather(-1, target[..., None])[..., 0] - torch.logsumexp(logits, dim=-1)
    if padded:
        return picked, embedded
    lengths = torch.tensor([len(row) - 1 for row in rows])
    return picked[(torch.arange(width - 1) < lengths[:, None]).to(picked.device)], embedded
