"""Exact suppression of a sample of neurons, and of groups, beside what every method says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from culnig.attribution import Scores, oracle, score
from culnig.attribution.method import Method, Weighted, parse_methods
from culnig.data import Item
from culnig.errors import UsageError
from culnig.evaluation import evaluate
from culnig.intervention import scale
from culnig.models import LanguageModel
from culnig.neurons import ATTENTION_POOL, MLP_POOL, Neuron, NeuronSet
from culnig.progress import Reporter, Silent
from culnig.prompts import PromptPolicy
from culnig.selection.pools import Pool, top
from culnig.studies.fidelity.sample import geometric, stratified

METHODS = "culnig,culnig:sum,atp,relp,ig:gate:steps=4"
SELECTABLE = (*MLP_POOL, *ATTENTION_POOL)
KEPT = ("model", "model_hash", "revision", "dtype", "data_hash", "formulation", "prompts", "num_items", "num_prompts")
FIXED = ("module", "layer", "neuron", "decile", "exact")


@dataclass(frozen=True)
class Sampling:
    """Which neurons and groups are suppressed.

    Attributes:
        layers: so many layers, evenly spread; None is all.
        per_cell: neurons of each score decile of each module of each layer.
        largest: the largest group, as a share of the neurons that a method has scored.
        groups: group sizes from 1 to the largest, on a logarithmic scale; 0 leaves groups out.
        seed: seed of the draw.
    """

    layers: int | None = None
    per_cell: int = 1
    largest: float = 0.01
    groups: int = 9
    seed: int = 0


@dataclass
class Fidelity:
    """What was measured; every table is computed from it, without the model.

    Attributes:
        neurons: a row a neuron: module, layer, neuron, decile, `exact` (the mean over the prompts of P(gold) times what
            zeroing it takes from P(gold)), and a column for each method, its S on the same prompts (nan where a method does
            not score the module).
        groups: a row a method and group: method, k, share (of the neurons that the method has scored), estimate (the sum
            of S over the method's top k), exact (the same neurons suppressed together).
        meta: model, data, prompts, methods, sampling.
    """

    neurons: pd.DataFrame
    groups: pd.DataFrame
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def methods(self) -> list[str]:
        """The methods, in the order they were named."""
        return [column for column in self.neurons.columns if column not in FIXED]

    def save(self, folder: Path | str) -> None:
        """Write neurons.parquet, groups.parquet and fidelity.json into a folder."""
        from culnig.files import atomic_path, write_json

        for name, table in (("neurons", self.neurons), ("groups", self.groups)):
            with atomic_path(Path(folder) / f"{name}.parquet") as temporary:
                table.to_parquet(temporary, index=False)
        write_json(Path(folder) / "fidelity.json", self.meta)

    @classmethod
    def load(cls, folder: Path | str) -> Fidelity:
        """Read what `save` has written.

        Raises:
            UsageError: no such files.
            DataError: files that are damaged.
        """
        from culnig.files import read_json

        meta = read_json(Path(folder) / "fidelity.json", "the description of a fidelity measurement")
        neurons = _read(Path(folder) / "neurons.parquet", FIXED)
        return cls(neurons, _read(Path(folder) / "groups.parquet", ("method", "k", "estimate", "exact")), meta)


def measure_fidelity(
    lm: LanguageModel,
    items: Iterable[Item],
    *,
    methods: str | Sequence[str] = METHODS,
    modules: Sequence[str] | None = None,
    sampling: Sampling | None = None,
    formulation: str | None = None,
    policy: PromptPolicy | None = None,
    token_budget: int | None = None,
    reporter: Reporter | None = None,
) -> Fidelity:
    """Suppress a stratified sample of neurons one by one, and each method's top groups, and set both beside the estimates.

    Estimates and suppression are on the very same prompts; controls are not clamped, since what is asked is whether the
    number is right.  Deciles are those of the first method's S within a module's layer.

    Args:
        lm: the model.
        items: the items.
        methods: methods that estimate what a neuron gives to P(gold), weighted by confidence.
        modules: whose neurons; None is all that selection looks at (gate, q, k, v), as far as the first method scores them.
        sampling: which neurons and groups; None is the default.
        formulation, policy, token_budget: as for `score`.
        reporter: shows progress.

    Raises:
        UsageError: no items, a method that estimates something else, an unknown module, a sample that cannot be drawn.
    """
    chosen, how, show = list(items), sampling or Sampling(), reporter or Silent()
    policy = policy or lm.scoring_policy(formulation)
    parsed = [_checked(method) for method in parse_methods(methods)]
    wanted = [module for module in (modules or SELECTABLE) if modules or module in lm.shapes]
    names = [method.name for method in parsed]
    run = {"policy": policy, "control": False, "token_budget": token_budget}
    with show.step(f"score by {len(names)} methods", len(chosen), "items") as progress:
        scores = score(lm, chosen, method=names, modules=wanted, progress=progress, **run)  # type: ignore[arg-type]
    first = scores.of_method(names[0])
    sample = stratified(first, first.modules, layers=how.layers, per_cell=how.per_cell, seed=how.seed)
    neurons = [Neuron(*row) for row in sample[["module", "layer", "neuron"]].itertuples(index=False)]
    with show.step(f"suppress {len(neurons):,} neurons one by one", len(chosen), "items") as progress:
        exact = oracle(lm, chosen, neurons, progress=progress, **run)  # type: ignore[arg-type]
    sample["exact"] = exact.mean()
    for name in names:
        sample[name] = _estimates(scores, name, neurons)
    groups = _measure_groups(lm, chosen, scores, how, policy, token_budget, show)
    meta = {key: scores.meta[key] for key in (*KEPT, "versions")} | {"methods": names, "sampling": asdict(how)}
    return Fidelity(sample, groups, meta)


def _checked(method: Method) -> Method:
    estimates = isinstance(method, Weighted) and method.target == "p" and method.weight == "weighted"
    if not estimates or method.base == "oracle":
        raise UsageError(
            f"method '{method.name}' does not estimate P(gold) weighted by confidence; fidelity is of methods that do:"
            " culnig, atp, relp, ig with their positions"
        )
    return method


def _estimates(scores: Scores, method: str, neurons: Sequence[Neuron]) -> np.ndarray:
    """S of each neuron, nan where the method does not score its module."""
    have = {module: scores.mean(module, method) for name, module in scores.sums if name == method}
    return np.array([have[n.module][n.layer, n.index] if n.module in have else np.nan for n in neurons])


def _measure_groups(
    lm: LanguageModel,
    items: Sequence[Item],
    scores: Scores,
    how: Sampling,
    policy: PromptPolicy,
    token_budget: int | None,
    show: Reporter,
) -> pd.DataFrame:
    columns = ["method", "k", "share", "estimate", "exact"]
    plans = [(name, *_ranked(scores, name, how)) for name in scores.methods] if how.groups else []
    if not plans:
        return pd.DataFrame(columns=columns)
    total = sum(len(sizes) for _, _, _, _, sizes in plans)
    with show.step(f"suppress {total} groups", total, "groups") as progress:
        clean = evaluate(lm, items, policy=policy, token_budget=token_budget).rows["p_gold"].to_numpy()
        rows: list[tuple[str, int, float, float, float]] = []
        for name, neurons, values, size, sizes in plans:
            for k in sizes:
                with scale(lm, NeuronSet(neurons[:k]), 0.0):
                    masked = evaluate(lm, items, policy=policy, token_budget=token_budget).rows["p_gold"].to_numpy()
                exact = float(np.mean(clean * (clean - masked)))
                rows.append((name, k, k / size, float(values[:k].sum()), exact))
                progress(1)
    return pd.DataFrame(rows, columns=columns)


def _ranked(scores: Scores, method: str, how: Sampling) -> tuple[list[Neuron], np.ndarray, int, list[int]]:
    """The method's best neurons with their S, how many it has scored, and the group sizes."""
    own = scores.of_method(method)
    pool = Pool(own, own.modules)
    values = pool.flat(own.mean)
    sizes = geometric(pool.size, how.largest, how.groups)
    best = top(values, sizes[-1])
    return [pool.neuron(position) for position in best], values[best], pool.size, sizes


def _read(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    import pyarrow as pa

    from culnig.errors import DataError
    from culnig.files import require_file

    try:
        table = pd.read_parquet(require_file(path, "rows of a fidelity measurement (.parquet)"))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({' '.join(str(error).split())})") from error
    if missing := [column for column in needed if column not in table]:
        raise DataError(f"{path}: no column {', '.join(missing)}; `culnig fidelity` writes such files")
    return table
