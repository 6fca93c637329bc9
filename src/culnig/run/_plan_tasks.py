"""Which batches a run will pass through the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from culnig.data import load_texts
from culnig.evaluation.plain_text import BUDGET
from culnig.evaluation.short_answers import BUDGET as WRITING
from culnig.evaluation.short_answers import NEW_TOKENS, batches_to_write
from culnig.models import LanguageModel
from culnig.passes.answers import answer_batches
from culnig.passes.calibration import prior_batches
from culnig.passes.forward import Packed, Row, batches
from culnig.passes.memory import padded_tokens
from culnig.passes.plain_text import pieces
from culnig.prompts import PromptPolicy, encode, render
from culnig.prompts.calibration import Calibration, measured_for, needed
from culnig.run.config import RunConfig
from culnig.studies import STUDIES, Condition, identification_sets, merged, scored_sets, test_names
from culnig.studies.short_answers import ShortAnswersSettings

Kind = Literal["score", "calibrate", "evaluate", "read", "write"]


@dataclass(frozen=True)
class Task:
    """One set of items on its way through the model.

    Attributes:
        name: part ("neur"), test set ("everyday-test") or text ("plain").
        kind: what is done with it.
        times: how often it is run: once for each condition.
        inputs: items, or paragraphs that are read.
        largest: the inputs of the first batch of a scoring task, which has the longest rows.
        batches: the batches.
        kinds: the offsets that a calibrating task measures.
        blocks: blocks of items whose sums a scoring task keeps; 0 is none.
        block_groups: it keeps them by group as well.
    """

    name: str
    kind: Kind
    times: int
    inputs: list[Any]
    largest: list[Any]
    batches: Sequence[Sequence[Packed]]
    kinds: tuple[Calibration, ...] = ()
    blocks: int = 0
    block_groups: bool = False

    @property
    def sums(self) -> int:
        """Sums that a scoring task keeps for each neuron: by group, by block, and by block and group."""
        if self.kind != "score":
            return 0
        groups = len({item.country for item in self.inputs})
        return groups + self.blocks * (1 + groups * self.block_groups)

    @property
    def prompts(self) -> int:
        return self.times * sum(row.num_prompts for batch in self.batches for row in batch)

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return self.times * sum(row.length for batch in self.batches for row in batch)

    @property
    def padded(self) -> int:
        """Tokens that are computed."""
        return self.times * sum(map(padded_tokens, self.batches))


def batches_of(
    kind: Kind,
    inputs: Sequence[Any],
    lm: LanguageModel,
    policy: PromptPolicy,
    token_budget: int,
    kinds: Sequence[Calibration] = (),
    new_tokens: int = NEW_TOKENS,
) -> Sequence[Sequence[Packed]]:
    """The batches that are made of some inputs; `lm` needs no weights.  `kinds` are the offsets that are measured.

    `new_tokens` is the length of a written answer.
    """
    if kind == "read":
        texts = [Row(key, ids, ()) for key, (_, _, ids) in enumerate(pieces(lm, inputs, policy.bos))]
        return batches(texts, min(token_budget, BUDGET))
    if kind == "write":
        writing = policy.for_writing
        return batches_to_write(lm, render(inputs, writing), writing, new_tokens, max(token_budget, WRITING))
    encoded = encode(render(inputs, policy), lm.tokenizer, policy, lm.max_length)
    if kind == "calibrate":
        return prior_batches(lm, encoded, policy, kinds, token_budget)
    if kind == "evaluate":
        return answer_batches(encoded, token_budget)
    return batches([Row(key, e.prompt_ids, e.answer_ids) for key, e in enumerate(encoded)], token_budget)


def tasks_of(config: RunConfig, lm: LanguageModel, policy: PromptPolicy, token_budget: int) -> list[Task]:
    """Everything that a run passes through the model."""

    def task(name: str, kind: Kind, times: int, inputs: list[Any], kinds: tuple[Calibration, ...] = ()) -> Task:
        made = batches_of(kind, inputs, lm, policy, token_budget, kinds, new_tokens)
        largest = []
        if kind == "score":
            encoded = encode(render(inputs, policy), lm.tokenizer, policy, lm.max_length)
            largest = [encoded[row.key].item for row in made[0]]
        return Task(name, kind, times, inputs, largest, made, kinds)

    new_tokens = config.section(ShortAnswersSettings).max_new_tokens
    calibrated = bool(needed(policy.calibration)) and policy.offsets_from == "untouched"
    offsets = needed(config.prompts.scoring_policy(policy.formulation).calibration)
    tasks = []
    for part, data in scored_sets(config).items():
        items = data.load(config.seed, config.sources)
        tasks += [task(part, "calibrate", 1, items, offsets)] if offsets and policy.offsets_from == "untouched" else []
        kept: dict[str, Any] = {"blocks": config.blocks or 0, "block_groups": config.block_groups}
        tasks.append(dataclasses.replace(task(part, "score", 1, items), **kept))
    if reference := config.done.reference:
        items = identification_sets(config)[reference].load(config.seed, config.sources)
        tasks.append(task(f"means-{reference}", "evaluate", 1, items))
    if "instance" in config.studies:
        for data in (config.identify.neur, config.identify.ctrl):
            tasks.append(task("instance", "score", 1, data.load(config.seed, config.sources)))
    names = test_names(config)
    for test in config.test:
        items = test.load(config.seed, config.sources)
        if calibrated and test.role != "short":
            kinds = measured_for(test.role, policy.calibration)
            tasks.append(task(names[test.label], "calibrate", 1, items, kinds))
        conditions = planned_conditions(config, sorted({item.country for item in items}))
        subsets = [c.of(items, test.role) for c in conditions if c.wanted(test, config)]
        for size in sorted({len(subset) for subset in subsets}, reverse=True):
            alike = [subset for subset in subsets if len(subset) == size]
            kind: Kind = "write" if test.role == "short" else "evaluate"
            tasks.append(task(names[test.label], kind, len(alike), alike[0]))
    if config.guards.text is not None:
        culture = config.test_of("culture")
        countries = sorted({item.country for item in culture.load(config.seed, config.sources)}) if culture else []
        guarded = [c for c in planned_conditions(config, countries) if c.guarded(config)]
        tasks.append(task(config.guards.text, "read", len(guarded), load_texts(config.guards.text)))
    return tasks


def planned_conditions(config: RunConfig, countries: list[str]) -> list[Condition]:
    """The conditions of all studies, once each, as if every neuron set held something."""
    return list(merged(c for name in config.studies for c in STUDIES.get(name).planned(config, countries)).values())
