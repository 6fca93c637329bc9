"""`score`: items -> Scores, by default one forward and one backward pass a batch."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from culnig import distributed
from culnig.attribution.accumulator import Accumulator, Blocks
from culnig.attribution.batch import Prompts, Reference, control_twins, prepare
from culnig.attribution.checkpoint import Checkpoint
from culnig.attribution.method import Method, SweepMethod, Weighted, parse_method, parse_methods, scoring_version
from culnig.attribution.store import Scores, block_numbers, items_a_block
from culnig.data import Item, ItemStream, account_of, in_memory, items_hash
from culnig.errors import UsageError
from culnig.files import sha256_json
from culnig.models import LanguageModel
from culnig.neurons import Shape
from culnig.passes.in_step import check_passes, share_in_step
from culnig.prompts import PromptPolicy, template_hash
from culnig.versions import versions

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
    reference: Reference | None = None,
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
        control: take every item as a control, whose score methods of maxima clamp at 0 from below, or none; None leaves
            it to each item's own flag.
        token_budget: padded tokens a batch; changes speed and memory, not results.  None suits the device.
        padded_zeros: reproduce a trap of the published implementation: batches of this many prompts in the order
            given, and the padded positions of a shorter prompt enter its maximum as 0.
        reference: each site's values that `atp:dataset` compares with (`Means.on`); None is the mean over these items.
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
    chosen = in_memory(items)
    target = next((m.target for m in methods if getattr(m, "target", "") in ("diff", "odds")), "p")  # type: ignore[attr-defined]
    prompts = prepare(
        lm, chosen, policy, control=control, target=target, padded_zeros=padded_zeros, token_budget=token_budget
    )
    mine = _shard_keys(len(prompts.encoded), shard)
    prompts.mean = reference
    add_references(lm, prompts, methods, policy, chosen, token_budget)
    blocked = _blocked(prompts, blocks, block_groups)
    accumulator = Accumulator(lm, prompts, methods, modules=modules, blocks=blocked, budget=token_budget)
    whole = prompts.batches(mine, token_budget or lm.token_budget)
    meta = describe(lm, prompts, policy, methods, accumulator)
    meta |= {"padded_zeros": padded_zeros, "shard": shard, "rows": account}
    meta |= {"reference": _fingerprint(reference)} if reference is not None else {}
    if blocked:
        meta |= {"blocks": blocked.number, "block_items": items_a_block(prompts, blocked.of, blocked.number)}
        meta |= {"block_groups": True} if block_groups else {}
    saved = Checkpoint(_of_rank(checkpoint), meta | {"batches": list(map(len, whole))}, checkpoint_minutes)
    _run(accumulator, whole, saved, progress)
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
    keys = range(len(prompts.encoded))
    whole = prompts.batches(keys, token_budget or lm.token_budget)
    meta = describe(lm, prompts, policy, methods, accumulator)
    _run(accumulator, whole, Checkpoint(None, meta, 0), progress)
    distributed.sum_over_processes(accumulator.sums.values())
    return summed(accumulator, keys, meta, {})


def summed(accumulator: Accumulator, mine: Sequence[int], meta: dict[str, Any], blocks: dict[str, Any]) -> Scores:
    """The scores of the prompts of some numbers, once all their batches are through."""
    prompts = accumulator.prompts
    groups, lengths = prompts.group_of[mine], prompts.columns.lengths[mine]
    return Scores(
        sums=accumulator.result("sum"),
        count=np.bincount(groups, minlength=len(prompts.groups)).astype(np.int64),
        groups=prompts.groups,
        meta=meta,
        tokens=np.bincount(groups, weights=lengths, minlength=len(prompts.groups)).astype(np.int64),
        **blocks,
    )


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


def _run(
    accumulator: Accumulator, whole: Sequence[Sequence[int]], saved: Checkpoint, progress: Progress | None
) -> None:
    """Run this process's share of the batches, those that are not done yet, and keep progress."""
    mine = distributed.share(whole)
    done = saved.restore(accumulator.sums)
    if done and progress:
        progress(sum(map(len, mine[:done])))
    for number, (chunk, counts) in enumerate(share_in_step(accumulator.lm, whole, done), start=done + 1):
        accumulator.run([accumulator.prompts.row(key) for key in chunk], keep=counts)
        if number < len(mine):
            saved.keep(accumulator.sums, number)
        if progress and counts:
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
    if lm.is_sharded:
        _check_sharded(methods, lm)
    return methods


