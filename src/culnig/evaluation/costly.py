"""Which neurons of a set make its suppression cost plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from culnig.attribution.text_cost import text_cost
from culnig.errors import UsageError
from culnig.evaluation.plain_text import compare_text, perplexity
from culnig.intervention import suppress
from culnig.models import LanguageModel
from culnig.neurons import Neuron, NeuronSet, check_belongs


def costliest(
    lm: LanguageModel,
    neurons: Iterable[Neuron],
    texts: Sequence[str],
    *,
    exact: int = 10,
    bos: str = "auto",
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Rank a set's neurons by what each alone costs plain text, and measure the first of them exactly.

    The rank is that of O + Q / 2 (`text_cost`), from one forward and one backward pass; each exact measurement is a
    forward pass over the texts with one neuron suppressed.

    Args:
        lm: the model, not suppressed.
        neurons: the set.
        texts: paragraphs, such as `load_texts` gives.
        exact: suppress so many of the costliest, one at a time.
        bos, token_budget: as for `perplexity`.
        progress: called with 1 after each neuron that is suppressed.

    Returns:
        A row a neuron, costliest first: module, layer, neuron, first_order (O), fisher (Q), estimate (O + Q / 2, nats a
        token), fisher_share (of the set's summed Q), and change (perplexity with the neuron alone suppressed, / untouched -
        1) with low and high, nan where it was not measured.

    Raises:
        UsageError: no neurons, a neuron that the model does not have, or no text.
        DataError: a paragraph with fewer than two tokens.
    """
    chosen = list(neurons)
    if not chosen:
        raise UsageError("no neurons to rank by their cost on text")
    check_belongs(NeuronSet(chosen), lm.shapes, lm.name)
    cost = text_cost(lm, texts, bos=bos, token_budget=token_budget)
    rows = [
        {
            "module": n.module,
            "layer": n.layer,
            "neuron": n.index,
            "first_order": float(cost.first_order[n.module][n.layer, n.index]),
            "fisher": float(cost.fisher[n.module][n.layer, n.index]),
            "estimate": float(cost.estimate(n.module)[n.layer, n.index]),
        }
        for n in chosen
    ]
    table = pd.DataFrame(rows).sort_values("estimate", ascending=False, kind="stable", ignore_index=True)
    table["fisher_share"] = table["fisher"] / table["fisher"].sum()
    table[["change", "low", "high"]] = float("nan")
    untouched = perplexity(lm, texts, bos=bos, token_budget=token_budget)
    for place, row in table.head(exact).iterrows():
        with suppress(lm, NeuronSet([Neuron(row["module"], row["layer"], row["neuron"])])):
            found = compare_text(perplexity(lm, texts, bos=bos, token_budget=token_budget), untouched)
        table.loc[place, ["change", "low", "high"]] = [found.ratio - 1, found.low - 1, found.high - 1]
        if progress:
            progress(1)
    return table
