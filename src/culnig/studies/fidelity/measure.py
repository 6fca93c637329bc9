"""Exact suppression of samples of neurons, and of groups, beside what every method says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from culnig.attribution import Scores
from culnig.attribution.method import Method, Weighted, parse_methods
from culnig.attribution.per_item import score_every_prompt
from culnig.data import Item
from culnig.errors import UsageError
from culnig.files import sha256_json
from culnig.intervention import scale
from culnig.models import LanguageModel
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet
from culnig.progress import Reporter, Silent
from culnig.prompts import PromptPolicy
from culnig.studies.fidelity.exact_rows import Parts, exact_rows
from culnig.studies.fidelity.groups import COLUMNS, measure_groups
from culnig.studies.fidelity.rows import CTRL, NEUR, STRATIFIED, TOP, Fidelity
from culnig.studies.fidelity.sample import Sampling, best_of_all, stratified

METHODS = "culnig,culnig:sum,atp,relp,ig:gate:steps=4"
SELECTABLE = (*MLP_POOL, *ATTENTION_POOL)
KEPT = ("model", "model_hash", "revision", "dtype", "data_hash", "formulation", "prompts", "num_items", "num_prompts")
AGAIN = "@given"
"""End of the name of an estimate that is made anew while the given set is suppressed."""


def measure_fidelity(
    lm: LanguageModel,
    items: Iterable[Item],
    *,
    controls: Iterable[Item] | None = None,
    methods: str | Sequence[str] = METHODS,
    modules: Sequence[str] | None = None,
    sampling: Sampling | None = None,
    given: NeuronSet | None = None,
    formulation: str | None = None,
    policy: PromptPolicy | None = None,
    token_budget: int | None = None,
    keep: Path | None = None,
    reporter: Reporter | None = None,
) -> Fidelity:
    """Suppress neurons one by one, and each method's top groups, and set the exact effects beside the estimates.

    Neurons are a stratified sample, and the best of all methods as selection ranks them.  Estimates and suppression are
    on the very same prompts.  Exact effects are never clamped; estimates on controls are, as far as selection clamps
    them.  Deciles are those of the first method's S within a module's layer.

    Args:
        lm: the model.
        items: the cultural items.
        controls: their controls, for D = S - S(controls); None leaves D out, and the best are ranked by S.
        methods: methods that estimate what a neuron gives to P(gold), weighted by confidence.
        modules: whose neurons; None is all that selection looks at (gate, q, k, v), as far as the first method scores them.
        sampling: which neurons and groups; None is the default.
        given: neurons that are suppressed already while effects are measured.  Estimates are of the untouched model, as
            in selection; those made anew are beside them, with `@given` after their names.  Groups are left out.
        formulation, policy, token_budget: as for `score`.
        keep: folder in which finished blocks of neurons are kept; `exact_rows.forget` deletes it.
        reporter: shows progress.

    Raises:
        UsageError: no items, a method that estimates something else, an unknown module, a sample that cannot be drawn.
    """
    parts = {NEUR: list(items)} | ({CTRL: list(controls)} if controls is not None else {})
    how, show = sampling or Sampling(), reporter or Silent()
    policy = policy or lm.scoring_policy(formulation)
    names = [_checked(method).name for method in parse_methods(methods)]
    wanted = [module for module in (modules or SELECTABLE) if modules or module in lm.shapes]
    run: dict[str, Any] = {"policy": policy, "token_budget": token_budget}
    scored = _Scored.of(lm, parts, names, wanted, run, show)
    first, _ = scored.of_method(names[0])
    cells = stratified(first, first.modules, layers=how.layers, per_cell=how.per_cell, seed=how.seed)
    left_out = list(given or ())
    by_method = {name: scored.of_method(name) for name in names}
    best = best_of_all(by_method, how, left_out) if how.top != 0 else pd.DataFrame()
    table, neurons = _joined(cells, best, set(left_out))
    effects = {name: scored.rows(name, neurons) for name in names}
    under = sha256_json([list(neuron) for neuron in given]) if given else None
    with scale(lm, given, 0.0) if given else nullcontext():
        if given:
            again = _Scored.of(lm, parts, names, wanted, run, show)
            effects |= {f"{name}{AGAIN}": again.rows(name, neurons) for name in names}
        prompts, change = exact_rows(lm, parts, neurons, under=under, keep=keep, show=show, **run)
    rows = pd.DataFrame(prompts)
    effects = {"exact": change * rows["probability"].to_numpy(dtype=np.float32)[:, None]} | effects
    cultural = (rows["part"] == NEUR).to_numpy()
    table = table.assign(**{n: v[cultural].mean(axis=0, dtype=float)[table["number"]] for n, v in effects.items()})
    groups = (
        pd.DataFrame(columns=COLUMNS)
        if given
        else measure_groups(lm, parts[NEUR], scored.scores[NEUR], how, show=show, **run)
    )
    meta = {key: scored.scores[NEUR].meta[key] for key in (*KEPT, "versions")}
    meta |= {
        "methods": [name for name in effects if name != "exact"],
        "sampling": asdict(how) | {"rule": how.rule.model_dump()},
    }
    meta |= {"given": {"neurons": len(given), "hash": under}} if given else {}
    return Fidelity(table, groups, meta, rows, effects)


def _checked(method: Method) -> Method:
    estimates = isinstance(method, Weighted) and method.target == "p" and method.weight == "weighted"
    if not estimates or method.base == "oracle":
        raise UsageError(
            f"method '{method.name}' does not estimate P(gold) weighted by confidence; fidelity is of methods that do:"
            " culnig, atp, relp, ig with their positions"
        )
    return method


@dataclass(frozen=True)
class _Scored:
    """Scores of the items and of their controls, and what every prompt adds to them."""

    scores: dict[str, Scores]
    every: dict[str, dict[tuple[str, str], np.ndarray]]

    @classmethod
    def of(
        cls, lm: LanguageModel, parts: Parts, names: list[str], modules: list[str], run: dict[str, Any], show: Reporter
    ) -> _Scored:
        """Score the parts by all methods; the controls as selection has them."""
        found = {}
        with show.step(f"score by {len(names)} methods", sum(map(len, parts.values())), "items") as progress:
            for part, items in parts.items():
                options = {"control": part == CTRL, "progress": progress, **run}
                found[part] = score_every_prompt(lm, items, method=names, modules=modules, **options)
        return cls({part: each for part, (each, _) in found.items()}, {part: each for part, (_, each) in found.items()})

    def of_method(self, name: str) -> tuple[Scores, Scores | None]:
        """The scores of the items and of the controls by one method."""
        ctrl = self.scores[CTRL].of_method(name) if CTRL in self.scores else None
        return self.scores[NEUR].of_method(name), ctrl

    def rows(self, name: str, neurons: Sequence[Neuron]) -> np.ndarray:
        """What each prompt of all parts adds to each neuron's S, float32 [P, neurons]; nan if it is not scored."""
        parts = []
        for every in self.every.values():
            columns = [
                every[name, n.module][:, n.layer, n.index] if (name, n.module) in every else None for n in neurons
            ]
            size = len(next(iter(every.values())))
            parts.append(np.stack([np.full(size, np.nan) if c is None else c for c in columns], axis=1))
        return np.concatenate(parts).astype(np.float32)


def _joined(cells: pd.DataFrame, best: pd.DataFrame, left_out: set[Neuron]) -> tuple[pd.DataFrame, list[Neuron]]:
    """The rows of both samples, and the neurons that they number: one that is in both is measured once."""
    cells = cells.assign(stratum=STRATIFIED, pool="", draw="", weight=1.0, k=0)
    table = pd.concat([cells, best.assign(stratum=TOP, decile=0)], ignore_index=True) if len(best) else cells
    every = [Neuron(*row) for row in table[["module", "layer", "neuron"]].itertuples(index=False)]
    kept = [neuron not in left_out for neuron in every]
    number: dict[Neuron, int] = {}
    for neuron, keep in zip(every, kept, strict=True):
        if keep:
            number.setdefault(neuron, len(number))
    table = table[kept].reset_index(drop=True)
    table["number"] = [number[neuron] for neuron, keep in zip(every, kept, strict=True) if keep]
    return table, list(number)
