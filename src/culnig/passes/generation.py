"""Generate text in batches: answers greedily, each ending at its first line, and texts of the model's own by sampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from culnig.errors import ModelError
from culnig.models.language_model import LanguageModel
from culnig.passes.cpu_kernels import fast_linear
from culnig.passes.forward import TokenRow
from culnig.passes.numbers import no_numbers

ATTEMPTS = 5
"""How often so many texts are sampled, where some are too short."""


def write_lines(lm: LanguageModel, prompts: Sequence[TokenRow], max_new_tokens: int) -> list[str]:
    """Return the model's text after each prompt: the first line that is not blank, without special tokens.

    Generation is greedy and without penalties.  From the model's generation config only the end tokens are used.
    """
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    numbers = _Numbers()
    width = max(map(len, prompts))
    pad = lm.tokenizer.pad_token_id if lm.tokenizer.pad_token_id is not None else 0
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros_like(ids)
    for b, prompt in enumerate(prompts):
        ids[b, width - len(prompt) :] = torch.tensor(prompt)
        mask[b, width - len(prompt) :] = 1
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=_end_tokens(lm) or None,
        pad_token_id=pad,
        use_cache=True,
    )
    stop = StoppingCriteriaList([_FirstLine(lm, width)])
    with torch.no_grad(), fast_linear(lm.device):
        written = lm.model.generate(
            input_ids=ids.to(lm.device),
            attention_mask=mask.to(lm.device),
            generation_config=config,
            stopping_criteria=stop,
            logits_processor=LogitsProcessorList([numbers]),
        )
    if numbers.broken:
        raise no_numbers(lm, "the log-probabilities of words")
    texts = lm.tokenizer.batch_decode(written[:, width:].cpu(), skip_special_tokens=True)
    return [first_line(text) for text in texts]


def first_line(text: str) -> str:
    """Return the first line that is not blank, without blanks around it."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def sample_texts(lm: LanguageModel, count: int, tokens: int, *, seed: int = 0) -> list[str]:
    """Return texts that the model writes by itself: sampled at temperature 1 from the beginning of a text.

    Args:
        lm: the model.
        count: the number of texts; texts of fewer than two tokens are left out and sampled again.
        tokens: new tokens a text, at most.
        seed: seed of the sample; the state of torch's generators is the same afterwards.

    Raises:
        ModelError: the tokenizer has no token that begins a text, or the model writes nothing.
    """
    from transformers import GenerationConfig

    begin = lm.tokenizer.bos_token_id if lm.tokenizer.bos_token_id is not None else lm.tokenizer.eos_token_id
    if begin is None:
        raise ModelError(f"{lm.name} has no token that begins a text; give texts of your own")
    config = GenerationConfig(
        max_new_tokens=tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=_end_tokens(lm) or None,
        pad_token_id=lm.tokenizer.pad_token_id if lm.tokenizer.pad_token_id is not None else begin,
        use_cache=True,
    )
    devices = [lm.device] if lm.device.type == "cuda" else []
    texts: list[str] = []
    with torch.random.fork_rng(devices=devices), torch.no_grad(), fast_linear(lm.device):
        torch.manual_seed(seed)
        for _ in range(ATTEMPTS):
            ids = torch.full((count, 1), begin, device=lm.device)
            written = lm.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
            made = lm.tokenizer.batch_decode(written[:, 1:].cpu(), skip_special_tokens=True)
            texts += [text for text in made if len(lm.tokenizer(text, add_special_tokens=False)["input_ids"]) > 1]
            if len(texts) >= count:
                return texts[:count]
    raise ModelError(f"{lm.name} ends its texts at once; give texts of your own")


class _Numbers:
    """Looks for NaN in the logits of each step; changes nothing."""

    broken = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.broken = self.broken or bool(scores.isnan().any())
        return scores


class _FirstLine:
    """Stops a row when its text has a line that is not blank, followed by a line break."""

    def __init__(self, lm: LanguageModel, width: int) -> None:
        self._tokenizer = lm.tokenizer
        self._width = width
        self._begun: list[bool] = []
        self._done: list[bool] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        self._begun = self._begun or [False] * len(input_ids)
        self._done = self._done or [False] * len(input_ids)
        for b, piece in enumerate(self._tokenizer.batch_decode(input_ids[:, -1:].cpu())):
            head, found, _tail = (piece if self._begun[b] else piece.lstrip()).partition("\n")
            self._begun[b] = self._begun[b] or bool(head.strip())
            self._done[b] = self._done[b] or (self._begun[b] and bool(found))
        return torch.tensor(self._done, device=input_ids.device)


def _end_tokens(lm: LanguageModel) -> list[int]:
    """Return the end-of-text tokens of tokenizer and model; a chat model's generation config names its end of turn."""
    given = getattr(lm.model.generation_config, "eos_token_id", None)
    named = given if isinstance(given, list) else [given]
    return sorted({token for token in (*named, lm.tokenizer.eos_token_id) if token is not None})