def _check_sharded(methods: Sequence[Method], lm: LanguageModel) -> None:
    """Check that every batch takes equally many passes, because processes that share a model run them together."""
    if swept := [method.name for method in methods if isinstance(method, SweepMethod) and method.runs_passes]:
        raise UsageError(f"{', '.join(swept)} cannot score {lm.name} with device map fsdp; use device map auto")
    check_passes(lm)


def add_references(
    lm: LanguageModel,
    prompts: Prompts,
    methods: Sequence[Method],
    policy: PromptPolicy,
    items: Sequence[Item],
    token_budget: int | None,
) -> None:
    """Add to `prompts` what the methods compare values with: the control prompts, or the mean values over all items.

    The mean values cost a forward pass over all items, unless they are there.
    """
    wanted = {getattr(method, "reference", None) for method in methods}
    if "control" in wanted:
        prompts.twins = control_twins(lm, prompts, policy)
    if "dataset" in wanted and prompts.mean is None:
        name = parse_method("mean_contrast").name
        scores = score(lm, items, policy=policy, method=name, token_budget=token_budget)
        means: Reference = {}
        for site, found in lm.sites.items():
            mean = scores.mean(site.module, name)[site.layer, : found.width]
            means[site] = torch.from_numpy(mean).float().to(found.device)
        prompts.mean = means


def _fingerprint(reference: Reference) -> str:
    """Return a hash of reference values."""
    sums = sorted((*site, values.double().sum().item()) for site, values in reference.items())
    return sha256_json(sums)


def _of_rank(checkpoint: Path | str | None) -> Path | None:
    """Each process keeps its own progress."""
    if checkpoint is None or distributed.size() == 1:
        return Path(checkpoint) if checkpoint is not None else None
    return Path(f"{checkpoint}.{distributed.rank()}-of-{distributed.size()}")


def _shard_keys(number: int, shard: tuple[int, int] | None) -> range:
    """Numbers of the prompts of a shard: every n-th, so that shards are alike in length and country."""
    if shard is None:
        return range(number)
    i, n = shard
    if not 1 <= i <= n:
        raise UsageError(f"shard {i}/{n}: give i/n with 1 <= i <= n")
    if n > number:
        raise UsageError(f"shard {i}/{n}: there are only {number} prompts to share out")
    return range(i - 1, number, n)


def _layer_widths(lm: LanguageModel) -> dict[str, list[int]]:
    """Return module -> the number of neurons of each layer, of modules whose layers differ."""
    return {module: list(shape.widths) for module, shape in lm.shapes.items() if isinstance(shape, Shape)}


def describe(
    lm: LanguageModel, prompts: Prompts, policy: PromptPolicy, methods: Sequence[Method], accumulator: Accumulator
) -> dict[str, Any]:
    """What a score file says of how it was made."""
    scored = {module for modules in accumulator.modules.values() for module in modules}
    return {
        "format": 1,
        **lm.description,
        "data_hash": items_hash(prompts.items),
        "template_hash": template_hash(prompts.items, policy),
        "scoring_version": scoring_version(methods),
        "method": ",".join(method.name for method in methods),
        "clamped": [method.name for method in methods if isinstance(method, Weighted) and method.clamps],
        "modules": [module for module in lm.shapes if module in scored],
        "formulation": policy.formulation,
        "prompts": policy.resolved(lm.tokenizer),
        "answers_in_context": prompts.columns.in_context,
        "num_items": len(np.unique(prompts.columns.items)),
        "num_prompts": len(prompts.encoded),
        "item_ids": _item_ids(prompts.items),
        "versions": versions(),
        **({"expert_widths": lm.expert_widths} if lm.expert_widths else {}),
        **({"layer_widths": widths} if (widths := _layer_widths(lm)) else {}),
    }


def _item_ids(items: Sequence[Item]) -> dict[str, list[str]]:
    """Return benchmark -> the ids of its items; of a stream, one line with their number and their hash instead."""
    if isinstance(items, ItemStream):
        number, digests = Counter[str](), defaultdict[str, Any](hashlib.sha256)
        for item in items:
            number[item.benchmark] += 1
            digests[item.benchmark].update(f"{item.id}\n".encode())
        return {name: [f"{number[name]:,} ids, sha256:{digest.hexdigest()}"] for name, digest in digests.items()}
    ids: dict[str, list[str]] = {}
    for item in items:
        ids.setdefault(item.benchmark, []).append(item.id)
    return {benchmark: list(dict.fromkeys(names)) for benchmark, names in ids.items()}
