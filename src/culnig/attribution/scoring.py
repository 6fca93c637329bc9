"""`score`: items -> Scores, by default one forward and one backward pass a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from culnig import distributed
from culnig.attribution.batch import Placed, Prompts, Reference, ScoringBatch, control_twins, prepare
from culnig.attribution.checkpoint import Checkpoint
from culnig.attribution.method import GradientMethod, Method, SweepMethod, ValueMethod, parse_method, parse_methods
from culnig.attribution.observe import Emit, run_pass, run_twins
from culnig.attribution.store import Scores, block_numbers, items_a_block
from culnig.data import Item, account_of, items_hash
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Site
from culnig.passes.forward import Row, batches
from culnig.passes.memory import Fitting
from culnig.prompts import PromptPolicy, template_hash
from culnig.versions import versions

SCORING_VERSION = 1
"""Version of the methods' formulas; raise it where the same items and model would give other scores."""

Progress = Callable[[int], None]
"""Called with the number of prompts just done."""


def score(
    lm: LanguageModel,
    items: Iterable[Item],
    *,
    formulation: str | None = None,
    policy: PromptPolicy | None = None,
    method: str | Sequence[str] = "culnig",
    modules: Sequence[str] | None = None,
    blocks: int | None = None,
    block_groups: bool = False,
    control: bool | None = None,
    token_budget: int | None = None,
    padded_zeros: int | None = None,
    shard: tuple[int, int] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_minutes: float = 5.0,
    progress: Progress | None = None,
) -> Scores:
    """Score neurons on a set of items (METHOD section 3).

    Args:
        lm: the model.
        items: the items; groups are their countries.
        formulation: "mcf" (P = softmax over the vocabulary of the answer's label) or "cf" (P = softmax over the item's
            options of their summed token log-probabilities); None is the one recommended for the model.  Ignored if
            `policy` is given.
        policy: formulation, chat template, BOS, wordings.
        method: names of methods with their options, a list or separated by commas ("culnig,culnig:sum,atp"); those that
            can share passes do.
        modules: score only these ("mlp.gate_proj"); None is all that a method scores.
        blocks: keep the sums of so many random blocks of items too, for item bootstraps and split halves.
        block_groups: keep them with groups apart as well, to resample culture-specific sets; K x G x 4 bytes a neuron.
        control: clamp every item's score at 0 from below; None leaves it to each item's own flag.
        token_budget: padded tokens a batch; changes speed and memory, not results.  None suits the device.
        padded_zeros: reproduce a trap of the published implementation: batches of this many prompts in the order
            given, and the padded positions of a shorter prompt enter its maximum as 0.
        shard: (i, n) scores the i-th of n parts of the prompts (i from 1); `merge_scores` adds the parts up.
        checkpoint: file that keeps progress: written every `checkpoint_minutes`, taken up again if it is there and
            belongs to this very job; the caller removes it once the scores are saved.  The result is the same to the bit.
        checkpoint_minutes: see `checkpoint`.
        progress: called with the number of prompts done after each batch.

    Returns:
        Scores with, for each method, sums [G, L, N] over each group's prompts; of P * s for most methods.

    Raises:
        UsageError: no items, an unknown method, module or formulation, or a shard that is none.
        PromptError: an item that cannot be put to this model as asked.
        ModelError: a model that lacks what a method needs.
    """
    methods = checked(parse_methods(method), lm, modules)
    policy = policy or lm.scoring_policy(formulation)
    account = account_of(items)
    chosen = list(items)
    target = "diff" if any(getattr(m, "target", "") == "diff" for m in methods) else "p"
    prompts = prepare(
        lm, chosen, policy, control=control, target=target, padded_zeros=padded_zeros, token_budget=token_budget
    )
    mine = _shard_keys(len(prompts.encoded), shard)
    add_references(lm, prompts, methods, policy, chosen, token_budget)
    blocked = _blocked(prompts, blocks, block_groups)
    accumulator = Accumulator(lm, prompts, methods, modules=modules, blocks=blocked, budget=token_budget)
    whole = batches([prompts.row(key) for key in mine], token_budget or lm.token_budget)
    meta = describe(lm, prompts, policy, methods, accumulator)
    meta |= {"padded_zeros": padded_zeros, "shard": shard, "rows": account}
    if blocked:
        meta |= {"blocks": blocked.number, "block_items": items_a_block(prompts, blocked.of, blocked.number)}
        meta |= {"block_groups": True} if block_groups else {}
    saved = Checkpoint(_of_rank(checkpoint), meta | {"batches": [len(chunk) for chunk in whole]}, checkpoint_minutes)
    _run(accumulator, distributed.share(whole), saved, progress)
    distributed.sum_over_processes(accumulator.sums.values())
    return summed(accumulator, mine, meta, _kept_blocks(accumulator, blocked, mine) if blocked else {})


