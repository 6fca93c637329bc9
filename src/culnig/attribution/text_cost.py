"""What plain text loses with each neuron, from gradients: the first-order change of the loss, and the diagonal Fisher.

With L the summed negative log-probability of the tokens, and c_i = n_i * dL/dn_i at position i of a text,

    O = - sum of c_i / tokens         first-order change of the loss a token when the neuron is zeroed at all positions
    Q = sum of c_i squared / tokens   diagonal empirical Fisher, in units of the neuron's own value

O + Q / 2 is a second-order estimate of the loss that suppressing the neuron adds to a token, in nats.  MLP neurons are looked
at behind their activation function, as in `ValueTimesGradient` with `product`, where the first-order term is exact.

Where a neuron is replaced by a number m, c_i = (n_i - m) * dL/dn_i at its site, and the first-order term is an approximation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from culnig import distributed
from culnig.attribution.batch import FLOAT16_SCALE, Reference
from culnig.attribution.observe import sites_reporting_to, ungated_products_reporting_to
from culnig.models import LanguageModel
from culnig.models.downstream import is_gated
from culnig.neurons import UP_OF, Site, mlp_of
from culnig.passes.forward import Row, batches
from culnig.passes.in_step import check_passes, share_in_step
from culnig.passes.memory import Fitting
from culnig.passes.plain_text import pieces, token_logprobs

BUDGET = 1024
"""Padded tokens a batch at most: every position has logits and their gradients, [tokens, vocabulary] in float32."""

Take = Callable[[Site, int, torch.Tensor], None]
"""Takes (site, index of the first neuron, n * dL/dn [B, T, N])."""


@dataclass(frozen=True)
class TextCost:
    """The cost of each neuron on plain text.

    Attributes:
        first_order: module -> O, float64 [L, N].
        fisher: module -> Q, float64 [L, N].
        tokens: how many tokens were predicted.
        loss: mean negative log-probability a token of the model as it is.
    """

    first_order: dict[str, np.ndarray]
    fisher: dict[str, np.ndarray]
    tokens: int
    loss: float

    def estimate(self, module: str) -> np.ndarray:
        """O + Q / 2, float64 [L, N]: nats a token that zeroing the neuron adds to the loss."""
        return self.first_order[module] + self.fisher[module] / 2


def text_cost(
    lm: LanguageModel,
    texts: Sequence[str],
    *,
    bos: str = "auto",
    reference: Reference | None = None,
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> TextCost:
    """Estimate what zeroing each neuron of every site costs on plain text: one forward and one backward pass.

    Args:
        lm: the model, suppressed or not.
        texts: paragraphs, such as `load_texts` gives.
        bos: "auto" (what the tokenizer does), "on", "off".
        reference: the numbers that neurons are replaced by, of every site (`Means.on`); None: they are zeroed.
        token_budget: padded tokens a batch, at most 1,024; changes speed and memory, not results.
        progress: called with the number of rows done after each batch.

    Raises:
        UsageError: no text, an unknown `bos`, or BOS asked of a tokenizer without one.
        DataError: a paragraph with fewer than two tokens.
    """
    check_passes(lm)
    rows = [Row(key, ids, ()) for key, (_, _, ids) in enumerate(pieces(lm, texts, bos))]
    sums = {
        (kind, site): torch.zeros(found.width, dtype=torch.float64 if found.device.type != "mps" else torch.float32)
        for site, found in lm.sites.items()
        for kind in ("first_order", "fisher")
    }
    total = torch.zeros(1, dtype=torch.float64)

    def run(part: Sequence[Row]) -> None:
        loss, found = _costs(lm, [row.prompt for row in part], reference)
        if not counts:
            return
        total.add_(loss)
        for site, first, costs in found:
            for kind, values in zip(("first_order", "fisher"), costs.cpu().double(), strict=True):
                sums[kind, site][first : first + len(values)] += values

    fitting = Fitting(run, halves=not lm.is_sharded)
    for chunk, counts in share_in_step(lm, batches(rows, min(token_budget or lm.token_budget, BUDGET))):
        fitting(chunk)
        if progress and counts:
            progress(len(chunk))
    distributed.sum_over_processes([*sums.values(), total])
    tokens = sum(len(row.prompt) - 1 for row in rows)

    def row(kind: str, site: Site, width: int) -> np.ndarray:
        own = sums[kind, site].numpy() if site in lm.sites else np.zeros(0)
        return np.pad(own, (0, width - len(own)))

    def arrays(kind: str) -> dict[str, np.ndarray]:
        return {
            module: np.stack([row(kind, Site(module, layer), width) for layer in range(layers)]) / tokens
            for module, (layers, width) in lm.shapes.items()
        }

    return TextCost(arrays("first_order"), arrays("fisher"), tokens, float(total) / tokens)


Found = list[tuple[Site, int, torch.Tensor]]
"""(site, index of the first neuron, summed O and Q [2, N])."""


def _costs(lm: LanguageModel, rows: Sequence[tuple[int, ...]], reference: Reference | None) -> tuple[float, Found]:
    """The summed loss of some texts, and what each site adds to the sums."""
    scale = FLOAT16_SCALE if lm.dtype == torch.float16 else 1.0
    while True:
        loss, found, finite = _scaled_costs(lm, rows, scale, reference)
        if finite or scale == 1.0:
            return loss, found
        scale = max(1.0, scale / 16)


def _scaled_costs(
    lm: LanguageModel, rows: Sequence[tuple[int, ...]], scale: float, reference: Reference | None
) -> tuple[float, Found, bool]:
    """The costs by a backward pass from `scale` times the loss, and whether all gradients are finite (float16)."""
    found: Found = []

    def take(site: Site, first: int, c: torch.Tensor) -> None:
        c = c / scale
        found.append((site, first, torch.stack([-c.sum(dim=(0, 1)), c.square().sum(dim=(0, 1))])))

    with _reporting_to(lm, take, reference), torch.enable_grad():
        logprobs, embedded = token_logprobs(lm, rows, differentiable=True)
        loss = -logprobs.sum()
        (loss * scale).backward()
    assert embedded is not None and embedded.grad is not None
    return loss.item(), found, scale == 1.0 or bool(embedded.grad.isfinite().all())


@contextmanager
def _reporting_to(lm: LanguageModel, take: Take, reference: Reference | None) -> Iterator[None]:
    """Within the block every backward pass hands the contributions of every site to `take`."""
    if reference is not None:
        with sites_reporting_to(lm, _against(reference, take)):
            yield
        return

    def at_product(site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        assert gradient is not None
        for module in mlp_of(site.module):
            if (own := Site(module, site.layer)) in lm.sites:
                take(own, first, value.float() * gradient.float())

    def at_site(site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        assert gradient is not None
        if site.module in UP_OF.values():  # up * dL/dup = h * dL/dh
            at_product(site, value, gradient, first)
        elif site.module not in UP_OF:
            take(site, first, value.float() * gradient.float())

    with ExitStack() as stack:
        stack.enter_context(sites_reporting_to(lm, at_site))
        if not is_gated(lm):
            stack.enter_context(ungated_products_reporting_to(lm, at_product))
        yield


def _against(reference: Reference, take: Take) -> Callable[..., None]:
    """Return what hands (n - m) * dL/dn of a site to `take`."""

    def at_site(site: Site, value: torch.Tensor, gradient: torch.Tensor | None, first: int = 0) -> None:
        assert gradient is not None
        own = reference[site][first : first + value.shape[-1]].to(value.device)
        take(site, first, (value.float() - own) * gradient.float())

    return at_site
