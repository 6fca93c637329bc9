"""Integrated gradients along a site's own values, from 0 (Dai et al. 2022, "Knowledge neurons", arXiv 2104.08696;
Sundararajan et al. 2017, arXiv 1703.01365).

    s_i = n_i * 1/m sum over k of dP/dn_i at alpha_k n,   alpha_k = (k - 1/2) / m, k = 1 .. m

summed over positions.  One site (a module in a layer) at a time: alpha_k multiplies the values of its neurons at all positions,
all else follows.  The midpoint rule, so that with many steps the scores of a site's neurons add up to what zeroing the whole
site takes from P (completeness; with `p` as target and `sum` over positions).
Where a model routes to experts a step can change the route further up, a jump that no gradient sees.
Costs sites * m passes, each from the site's layer upwards: leave sites out (`gate`, `mlp`, `attention`; or `--modules` for
all methods of a job), take few steps and few items.
`product` scales the products act(gate) * up of a layer on the way, by their up neurons.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from culnig.attribution.method import METHODS, Positional, Positions, SweepMethod
from culnig.attribution.observe import sites_reporting_to
from culnig.attribution.positions import together
from culnig.errors import ModelError
from culnig.models.downstream import is_gated
from culnig.neurons import ATTENTION_POOL, UP_OF, Site
from culnig.passes.from_layer import layer_inputs, starting_at
from culnig.passes.outputs import Change, outputs_changed

if TYPE_CHECKING:
    from culnig.attribution.batch import ScoringBatch
    from culnig.models import LanguageModel

SCOPES = {"gate": tuple(UP_OF), "mlp": (*UP_OF, *UP_OF.values()), "attention": ATTENTION_POOL}


@METHODS.register("ig")
class IntegratedGradients(Positional, SweepMethod):
    """n * the mean of dP/dn on the way from 0 to n."""

    positions: Positions = "sum"
    scope: Literal["all", "gate", "mlp", "attention"] = "all"
    steps: int = Field(20, ge=1)
    place: Literal["site", "product"] = "site"

    def check(self, lm: LanguageModel) -> None:
        if self.place == "product" and not is_gated(lm):
            raise ModelError(
                f"{self.name} needs an up projection, which {lm.name} does not have; use culnig:sum:product"
            )

    def modules(self, lm: LanguageModel) -> list[str]:
        return [module for module in lm.shapes if self.scope == "all" or module in SCOPES[self.scope]]

    def sweep(self, work: ScoringBatch) -> Iterator[tuple[Site, int, torch.Tensor]]:
        with torch.no_grad(), layer_inputs(work.lm) as hidden:
            work.probability = work.objective("logp", work.logprobs()).exp()
        paths: dict[Site, list[Site]] = {}
        for site in [site for site in work.sites if site.module in self.modules(work.lm)]:
            up = UP_OF.get(site.module) if self.place == "product" else None
            paths.setdefault(Site(up, site.layer) if up else site, []).append(site)
        for scaled, sites in paths.items():
            for _, first, scores in self._site(work, scaled, hidden[scaled.layer]):
                yield from ((site, first, scores) for site in sites)

    def _site(self, work: ScoringBatch, site: Site, hidden: torch.Tensor) -> Iterator[tuple[Site, int, torch.Tensor]]:
        path = _Path()
        path.scale = work.loss_scale
        found = work.lm.sites[site]
        everything = found.outputs(range(found.width))
        for k in range(self.steps):
            path.alpha = (k + 0.5) / self.steps
            entering = hidden.clone().requires_grad_(True)
            with (
                torch.enable_grad(),
                starting_at(work.lm, site.layer, entering),
                outputs_changed(found, everything, Change(path.alpha)),
                sites_reporting_to(work.lm, path, only={site}),
            ):
                logprobs = work.logprobs()
                if self.target == "p":
                    path.factor = work.objective("logp", logprobs).detach().exp()[:, None, None]
                scaled = work.objective(self.objective, logprobs).sum() * path.scale
                (at_entry,) = torch.autograd.grad(scaled, entering)
            if path.scale != 1.0 and not at_entry.isfinite().all() and work.reduce_loss_scale():
                yield from self._site(work, site, hidden)
                return
        real = work.real_on(found.device)
        for first, gradient in path.gradients.items():
            product = path.values[first] * (gradient / self.steps)
            scores = together(self, product, real, work.last_on(product.device))
            yield site, first, self.finish(work, scores)


class _Path:
    """A site's values at the end of the path, and the sum of its gradients on the way; by the first neuron's index."""

    def __init__(self) -> None:
        self.alpha = 1.0
        self.scale = 1.0
        self.factor: torch.Tensor | float = 1.0
        self.values: dict[int, torch.Tensor] = {}
        self.gradients: dict[int, torch.Tensor] = {}

    def __call__(self, site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        assert gradient is not None
        factor = self.factor.to(gradient.device) if isinstance(self.factor, torch.Tensor) else self.factor
        step = gradient.float() / self.scale * factor
        self.values[first] = value.float() / self.alpha
        self.gradients[first] = self.gradients[first] + step if first in self.gradients else step
