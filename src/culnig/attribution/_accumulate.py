"""Running batches through all methods of a job, and summing their scores by group and by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from culnig.attribution._method import GradientMethod, Method, SweepMethod, ValueMethod
from culnig.attribution._pass import Emit, run_pass, run_twins
from culnig.attribution._work import Prompts, Work
from culnig.models import LanguageModel
from culnig.models._batch import Fitting, Row
from culnig.neurons import Site

Totals = dict[str, torch.Tensor]
"""Key of a site's statistic -> its sums, [G, N] or [K, N]."""


class Accumulator:
    """Runs batches and sums each site's per-item scores, in float64 on the device.

    Attributes:
        sums: "sum/<statistic>/<module>/<layer>" -> [G, N], and "block/..." -> [K, N].
    """

    def __init__(
        self,
        lm: LanguageModel,
        prompts: Prompts,
        methods: Sequence[Method],
        *,
        modules: Sequence[str] | None = None,
        block_of: np.ndarray | None = None,
        blocks: int = 0,
        budget: int | None = None,
    ) -> None:
        self.lm = lm
        self.prompts = prompts
        self.methods = list(methods)
        self.block_of = block_of
        self.blocks = blocks
        self.budget = budget
        self.modules = {m.name: [n for n in m.modules(lm) if modules is None or n in modules] for m in methods}
        self._scored = {module for scored in self.modules.values() for module in scored}
        self.sums: Totals = {}
        for kind, statistic, method, size in self._families():
            for module in self.modules[method.name]:
                for layer in range(lm.num_layers):
                    self.sums[f"{kind}/{statistic}/{module}/{layer}"] = self._zeros(Site(module, layer), size)
        self._staged: list[tuple[str, Site, int, torch.Tensor]] = []
        self._fitting = Fitting(self._run)

    def _families(self) -> Iterator[tuple[str, str, Method, int]]:
        """(sum or block, statistic, its method, number of groups or blocks)."""
        for method in self.methods:
            for part in method.parts:
                yield "sum", method.name + part, method, len(self.prompts.groups)
                if self.blocks and method.pooled:
                    yield "block", method.name + part, method, self.blocks

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
        work = Work(self.lm, self.prompts, rows, modules=self._scored, budget=self.budget)
        self._passes(work)
        # Only now: a pass that fails half-way must leave no trace in the sums.
        self._commit(work.keys)
        self._staged.clear()

    def _passes(self, work: Work) -> None:
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
        group = torch.from_numpy(self.prompts.group_of[keys])
        block = torch.from_numpy(self.block_of[keys]) if self.block_of is not None else None
        for statistic, site, first, scores in self._staged:
            for kind, index in (("sum", group), ("block", block)):
                sums = self.sums.get(f"{kind}/{statistic}/{site.module}/{site.layer}")
                if sums is not None and index is not None:
                    neurons = sums[:, first : first + scores.shape[1]]
                    neurons.index_add_(0, index.to(scores.device), scores.to(sums.dtype))

    def result(self, kind: str) -> dict[tuple[str, str], np.ndarray]:
        """(statistic, module) -> float32 [G, L, N] ("sum") or [K, L, N] ("block")."""
        found: dict[tuple[str, str], Any] = {}
        for of, statistic, method, _ in self._families():
            for module in self.modules[method.name] if of == kind else ():
                keys = [f"{kind}/{statistic}/{module}/{layer}" for layer in range(self.lm.num_layers)]
                found[statistic, module] = np.stack([self.sums[key].float().cpu().numpy() for key in keys], axis=1)
        return found
