"""Which batches a run will pass through the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from culnig.benchmarks import Item
from culnig.config import RunConfig
from culnig.evaluation._run import share_prompts
from culnig.models import LanguageModel
from culnig.models._batch import Row, batches
from culnig.pipeline import items_of
from culnig.prompts import Encoded, PromptPolicy, encode, render
from culnig.run_directory import scored_parts, test_name
from culnig.studies import STUDIES, Condition


@dataclass(frozen=True)
class Task:
    """One set of items on its way through the model.

    Attributes:
        name: part ("neur") or test set ("everyday-test").
        backward: whether it is scored; else evaluated.
        times: how often it is run: once for each condition.
        items: the items.
        largest: the items of the first batch, which has the longest rows.
        batches: the batches.
    """

    name: str
    backward: bool
    times: int
    items: list[Item]
    largest: list[Item]
    batches: list[list[Row]]

    @property
    def groups(self) -> int:
        return len({item.country for item in self.items})

    @property
    def prompts(self) -> int:
        return self.times * sum(map(len, self.batches))

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return self.times * sum(row.length for batch in self.batches for row in batch)

    @property
    def padded(self) -> int:
        """Tokens that are computed."""
        return self.times * sum(map(padded_tokens, self.batches))


def padded_tokens(batch: Sequence[Row]) -> int:
    """Rows times the longest one."""
    return len(batch) * max(row.length for row in batch)


def batches_of(
    items: Sequence[Item], lm: LanguageModel, policy: PromptPolicy, token_budget: int, backward: bool
) -> list[list[Row]]:
    """The batches that scoring (backward) or evaluation makes of some items; `lm` needs no weights."""
    return _batches(encode(render(items, policy), lm.tokenizer, policy, lm.max_length), token_budget, backward)


def _batches(encoded: list[Encoded], token_budget: int, backward: bool) -> list[list[Row]]:
    rows = [Row(key, e.prompt_ids, e.answer_ids) for key, e in enumerate(encoded)]
    return batches(rows if backward else share_prompts(encoded).rows, token_budget)


def tasks_of(config: RunConfig, lm: LanguageModel, policy: PromptPolicy, token_budget: int) -> list[Task]:
    """Everything that a run passes through the model."""

    def task(name: str, backward: bool, times: int, items: list[Item]) -> Task:
        encoded = encode(render(items, policy), lm.tokenizer, policy, lm.max_length)
        made = _batches(encoded, token_budget, backward)
        largest = [encoded[row.key].item for row in made[0]] if backward else []
        return Task(name, backward, times, items, largest, made)

    tasks = []
    for part in scored_parts(config):
        tasks.append(task(part, True, 1, items_of(getattr(config.identify, part), config.seed)))
    for test in config.test:
        items = items_of(test, config.seed)
        conditions = planned_conditions(config, sorted({item.country for item in items}))
        subsets = [condition.of(items, test.role) for condition in conditions if test.role in condition.roles]
        for size in sorted({len(subset) for subset in subsets}, reverse=True):
            alike = [subset for subset in subsets if len(subset) == size]
            tasks.append(task(test_name(test), False, len(alike), alike[0]))
    return tasks


def planned_conditions(config: RunConfig, countries: list[str]) -> list[Condition]:
    """The conditions of all studies, once each, as if every neuron set held something."""
    found: dict[str, Condition] = {}
    for name in config.studies:
        found |= {c.name: c for c in STUDIES.get(name).planned(config, countries)}
    return list(found.values())
