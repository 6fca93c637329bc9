"""Mean values of neurons over items: what a neuron's value is replaced by (mean ablation).

    m = mean over items of (mean over the item's positions of n)

This is what the method `mean_contrast` sums, and the reference of `atp:dataset` and `oracle:dataset`.  A file of means
is therefore a score file of `mean_contrast`.  A neuron of an expert counts as 0 where a token went elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from culnig.attribution.batch import Reference
from culnig.attribution.scoring import Progress, score
from culnig.attribution.store import Scores
from culnig.data import Item
from culnig.errors import UsageError
from culnig.models import LanguageModel
from culnig.neurons import Site
from culnig.prompts import PromptPolicy

METHOD = "mean_contrast"


@dataclass(frozen=True)
class Means:
    """Every neuron's mean value over a set of items.

    Attributes:
        values: module -> float32 [L, N].
        count: the number of prompts.
        meta: the model, the items and the prompts, as a score file records them.
        name: the file, for messages.
    """

    values: dict[str, np.ndarray]
    count: int
    meta: dict[str, Any]
    name: str = "the mean values"

    def __repr__(self) -> str:
        return f"Means({self.meta.get('model', '?')}, {self.count} prompts)"

    @property
    def record(self) -> dict[str, Any]:
        """What results record of the reference: its items and how they were put."""
        kept = {key: self.meta.get(key) for key in ("data_hash", "num_items", "formulation")}
        return {"items": ", ".join(self.meta.get("item_ids") or {})} | kept

    def of(self, site: Site, indices: Sequence[int]) -> torch.Tensor:
        """Return the means of some neurons of a site, float32 [n].

        Raises:
            UsageError: they are not there, or not finite.
        """
        if site.module not in self.values:
            raise UsageError(f"{self.name}: nothing on {site.module}; they were measured on {', '.join(self.values)}")
        found = torch.from_numpy(self.values[site.module][site.layer, list(indices)])
        if not found.isfinite().all():
            raise UsageError(f"{self.name}: not finite in {site.module} of layer {site.layer}; measure them again")
        return found

    def check(self, lm: LanguageModel) -> None:
        """Check that they were measured on this model.

        Raises:
            UsageError: they were measured on another one.
        """
        if not lm.is_model(self.meta["model_hash"]):
            made_on = f"{self.meta.get('model')}, hash {self.meta['model_hash']}"
            raise UsageError(
                f"{self.name}: measured on another model ({made_on}; {lm.name} has {lm.fingerprint}); measure them on this one"
            )

    def on(self, lm: LanguageModel) -> Reference:
        """Return the means of every site of the model, on its device."""
        self.check(lm)
        return {
            site: self.of(site, range(found.width)).to(found.device)
            for site, found in lm.sites.items()
            if site.module in self.values
        }

    def save(self, path: Path | str) -> None:
        """Write a score file of one group, which `load` reads, and `Scores.load` too."""
        sums = {(METHOD, module): (mean * self.count)[None].astype(np.float32) for module, mean in self.values.items()}
        meta = self.meta | {"method": METHOD, "modules": list(self.values)}
        Scores(sums, np.array([self.count]), ["all"], meta).save(path)

    @classmethod
    def load(cls, path: Path | str) -> Means:
        """Read a file of means, or any score file of `mean_contrast` (`culnig score --method mean_contrast`).

        Raises:
            UsageError: no such file, a file without mean values, or a shard of one.
            DataError: not a score file, or a damaged one.
        """
        return cls.of_scores(Scores.load(path), str(path))

    @classmethod
    def of_scores(cls, scores: Scores, name: str = "the mean values") -> Means:
        """Return the means of a job that `mean_contrast` has scored."""
        method = next((each for each in scores.methods if each.partition(":")[0] == METHOD), None)
        if method is None:
            raise UsageError(f"{name} holds no mean values; `culnig score --method {METHOD}` writes them")
        if scores.meta.get("shard"):
            raise UsageError(f"{name} is a shard; merge all shards first (`culnig merge`)")
        modules = [module for of, module in scores.sums if of == method]
        values = {module: scores.mean(module, method).astype(np.float32) for module in modules}
        return cls(values, int(scores.count.sum()), dict(scores.meta), name)


def mean_values(
    lm: LanguageModel,
    items: Iterable[Item],
    *,
    formulation: str | None = None,
    policy: PromptPolicy | None = None,
    modules: Sequence[str] | None = None,
    token_budget: int | None = None,
    checkpoint: Path | str | None = None,
    progress: Progress | None = None,
) -> Means:
    """Measure the mean value of every neuron over items, in one forward pass over them.

    The model is untouched meanwhile, also within a block of `suppress`, `scale` or `replace`.

    Args:
        lm: the model.
        items: the items; each counts alike.
        formulation, policy: how items are put to the model, as for `score`; calibration makes no difference.
        modules: measure only these ("mlp.gate_proj"); None is all.
        token_budget, checkpoint, progress: as for `score`.

    Raises:
        UsageError, PromptError: as `score`.
    """
    policy = (policy or lm.scoring_policy(formulation)).model_copy(update={"calibration": "none"})
    options: dict[str, Any] = {"token_budget": token_budget, "checkpoint": checkpoint, "progress": progress}
    with lm.untouched():
        return Means.of_scores(score(lm, items, policy=policy, method=METHOD, modules=modules, **options))
