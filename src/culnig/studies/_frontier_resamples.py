"""Searches on random halves of the questions: how much a frontier depends on the questions that a set is searched by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from culnig.guarded.settings import PERPLEXITY
from culnig.neurons import NeuronSet
from culnig.statistics.bootstrap import percentile_interval
from culnig.statistics.frontier import area, cost_at
from culnig.studies._frontier_tables import Draws, log_ratio_at_set

LABEL, LEAD, AT_SET = "half-", "lead in area", "ratio at the drop of its "
FEW_CHECKED = 8
"""Items that a round of such a search is checked on: no budget depends on them."""


def half_label(number: int) -> str:
    """Name of a search on a half, in names of sets and files: "half-1"."""
    return f"{LABEL}{number}"


def search_changes(number: int, most: int) -> dict[str, Any]:
    """Return the settings of a search on a half that differ from the section `guarded`.

    The seed decides the half, the questions to search and to check by, the samples of rounds, and the model's own texts.
    """
    return {
        "method": "greedy", "harm": {}, "target": None, "max_neurons": most, "backward": False, "seed": number,
        "checked": FEW_CHECKED,
    }  # fmt: skip


def compared(
    halves: dict[str, Draws],
    paper: Draws,
    sizes: list[int],
    drops: list[float],
    budget: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare the frontier of each half, and of all together, with that of the paper's rule on all questions.

    Args:
        halves: name -> what its sets take and cost, with resamples of test questions that all share.
        paper: the same for the paper's rule.
        sizes: neurons of the sets of the paper's rule; perplexities are compared at the drop of each, too.
        drops: drops of culture (shares) at which perplexities are compared.
        budget: the largest rise of perplexity (share) for the area.
        rng: source of the draws of halves.

    Returns:
        A row a quantity and half: `quantity`, `half`, `value`, `low`, `high`, and the share of resamples that have it.
        A quantity is the lead in area (points), or the ratio of perplexities at a drop, given or that of a set of the
        paper's rule in the same resample; a ratio below 1 is in our favour.
        In the rows "all", a resample draws test questions, paragraphs and halves; their value is the mean (of ratios,
        the geometric mean).
    """

    def lead(each: Draws) -> np.ndarray:
        mine, theirs = (area(d["culture"], d[PERPLEXITY], budget) for d in (each, paper))
        return 100 * (mine - theirs)

    quantities: dict[str, Callable[[Draws], np.ndarray]] = {LEAD: lead}
    for wanted in drops:
        quantities[f"ratio at {100 * wanted:g} points"] = partial(_log_ratio, paper=paper, wanted=wanted)
    for k, size in enumerate(sizes):
        quantities[f"{AT_SET}{size} neurons"] = partial(log_ratio_at_set, other=paper, k=k)
    rows = []
    for quantity, of in quantities.items():
        values = np.stack([of(each) for each in halves.values()], axis=1)  # [1 + resamples, halves]
        drawn = rng.integers(len(halves), size=values.shape)
        mixed = np.take_along_axis(values, drawn, axis=1)
        together = np.concatenate([_mean(values[:1]), _mean(mixed[1:])])
        for name, draws in [*zip(halves, values.T, strict=True), ("all", together)]:
            low, high = percentile_interval(draws[1:])
            found = np.array([draws[0], low, high])
            value, low, high = found if quantity == LEAD else np.exp(found)
            rows.append(
                {"quantity": quantity, "half": name, "value": value, "low": low, "high": high}
                | {"resamples that reach it": np.isfinite(draws[1:]).mean()}
            )
    return pd.DataFrame(rows)


def overlaps(orders: dict[str, NeuronSet], size: int) -> pd.DataFrame:
    """Return a row a pair of halves: the Jaccard index of the first `size` neurons of both."""
    tops = {name: order.top(size) for name, order in orders.items()}
    return pd.DataFrame(
        [
            {"half": a, "other": b, "neurons": size, "jaccard": tops[a].jaccard(tops[b])}
            for a, b in combinations(tops, 2)
        ]
    )


def told(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Say what the halves are, and how far they agree; nothing where there are none."""
    table, pairs = tables.get("frontier-resamples"), tables.get("frontier-overlaps")
    if table is None:
        return []
    halves = [name for name in table["half"].unique() if name != "all"]
    text = (
        f"{len(halves)} more searches took a random half of the questions each, with other texts. They are compared with the"
        " paper's rule on all questions."
    )
    together = table[(table["half"] == "all") & table["quantity"].str.startswith(AT_SET) & table["value"].notna()]
    for test, part in together.groupby("test", sort=False):
        ratios = [f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" for row in part.itertuples()]
        sizes = [quantity.removeprefix(AT_SET).split()[0] for quantity in part["quantity"]]
        text += (
            f" On {test}, the ratio of perplexities at the drop of the paper's first {', '.join(sizes)} neurons is"
            f" {', '.join(ratios)}."
        )
    if pairs is not None:
        neurons, mean = pairs["neurons"].iloc[0], pairs["jaccard"].mean()
        text += f" The first {neurons} neurons of two halves have a Jaccard index of {mean:.2f} on average."
    return [text]


def _log_ratio(ours: Draws, paper: Draws, wanted: float) -> np.ndarray:
    mine, theirs = (np.log1p(cost_at(each["culture"], each[PERPLEXITY], wanted)) for each in (ours, paper))
    return mine - theirs


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of each row's finite values, NaN where there is none."""
    there = np.isfinite(values)
    sums, counts = np.where(there, values, 0.0).sum(axis=1), there.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
