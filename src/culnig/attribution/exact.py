"""What a neuron really gives: exact suppression or replacement, one neuron at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from culnig import distributed
from culnig.attribution.batch import Reference, ScoringBatch, objective, prepare
from culnig.attribution.means import Means
from culnig.attribution.method import Target
from culnig.attribution.observe import Shape, shape_of_inputs
from culnig.data import Item
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.models.sites import SiteModule
from culnig.neurons import Neuron, NeuronSet, Site, check_belongs
from culnig.passes.experts import Tap, tapped
from culnig.passes.forward import Row, answer_logprobs, batches
from culnig.passes.from_layer import layer_inputs, starting_at
from culnig.passes.memory import Fitting
from culnig.passes.numbers import no_numbers
from culnig.passes.trees import make_batch
from culnig.prompts import PromptPolicy

Places = Sequence[tuple[int, int]]
"""(copy of the batch, row of the module's output) that is replaced."""


@dataclass
class Suppressed:
    """The effect of zeroing or replacing each of some neurons at all positions, prompt by prompt.

    Attributes:
        neurons: the neurons, in the columns' order.
        ids, groups: each prompt's item and group, in the rows' order.
        probability: [P], P(gold answer) of the untouched model.
        change: [P, neurons], float64: the target of the untouched model minus that with the neuron zeroed or replaced.
        control: [P], whether the item is a control.
        target: p, logp, diff or odds.
    """

    neurons: list[Neuron]
    ids: list[str]
    groups: list[str]
    probability: np.ndarray
    change: np.ndarray
    control: np.ndarray
    target: str = "p"

    def per_item(self, *, weighted: bool = True, clamped: bool = False) -> np.ndarray:
        """What each prompt adds to S, [P, neurons]: times P(gold) if weighted, controls at 0 at least if clamped."""
        scores = self.change
        if clamped:
            scores = np.where(self.control[:, None], np.maximum(scores, 0.0), scores)
        return scores * self.probability[:, None] if weighted else scores

    def mean(self, *, weighted: bool = True, clamped: bool = False) -> np.ndarray:
        """S(D) of each neuron by exact suppression, [neurons]; compare with `culnig:sum`, `atp`, `relp`, `ig`."""
        return self.per_item(weighted=weighted, clamped=clamped).mean(axis=0)


def oracle(
    lm: LanguageModel,
    items: Iterable[Item],
    neurons: Iterable[Neuron],
    *,
    formulation: str | None = None,
    policy: PromptPolicy | None = None,
    target: Target = "p",
    replacement: Means | None = None,
    control: bool | None = None,
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Suppressed:
    """Zero neurons one at a time, exactly, and see what that takes from the right answer of each prompt.

    Args:
        lm: the model.
        items: the items.
        neurons: which neurons; a pass for every few of them and every batch.
        formulation, policy, control: as for `score`.
        target: p, logp, diff or odds: what is measured, as in a method's name.
        replacement: replace a neuron by its mean instead of 0; `atp:dataset` estimates that, on the items of the means.
        token_budget: padded tokens a pass; changes speed and memory, not results.
        progress: called with the number of prompts done after each batch.

    Raises:
        UsageError: no items or neurons, a neuron the model does not have, `diff` with a single answer, means of another
            model.
        ModelError: layers that a pass cannot start at.
    """
    chosen = list(neurons)
    if not chosen:
        raise UsageError("no neurons to suppress")
    check_belongs(NeuronSet(chosen), lm.shapes, lm.name)
    prompts = prepare(
        lm, items, policy or lm.scoring_policy(formulation), control=control, target=target, token_budget=token_budget
    )
    encoded = prompts.encoded
    probability = np.full(len(encoded), np.nan)
    change = np.full((len(encoded), len(chosen)), np.nan)
    rows = [prompts.row(key) for key in range(len(encoded))]
    reference = replacement.on(lm) if replacement else None

    def run(part: Sequence[Row]) -> None:
        work = ScoringBatch(lm, prompts, part, budget=token_budget)
        for column, values in changes(work, chosen, target, reference):
            change[work.keys, column] = values.numpy()
        probability[work.keys] = work.probability.cpu().double().numpy()
        if np.isnan(probability[work.keys]).any() or np.isnan(change[work.keys]).any():
            raise no_numbers(lm, "the probabilities of answers")

    fitting = Fitting(run)
    for chunk in distributed.share(batches(rows, token_budget or lm.token_budget)):
        fitting(chunk)
        if progress:
            progress(len(chunk))
    _gather(probability, change)
    items_of = [e.item for e in encoded]
    return Suppressed(
        neurons=chosen,
        ids=[item.id for item in items_of],
        groups=[item.country for item in items_of],
        probability=probability,
        change=change,
        control=prompts.control,
        target=target,
    )


def _gather(probability: np.ndarray, change: np.ndarray) -> None:
    """Fill in, on every process, the rows that the others have computed."""
    mine = {int(key): (probability[key], change[key]) for key in np.flatnonzero(~np.isnan(probability))}
    for key, (p, row) in distributed.gather(mine).items():
        probability[key], change[key] = p, row


def changes(
    work: ScoringBatch, neurons: Sequence[Neuron], target: Target, reference: Reference | None = None
) -> Iterator[tuple[int, torch.Tensor]]:
    """(number of the neuron, what zeroing it takes from the target in each row, float64 [B] on the CPU).

    With a `reference`, the neuron is replaced at all positions by its value there.

    Passes start at the neuron's layer, and as many neurons share one, each in a copy of the batch, as the token budget
    allows and the device's memory holds.  Differences of P are taken by way of log P, which keeps small ones exact.
    """
    kind = target if target in ("diff", "odds") else "logp"
    with torch.no_grad(), layer_inputs(work.lm) as hidden:
        logprobs = work.logprobs()
    clean = work.objective(kind, logprobs).cpu().double()
    work.probability = work.objective("logp", logprobs).exp()
    copies = max(1, work.budget // work.batch.input_ids.numel())
    order = sorted(range(len(neurons)), key=lambda i: (neurons[i].layer, neurons[i].module))
    by_layer: dict[int, list[int]] = {}
    for i in order:
        by_layer.setdefault(neurons[i].layer, []).append(i)
    found: dict[int, torch.Tensor] = {}

    def run(part: Sequence[int]) -> None:
        entering = hidden[neurons[part[0]].layer]
        chosen = [neurons[i] for i in part]
        found.update(zip(part, _without(work, chosen, entering, kind, reference), strict=True))

    fitting = Fitting(run, size=len)
    for members in by_layer.values():
        for start in range(0, len(members), copies):
            part = members[start : start + copies]
            fitting(part)
            for i in part:
                values = found.pop(i)
                yield i, -clean.exp() * torch.expm1(values - clean) if target == "p" else clean - values


def _without(
    work: ScoringBatch, neurons: Sequence[Neuron], hidden: torch.Tensor, kind: str, reference: Reference | None
) -> torch.Tensor:
    """The objective with each neuron of one layer zeroed or replaced, float64 [neurons, B], in one pass."""
    batch = make_batch(work.lm, work.rows * len(neurons))
    by_site: dict[Site, list[int]] = {}
    for copy, neuron in enumerate(neurons):
        by_site.setdefault(neuron.site, []).append(copy)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(starting_at(work.lm, neurons[0].layer, hidden.repeat(len(neurons), 1, 1)))
        for site, copies in by_site.items():
            indices = [neurons[copy].index for copy in copies]
            values = torch.zeros(len(copies), len(work.rows))
            if reference is not None:
                values = reference[site][..., indices].movedim(-1, 0).reshape(len(copies), -1).expand(values.shape)
            places = list(zip(copies, work.lm.sites[site].outputs(indices).tolist(), strict=True))
            stack.enter_context(_replaced(work.lm, work.lm.sites[site], places, values))
        logprobs = answer_logprobs(work.lm, batch).answer_logprobs
    return objective(kind, logprobs, batch, work.prompts).cpu().double().view(len(neurons), -1)


@contextmanager
def _replaced(lm: LanguageModel, found: SiteModule, places: Places, values: torch.Tensor) -> Iterator[None]:
    """Within the block, in copy c of a batch of B rows, the given outputs of the site's module are `values` [places, B]."""
    copies = torch.tensor([copy for copy, _ in places], device=found.device)
    columns = torch.tensor([column for _, column in places], device=found.device)
    values = values.to(found.device)
    with ExitStack() as stack:
        shape = stack.enter_context(shape_of_inputs(lm.layers[found.site.layer]))

        def put(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
            output = output.clone(memory_format=torch.contiguous_format)
            by_row = output.view(-1, values.shape[1], shape()[1], output.shape[-1])
            by_row[copies, :, :, columns] = values[:, :, None].to(output.dtype)
            return output

        if found.stacked is None:
            stack.callback(found.module.register_forward_hook(put).remove)
        else:
            stack.enter_context(tapped(found.module, _expert_put(found, copies, columns, values, shape)))
        yield


def _expert_put(
    found: SiteModule, copies: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, shape: Shape
) -> Tap:
    size = found.rows_per_expert

    def put(expert: int, tokens: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        mine = columns // size == expert
        if not mine.any():
            return output
        row = tokens // shape()[1]
        at, which = torch.where((row // values.shape[1])[:, None] == copies[mine][None, :])
        output = output.clone()
        chosen = values[mine][which, row[at] % values.shape[1]]
        output[at, (columns[mine] % size)[which]] = chosen.to(output.dtype)
        return output

    return put
