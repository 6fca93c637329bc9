"""Batches -> sums: all passes over each batch, and each site's scores added up by group and by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from culnig.attribution.batch import Placed, Prompts, ScoringBatch
from culnig.attribution.method import GradientMethod, Method, SweepMethod, ValueMethod
from culnig.attribution.observe import Emit, run_pass, run_twins
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Site
from culnig.passes.forward import Row
from culnig.passes.memory import Fitting
from culnig.passes.numbers import no_numbers
from culnig.passes.trees import Tree


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
        _check_lengths(methods, prompts)
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
        self._keep = True
        self._fitting = Fitting(self._run, halves=not lm.is_sharded)

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
        found = self.lm.sites.get(site)  # a layer without the site has nothing that is ever added to its sums
        device = found.device if found else self.lm.device
        # As wide as the widest layer: what is beyond a layer's own neurons stays 0.
        return torch.zeros(size, self.lm.shapes[site.module][1], dtype=kind, device=device)

    def run(self, rows: Sequence[Tree | Row], *, keep: bool = True) -> None:
        """All passes over a batch; in parts where the device runs out of memory.

        Args:
            rows: the batch.
            keep: whether its scores are added up; else only the passes run, for other processes' sake.
        """
        self._keep = keep
        self._fitting(rows)

    def _run(self, rows: Sequence[Tree | Row]) -> None:
        self._staged.clear()
        work = ScoringBatch(self.lm, self.prompts, rows, modules=self._scored, budget=self.budget)
        self._passes(work)
        self._check_numbers(work)
        # Only now: a pass that fails half-way must leave no trace in the sums.
        if self._keep:
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

    def _check_numbers(self, work: ScoringBatch) -> None:
        """Check that a batch's scores are numbers; the host waits for each device once.

        Methods that sweep score a sample of the neurons, and check what they compute themselves.

        Raises:
            ModelError: NaN or infinity in activations or gradients; nothing of the batch has been added up.
        """
        sampled = {method.name for method in self.methods if isinstance(method, SweepMethod)}
        sums: dict[torch.device, torch.Tensor] = {}
        for statistic, _, _, scores in self._staged:
            if statistic not in sampled:
                # NaN and infinity survive multiplication by 0, and adding up; numbers become 0.
                flag = (scores * 0).sum(dtype=torch.float32)
                sums[scores.device] = sums[scores.device] + flag if scores.device in sums else flag
        if not all(bool(flag == 0) for flag in sums.values()):
            raise no_numbers(self.lm, f"the scores of a batch with item {self.prompts.encoded[work.keys[0]].item.id}")

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


def _check_lengths(methods: Sequence[Method], prompts: Prompts) -> None:
    """Check that a method that leaves out the first token leaves some token of every prompt."""
    short = np.flatnonzero(prompts.columns.tokens < 2)
    for method in methods:
        if getattr(method, "first", "keep_first") == "skip_first" and len(short):
            item = prompts.encoded[int(short[0])].item
            raise UsageError(
                f"{method.name} leaves out the first token, and the prompt of item {item.id} of"
                f" {item.benchmark} has no other"
            )