def score_prompts(
    lm: LanguageModel,
    prompts: Prompts,
    policy: PromptPolicy,
    method: str | Sequence[str],
    *,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score neurons on prompts that are token ids already, such as texts that nothing is asked about.

    Args:
        lm: the model.
        prompts: the prompts; a method that compares values with others needs what `add_references` adds.
        policy: how they were made, for the record.
        method, token_budget, progress: as for `score`.

    Raises:
        UsageError: an unknown method.
        ModelError: a model that lacks what a method needs.
    """
    methods = checked(parse_methods(method), lm, None)
    accumulator = Accumulator(lm, prompts, methods, budget=token_budget)
    keys = list(range(len(prompts.encoded)))
    whole = batches([prompts.row(key) for key in keys], token_budget or lm.token_budget)
    meta = describe(lm, prompts, policy, methods, accumulator)
    _run(accumulator, distributed.share(whole), Checkpoint(None, meta, 0), progress)
    distributed.sum_over_processes(accumulator.sums.values())
    return summed(accumulator, keys, meta, {})


def summed(accumulator: Accumulator, mine: Sequence[int], meta: dict[str, Any], blocks: dict[str, Any]) -> Scores:
    """The scores of the prompts of some numbers, once all their batches are through."""
    prompts = accumulator.prompts
    groups, lengths = prompts.group_of[mine], [prompts.row(key).length for key in mine]
    return Scores(
        sums=accumulator.result("sum"),
        count=np.bincount(groups, minlength=len(prompts.groups)).astype(np.int64),
        groups=prompts.groups,
        meta=meta,
        tokens=np.bincount(groups, weights=lengths, minlength=len(prompts.groups)).astype(np.int64),
        **blocks,
    )


@dataclass(frozen=True)
class Blocks:
    """The random blocks of a job's prompts.

    Attributes:
        of: [P], the block of each prompt.
        number: how many blocks.
        groups: sums are kept by block and group, too.
    """

    of: np.ndarray
    number: int
    groups: bool


def _blocked(prompts: Prompts, number: int | None, groups: bool) -> Blocks | None:
    if number is None:
        if groups:
            raise UsageError("block_groups keeps blocks with groups apart; give a number of blocks, too (20)")
        return None
    return Blocks(block_numbers(prompts, number), number, groups)


def _kept_blocks(accumulator: Accumulator, blocked: Blocks, mine: Sequence[int]) -> dict[str, Any]:
    """The fields of `Scores` about blocks, given the numbers of the prompts that were scored."""
    found: dict[str, Any] = {"blocks": accumulator.result("block")}
    found["block_count"] = np.bincount(blocked.of[mine], minlength=blocked.number).astype(np.int64)
    if blocked.groups:
        size = len(accumulator.prompts.groups)
        counts = np.bincount(accumulator.index["group_block"][mine], minlength=blocked.number * size)
        found["group_block_count"] = counts.reshape(blocked.number, size).astype(np.int64)
        found["group_blocks"] = {
            key: sums.reshape(blocked.number, size, *sums.shape[1:])
            for key, sums in accumulator.result("group_block").items()
        }
    return found


def _run(accumulator: Accumulator, work: Sequence[Any], saved: Checkpoint, progress: Progress | None) -> None:
    """Run the batches that are not done yet, and keep progress."""
    done = saved.restore(accumulator.sums)
    if done and progress:
        progress(sum(map(len, work[:done])))
    for number, chunk in enumerate(work[done:], start=done + 1):
        accumulator.run(chunk)
        if number < len(work):
            saved.keep(accumulator.sums, number)
        if progress:
            progress(len(chunk))


def checked(methods: list[Method], lm: LanguageModel, modules: Sequence[str] | None) -> list[Method]:
    """The methods, if this model can be scored by them on these modules."""
    for module in modules or ():
        if module not in lm.shapes:
            raise UsageError(f"{lm.name} has no module '{module}'; it has {', '.join(lm.shapes)}")
    for method in methods:
        method.check(lm)
        own = method.modules(lm)
        if modules is not None and not set(own) & set(modules):
            raise UsageError(f"{method.name} scores {', '.join(own)} only, none of the modules asked for")
    return methods


def add_references(
    lm: LanguageModel,
    prompts: Prompts,
    methods: Sequence[Method],
    policy: PromptPolicy,
    items: Sequence[Item],
    token_budget: int | None,
) -> None:
    """Add to `prompts` what the methods compare values with: the control prompts, or the mean values over all items.

    The mean values cost a forward pass over all items.
    """
    wanted = {getattr(method, "reference", None) for method in methods}
    if "control" in wanted:
        prompts.twins = control_twins(lm, prompts, policy)
    if "dataset" in wanted:
        name = parse_method("mean_contrast").name
        scores = score(lm, items, policy=policy, method=name, token_budget=token_budget)
        means: Reference = {}
        for site, found in lm.sites.items():
            means[site] = torch.from_numpy(scores.mean(site.module, name)[site.layer]).float().to(found.device)
        prompts.mean = means


def _of_rank(checkpoint: Path | str | None) -> Path | None:
    """Each process keeps its own progress."""
    if checkpoint is None or distributed.size() == 1:
        return Path(checkpoint) if checkpoint is not None else None
    return Path(f"{checkpoint}.{distributed.rank()}-of-{distributed.size()}")


def _shard_keys(number: int, shard: tuple[int, int] | None) -> list[int]:
    """Numbers of the prompts of a shard: every n-th, so that shards are alike in length and country."""
    if shard is None:
        return list(range(number))
    i, n = shard
    if not 1 <= i <= n:
        raise UsageError(f"shard {i}/{n}: give i/n with 1 <= i <= n")
    if n > number:
        raise UsageError(f"shard {i}/{n}: there are only {number} prompts to share out")
    return list(range(i - 1, number, n))


def describe(
    lm: LanguageModel, prompts: Prompts, policy: PromptPolicy, methods: Sequence[Method], accumulator: Accumulator
) -> dict[str, Any]:
    """What a score file says of how it was made."""
    ids: dict[str, list[str]] = {}
    for item in prompts.items:
        ids.setdefault(item.benchmark, []).append(item.id)
    unique = {benchmark: list(dict.fromkeys(names)) for benchmark, names in ids.items()}
    scored = {module for modules in accumulator.modules.values() for module in modules}
    return {
        "format": 1,
        **lm.description,
        "data_hash": items_hash(prompts.items),
        "template_hash": template_hash(prompts.items, policy),
        "scoring_version": SCORING_VERSION,
        "method": ",".join(method.name for method in methods),
        "modules": [module for module in lm.shapes if module in scored],
        "formulation": policy.formulation,
        "prompts": policy.resolved(lm.tokenizer),
        "answers_in_context": all(e.in_context for e in prompts.encoded),
        "num_items": sum(map(len, unique.values())),
        "num_prompts": len(prompts.encoded),
        "item_ids": unique,
        "versions": versions(),
        **({"expert_widths": lm.expert_widths} if lm.expert_widths else {}),
    }


Totals = dict[str, torch.Tensor]
"""Key of a site's statistic -> its sums, [G, N] or [K, N]."""


class Accumulator:
    """Runs batches and sums each site's per-item scores, in float64 on the device.

    Attributes:
        sums: "sum/<statistic>/<module>/<layer>" -> [G, N], "block/..." -> [K, N], and "group_block/..." -> [K x G, N].
        index: the same kinds -> the row of those sums that each prompt is added to, [P].
    """

    def __init__(
        self,
        lm: LanguageModel,
        prompts: Prompts,
        methods: Sequence[Method],
        *,
        modules: Sequence[str] | None = None,
        blocks: Blocks | None = None,
        budget: int | None = None,
    ) -> None:
        self.lm = lm
        self.prompts = prompts
        self.methods = list(methods)
        self.budget = budget
        self.index = {"sum": prompts.group_of}
        self._sizes = {"sum": len(prompts.groups)}
        if blocks:
            self.index["block"], self._sizes["block"] = blocks.of, blocks.number
        if blocks and blocks.groups:
            self.index["group_block"] = blocks.of * len(prompts.groups) + prompts.group_of
            self._sizes["group_block"] = blocks.number * len(prompts.groups)
        self.modules = {m.name: [n for n in m.modules(lm) if modules is None or n in modules] for m in methods}
        self._scored = {module for scored in self.modules.values() for module in scored}
        self.sums: Totals = {}
        for kind, statistic, modules in self._families():
            for module in modules:
                for layer in range(lm.num_layers):
                    zeros = self._zeros(Site(module, layer), self._sizes[kind])
                    self.sums[f"{kind}/{statistic}/{module}/{layer}"] = zeros
        self._staged: list[tuple[str, Site, int, torch.Tensor]] = []
        self._fitting = Fitting(self._run)

    def _families(self) -> Iterator[tuple[str, str, list[str]]]:
        """(kind of sums, statistic, modules) of all that is kept."""
        for method in self.methods:
            modules = self.modules[method.name]
            selected = [module for module in modules if module in MLP_POOL + ATTENTION_POOL]
            for part in method.statistics:
                for kind in self.index if method.pooled else ("sum",):
                    yield kind, method.name + part, selected if kind == "group_block" else modules

    def _zeros(self, site: Site, size: int) -> torch.Tensor:
        # MPS has no float64; there the sums are float32.
        kind = torch.float32 if self.lm.device.type == "mps" else torch.float64
        found = self.lm.sites[site]
        return torch.zeros(size, found.width, dtype=kind, device=found.device)

    def run(self, rows: Sequence[Row]) -> None:
        """All passes over a batch; in parts where the device runs out of memory."""
        self._fitting(rows)

    def _run(self, rows: Sequence[Row]) -> None:
        self._staged.clear()
        work = ScoringBatch(self.lm, self.prompts, rows, modules=self._scored, budget=self.budget)
        self._passes(work)
        # Only now: a pass that fails half-way must leave no trace in the sums.
        self._commit(work.keys)
        self._staged.clear()

    def _passes(self, work: ScoringBatch) -> None:
        if any(getattr(method, "reference", None) == "control" for method in self.methods):
            run_twins(work)
        gradients = [m for m in self.methods if isinstance(m, GradientMethod)]
        values = [m for m in self.methods if isinstance(m, ValueMethod)]
        plain = [m for m in gradients if m.rules == "plain"]
        emit: Emit = self._stage
        if plain or values:
            run_pass(work, plain, values, emit)
        if relevance := [m for m in gradients if m.rules == "relevance"]:
            run_pass(work, relevance, [], emit)
        for method in self.methods:
            if isinstance(method, SweepMethod):
                for site, first, scores in method.sweep(work):
                    emit(method.name, site, first, scores)

    def _stage(self, statistic: str, site: Site, first: int, scores: torch.Tensor) -> None:
        """Keep a site's [B, N] (from neuron `first` on) until the batch is through."""
        if f"sum/{statistic}/{site.module}/{site.layer}" in self.sums:
            self._staged.append((statistic, site, first, scores))

    def _commit(self, keys: Sequence[int]) -> None:
        index_of = {kind: Placed(torch.from_numpy(index[keys])) for kind, index in self.index.items()}
        for statistic, site, first, scores in self._staged:
            for kind, index in index_of.items():
                sums = self.sums.get(f"{kind}/{statistic}/{site.module}/{site.layer}")
                if sums is not None:
                    neurons = sums[:, first : first + scores.shape[1]]
                    neurons.index_add_(0, index.on(scores.device), scores.to(sums.dtype))

    def result(self, kind: str) -> dict[tuple[str, str], np.ndarray]:
        """(statistic, module) -> float32 [G, L, N] ("sum"), [K, L, N] ("block") or [K x G, L, N] ("group_block")."""
        found: dict[tuple[str, str], Any] = {}
        for of, statistic, modules in self._families():
            for module in modules if of == kind else ():
                keys = [f"{kind}/{statistic}/{module}/{layer}" for layer in range(self.lm.num_layers)]
                found[statistic, module] = np.stack([self.sums[key].float().cpu().numpy() for key in keys], axis=1)
        return found
