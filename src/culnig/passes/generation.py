"""Generate text: answers greedily, each ending at its first line; texts of the model's own by sampling; one as it is written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from culnig.errors import ModelError
from culnig.models.language_model import LanguageModel
from culnig.passes.cpu_kernels import fast_linear
from culnig.passes.forward import TokenRow
from culnig.passes.numbers import no_numbers

ATTEMPTS = 5
"""How often so many texts are sampled, where some are too short."""


def write_lines(
    lm: LanguageModel, prompts: Sequence[TokenRow], max_new_tokens: int, *, whole: bool = False, seed: int | None = None
) -> list[str]:
    """Return the model's text after each prompt, without special tokens: the first line that is not blank.

    Args:
        lm: the model.
        prompts: encoded prompts.
        max_new_tokens: length of a text at most.
        whole: return all that the model writes, not its first line alone.
        seed: None is greedy and without penalties, and takes the end tokens alone from the model's generation config.
            With a seed everything is as that config says, which may be to sample.
    """
    from transformers import LogitsProcessorList, StoppingCriteriaList

    numbers = _Numbers()
    width = max(map(len, prompts))
    pad = lm.tokenizer.pad_token_id if lm.tokenizer.pad_token_id is not None else 0
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros_like(ids)
    for b, prompt in enumerate(prompts):
        ids[b, width - len(prompt) :] = torch.tensor(prompt)
        mask[b, width - len(prompt) :] = 1
    devices = [lm.device] if lm.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad(), fast_linear(lm.device):
        torch.manual_seed(seed or 0)
        written = lm.model.generate(
            input_ids=ids.to(lm.device),
            attention_mask=mask.to(lm.device),
            generation_config=_writing(lm, max_new_tokens, pad, greedy=seed is None),
            stopping_criteria=StoppingCriteriaList([] if whole else [_FirstLine(lm, width)]),
            logits_processor=LogitsProcessorList([numbers]),
        )
    if numbers.broken:
        raise no_numbers(lm, "the log-probabilities of words")
    texts = lm.tokenizer.batch_decode(written[:, width:].cpu(), skip_special_tokens=True)
    return [text.strip() if whole else first_line(text) for text in texts]


def _writing(lm: LanguageModel, max_new_tokens: int, pad: int, *, greedy: bool) -> Any:
    """Return how to generate: greedily, or as the model's own generation config says."""
    from transformers import GenerationConfig

    plain: dict[str, Any] = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
    config = GenerationConfig(**plain) if greedy else copy.deepcopy(lm.model.generation_config)
    config.update(
        max_new_tokens=max_new_tokens,
        max_length=None,
        eos_token_id=_end_tokens(lm) or None,
        pad_token_id=pad,
        use_cache=True,
    )
    return config


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


@dataclass(frozen=True)
class Sampling:
    """How a text is written.

    Attributes:
        tokens: new tokens at most.
        temperature: 0 is greedy.
        top_p: with a temperature, draw from the likeliest tokens that have this probability together.
        seed: seed of the draws.
    """

    tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def stream_text(lm: LanguageModel, prompt: TokenRow, sampling: Sampling, show: Callable[[str], None]) -> str:
    """Write a text after a prompt, and hand on each piece as soon as it is certain; return the whole text.

    The state of torch's generators is the same afterwards.  From the model's generation config only the end tokens are
    used.
    """
    from transformers import GenerationConfig

    drawn = sampling.temperature > 0
    config = GenerationConfig(
        max_new_tokens=sampling.tokens,
        do_sample=drawn,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=_end_tokens(lm) or None,
        pad_token_id=lm.tokenizer.pad_token_id if lm.tokenizer.pad_token_id is not None else 0,
        use_cache=True,
        **({"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0} if drawn else {}),
    )
    pieces: list[str] = []

    def piece(text: str) -> None:
        pieces.append(text)
        show(text)

    ids = torch.tensor([list(prompt)], device=lm.device)
    devices = [lm.device] if lm.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad(), fast_linear(lm.device):
        torch.manual_seed(sampling.seed)
        lm.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            streamer=_streamer(lm.tokenizer, piece),
        )
    return "".join(pieces)


def _streamer(tokenizer: Any, piece: Callable[[str], None]) -> Any:
    """Return transformers' streamer, which calls a function instead of printing."""
    from transformers import TextStreamer

    class Calling(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if text:
                piece(text)

    return Calling(tokenizer, skip_prompt=True, skip_special_tokens=True)


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
