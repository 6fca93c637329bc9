"""The passes that are compared: the same items, the same batches."""

from __future__ import annotations

import torch

import culnig
from culnig.passes.calibration import offsets_of
from culnig.passes.forward import Row, answer_logprobs, batches, collate
from culnig.prompts import PromptPolicy, encode, render
from culnig.prompts.calibration import Calibration


class Workload:
    """Identification items of `everyday`, ready to be run in several ways."""

    def __init__(self, lm, count: int) -> None:
        self.lm = lm
        items = culnig.load_items("everyday:neur", draws=1)
        self.items = items[:: max(1, len(items) // count)][:count]
        policy = PromptPolicy(formulation="cf")
        self.policy = policy
        encoded = encode(render(self.items, policy), lm.tokenizer, policy)
        self.rows = [Row(i, e.prompt_ids, e.answer_ids) for i, e in enumerate(encoded)]
        pairs = [(e.prompt_ids, answer) for e in encoded for answer in e.answer_ids]
        self.single = [Row(i, prompt, (answer,)) for i, (prompt, answer) in enumerate(pairs)]
        self.batches = [collate(rows, lm.device) for rows in batches(self.rows, lm.token_budget)]
        self.single_batches = [collate(rows, lm.device) for rows in batches(self.single, lm.token_budget)]
        # Whole questions, as in a run: the countries that are asked the same share prompts and options.
        self.questions = items[: 2 * count]
        self.asked = encode(render(self.questions, policy), lm.tokenizer, policy)
        self.tokens = sum(row.length for row in self.rows)
        scores = culnig.score(lm, self.items, policy=policy)
        self.neurons = culnig.select_general(scores, scores, scores, r=0.0)

    @torch.no_grad()
    def forward(self) -> None:
        for batch in self.batches:
            answer_logprobs(self.lm, batch)

    def train(self) -> None:
        """Forward and backward with frozen weights: what a gradient costs, whatever is done with it."""
        for batch in self.batches:
            embedded = self.lm.model.get_input_embeddings()(batch.input_ids).detach().requires_grad_(True)
            answer_logprobs(self.lm, batch, embedded).answer_logprobs.sum().backward()

    def score(self) -> None:
        culnig.score(self.lm, self.items, policy=self.policy)

    def evaluate(self) -> None:
        culnig.evaluate(self.lm, self.items, policy=self.policy)

    def evaluate_suppressed(self) -> None:
        with culnig.suppress(self.lm, self.neurons):
            culnig.evaluate(self.lm, self.items, policy=self.policy)

    def evaluate_questions(self) -> None:
        culnig.evaluate(self.lm, self.questions, policy=self.policy)

    def score_questions(self) -> None:
        culnig.score(self.lm, self.questions, policy=self.policy)

    def offsets_pmi(self) -> None:
        self._offsets("pmi")

    def offsets_contrast(self) -> None:
        self._offsets("contrast")

    def _offsets(self, kind: Calibration) -> None:
        """Measure one kind of offsets of the whole questions, as if none were known."""
        self.lm.offsets.clear()
        offsets_of(self.lm, self.asked, self.policy, kinds=(kind,))

    cf_packed = forward

    @torch.no_grad()
    def cf_unpacked(self) -> None:
        for batch in self.single_batches:
            answer_logprobs(self.lm, batch)

    def prompt_token_ratio(self) -> float:
        return sum(len(r.prompt) for r in self.rows) / sum(len(r.prompt) for r in self.single)
